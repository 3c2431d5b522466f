"""The privileged process's client, as far as the host needs it."""

from collections.abc import Mapping
from typing import Any, Protocol

from nodeagent.specs import NetworkSpec, RouterSpec


class NetworkHoldings(Protocol):
    """{network uuid: vni} of what is there; `unreadable` names what no uuid is known for."""

    @property
    def networks(self) -> Mapping[str, int]: ...

    @property
    def routers(self) -> Mapping[str, int]: ...

    @property
    def unreadable(self) -> tuple[str, ...]: ...


class NetworkChange(Protocol):
    """What the privileged process answers to an ensure or a remove."""

    @property
    def change(self) -> str: ...


class Net(Protocol):
    def ensure_network(self, spec: NetworkSpec) -> NetworkChange: ...

    def remove_network(self, network: str, vni: int) -> NetworkChange: ...

    def ensure_router(self, spec: RouterSpec) -> NetworkChange: ...

    def remove_router(self, network: str, vni: int) -> NetworkChange: ...

    def ping(self, network: str, vni: int, address: str) -> Any: ...

    def check_routers(self) -> Any: ...

    def inventory(self) -> NetworkHoldings: ...
