"""One method for each request: the whole of what the privileged process can be asked to do to its node.

Requests about one network are done one after the other, those about different networks side by side (NF-6).
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nodeagent.config import Config
from nodeagent.nethelper import firewall, links, names
from nodeagent.nethelper.namespaces import Namespaces
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
)
from nodeagent.nethelper.routers import Routers

# Services of a node and of a control plane beside it, which no guest and no outsider has any business with (SE-7).
LIBVIRT_PORTS = (16509, 16514)
REDIS_PORT = 6379
INTERNAL_PORT = 13001


class Node:
    """The host network of this node. `answer` may be called from any number of threads."""

    def __init__(self, config: Config, namespaces: Path = Path("/run/netns")) -> None:
        self.namespaces = Namespaces(namespaces)
        self._config = config
        self._routers = Routers(self.namespaces, config)
        self._networks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self._verbs: dict[type, Callable[[Any, float], Any]] = {
            EnsureNetwork: self._ensure_network,
            RemoveNetwork: self._remove_network,
            EnsureRouter: self._ensure_router,
            RemoveRouter: self._remove_router,
            RenewLease: self._renew_lease,
            Inventory: self._inventory,
            CheckRouters: self._check_routers,
            Ping: self._ping,
            Leases: self._leases,
            VerifyResolver: self._verify_resolver,
            SetMeshPeers: self._set_mesh_peers,
        }

    def close(self) -> None:
        self.namespaces.close()

    def answer(self, request: Any, sent: float) -> Any:
        """Do what is asked. Raises NetworkError; what a failing request has done by then stays, and is done once."""
        return self._verbs[type(request)](request, sent)

    def _ensure_network(self, request: EnsureNetwork, _: float) -> Changed:
        spec = request.spec
        with self._networks[spec.vni]:
            opened = self._settle_guard(lambda present: present | set(spec.peers))
            node = self.namespaces.node
            change = links.ensure_network(node, spec, self._config.mesh_device, self._config.mesh_address)
        return Changed(change="repaired" if opened and change == "unchanged" else change)

    def _remove_network(self, request: RemoveNetwork, _: float) -> Changed:
        with self._networks[request.vni]:
            return Changed(change=links.remove_network(self.namespaces.node, request.network, request.vni))

    def _ensure_router(self, request: EnsureRouter, sent: float) -> Changed:
        with self._networks[request.spec.vni]:
            return self._routers.ensure(request.spec, sent + request.spec.lease.seconds)

    def _remove_router(self, request: RemoveRouter, _: float) -> Changed:
        with self._networks[request.vni]:
            return self._routers.remove(request.network, request.vni)

    def _renew_lease(self, request: RenewLease, sent: float) -> Changed:
        with self._networks[request.vni]:
            return self._routers.renew(request, sent + request.seconds)

    def _ping(self, request: Ping, _: float) -> Echo:
        return self._routers.ping(request)

    def _leases(self, request: Leases, _: float) -> LeaseList:
        return self._routers.leases(request.network, request.vni)

    def _verify_resolver(self, request: VerifyResolver, _: float) -> ResolverState:
        with self._networks[request.vni]:
            return self._routers.verify(request.network, request.vni)

    def _inventory(self, _: Inventory, __: float) -> Held:
        """Every network is found by its VXLAN device, which is made last and removed last, or by a bridge left alone."""
        networks: dict[str, int] = {}
        unreadable: list[str] = []
        for kind, pattern in (("bridge", names.BRIDGE), ("vxlan", names.VXLAN)):
            for link in links.all_of_kind(self.namespaces.node.netlink, kind):
                match = pattern.match(link.name)
                if match and link.alias:
                    networks[link.alias] = int(match[1], 16)
                elif match:
                    unreadable.append(link.name)
        try:
            routers = self._routers.held()
        except OSError as error:
            routers = {}
            unreadable.append(f"namespaces: {error}")
        return Held(networks=networks, routers=routers, unreadable=tuple(unreadable))

    def _check_routers(self, _: CheckRouters, __: float) -> Damage:
        found = {}
        for network, vni in self._routers.held().items():
            with self._networks[vni]:
                try:
                    found[network] = self._routers.damage(network, vni)
                except NetworkError as error:  # what cannot be looked at is made again, which harms nothing
                    found[network] = str(error)
        return Damage(routers={network: what for network, what in found.items() if what})

    def _set_mesh_peers(self, request: SetMeshPeers, _: float) -> Changed:
        wanted = set(request.addresses) - {self._config.mesh_address}
        return Changed(change="repaired" if self._settle_guard(lambda present: wanted) else "unchanged")

    def _settle_guard(self, peers: Callable[[set[str]], set[str]]) -> bool:
        """Make the node's own table stand, with the peers that `peers` makes of those it has; whether it was changed."""
        with self._guard:
            node = self.namespaces.node
            wanted = peers(node.nft(firewall.read_peers)) - {self._config.mesh_address}
            table = firewall.guard_table(
                self._config.mesh_device, self._config.egress_bridge, self._closed_ports(), wanted
            )
            if node.nft(lambda rules: firewall.matches(rules, table)):
                return False
            node.nft(lambda rules: firewall.apply(rules, table, "rules of the node"))
            return True

    def _closed_ports(self) -> Iterable[int]:
        return (*LIBVIRT_PORTS, self._config.byte_port, REDIS_PORT, INTERNAL_PORT)
