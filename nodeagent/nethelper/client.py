"""The agent's hand on the privileged process: one method for each request, from any thread.

Imports neither pyroute2 nor nftables: the agent has no business with the kernel's network but by asking.
"""

import socket
import threading
from pathlib import Path
from typing import Any

from nodeagent.host import Retry
from nodeagent.nethelper.protocol import (
    Changed,
    CheckRouters,
    Damage,
    Echo,
    EnsureNetwork,
    EnsureRouter,
    Held,
    Inventory,
    LeaseList,
    Leases,
    NetworkError,
    Ping,
    RemoveNetwork,
    RemoveRouter,
    RenewLease,
    ResolverState,
    SetMeshPeers,
    VerifyResolver,
    decode_answer,
    encode_request,
)
from nodeagent.specs import NetworkSpec, RouterSpec
from nodeagent.wire import LeaseRenewal

TIMEOUT = 60.0

__all__ = ["NetHelper", "NetworkError"]


class NetHelper:
    """Each thread speaks on a connection of its own, so that a slow request holds up nobody else's lease.

    Raises host.Retry("nethelper.unavailable") when the process cannot be reached or does not answer within `timeout`
    seconds, NetworkError for what it refused or what failed.
    """

    def __init__(self, path: str | Path, timeout: float = TIMEOUT) -> None:
        self._path = str(path)
        self._timeout = timeout
        self._local = threading.local()

    def ensure_network(self, spec: NetworkSpec) -> Changed:
        answer: Changed = self._ask(EnsureNetwork(spec=spec))
        return answer

    def remove_network(self, network: str, vni: int) -> Changed:
        answer: Changed = self._ask(RemoveNetwork(network=network, vni=vni))
        return answer

    def ensure_router(self, spec: RouterSpec) -> Changed:
        answer: Changed = self._ask(EnsureRouter(spec=spec))
        return answer

    def remove_router(self, network: str, vni: int) -> Changed:
        answer: Changed = self._ask(RemoveRouter(network=network, vni=vni))
        return answer

    def renew_lease(self, renewal: LeaseRenewal) -> Changed:
        """`renewal.seconds` as of now: the caller has taken off the time since its report was sent (EN-11)."""
        request = RenewLease(
            network=renewal.network,
            vni=renewal.vni,
            epoch=renewal.epoch,
            seconds=renewal.seconds,
            rivals=renewal.rivals,
        )
        answer: Changed = self._ask(request)
        return answer

    def inventory(self) -> Held:
        answer: Held = self._ask(Inventory())
        return answer

    def check_routers(self) -> Damage:
        answer: Damage = self._ask(CheckRouters())
        return answer

    def ping(self, network: str, vni: int, address: str, count: int = 10) -> Echo:
        answer: Echo = self._ask(Ping(network=network, vni=vni, address=address, count=count))
        return answer

    def leases(self, network: str, vni: int) -> LeaseList:
        answer: LeaseList = self._ask(Leases(network=network, vni=vni))
        return answer

    def verify_resolver(self, network: str, vni: int) -> ResolverState:
        answer: ResolverState = self._ask(VerifyResolver(network=network, vni=vni))
        return answer

    def set_mesh_peers(self, addresses: tuple[str, ...]) -> Changed:
        answer: Changed = self._ask(SetMeshPeers(addresses=addresses))
        return answer

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _ask(self, request: Any) -> Any:
        """Ask, and once more on a new connection if the old one turns out dead: every request may be repeated."""
        fresh = getattr(self._local, "connection", None) is None
        try:
            return decode_answer(self._exchange(request))
        except (OSError, EOFError) as error:
            self.close()
            if fresh or isinstance(error, TimeoutError):
                raise Retry("nethelper.unavailable", str(error)) from error
        try:
            return decode_answer(self._exchange(request))
        except (OSError, EOFError) as error:
            self.close()
            raise Retry("nethelper.unavailable", str(error)) from error

    def _exchange(self, request: Any) -> bytes:
        connection = getattr(self._local, "connection", None) or self._connect()
        connection.sendall(encode_request(request))
        answer = bytearray()
        while not answer.endswith(b"\n"):
            part = connection.recv(1 << 16)
            if not part:
                raise EOFError("the connection was closed")
            answer += part
        return bytes(answer)

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self._local.connection = connection
        return connection
