"""A network's router on its carrier: one namespace with a foot in the network and, with egress, one on the outside.

The firewall with its lease gate stands before the first device does, and the gate opens before anything is announced, so
at no moment does the router say or forward what the lease does not cover (EN-11). A router that could not be made whole
on its first attempt is taken away again; one that was there is left for the next attempt to repair.
"""

import errno
import ipaddress
import json
import math
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nodeagent.config import Config
from nodeagent.nethelper import addresses, firewall, links, names
from nodeagent.nethelper.announce import announce
from nodeagent.nethelper.namespaces import Namespace, Namespaces
from nodeagent.nethelper.protocol import Changed, Echo, LeaseList, NetworkError, Ping, RenewLease, ResolverState, now
from nodeagent.nethelper.questions import dhcp_answers, dns_answers
from nodeagent.nethelper.services import Resolver, Witness, ping
from nodeagent.specs import RouterSpec

# Seconds that the gate closes before the lease ends, at time scale 1: room for clocks that run unevenly.
LEASE_MARGIN = 10.0
_SETTINGS = {
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
    "ipv4/ip_forward": "1",
    # Each foot answers for its own address only: the outside is shared, and other networks may use the same netblock.
    "ipv4/conf/all/arp_ignore": "1",
    "ipv4/conf/all/arp_announce": "2",
    "ipv4/conf/all/arp_notify": "1",
    # A guest that is told of a shorter way would leave the router out, and with it NAT (FL-6).
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}


@dataclass(frozen=True)
class Foot:
    """One of the router's two devices: its name inside, its plug and the bridge that it is plugged in."""

    device: str
    port: str
    bridge: str
    address: str
    length: int


class Routers:
    """All routers of this node. Callers serialise the requests of one network; those of different ones run side by side."""

    def __init__(self, namespaces: Namespaces, config: Config) -> None:
        self._namespaces = namespaces
        self._config = config
        self._root = config.run / "resolvers"
        self._epochs: dict[str, int] = {}
        self._made: dict[str, str] = {}
        self._lock = threading.Lock()

    def ensure(self, spec: RouterSpec, deadline: float) -> Changed:
        """Make the router what `spec` says and prove that its resolver answers. ESTALE for an older epoch (CM-4).

        `deadline` is when the lease ends, by `protocol.now`.
        """
        node = self._namespaces.node.netlink
        links.need(node, names.bridge(spec.vni))
        if spec.egress is not None and not self._config.egress_bridge:
            raise NetworkError(errno.ENODEV, "egress bridge", "this node has none")
        with ExitStack() as undo:
            router, created = self._namespaces.ensure(names.router(spec.network, spec.vni))
            if created:
                undo.callback(self._take_away, spec.network, spec.vni)
                # One that outlived the namespace it was started in answers nobody.
                Resolver(self._root, router.name).stop()
            gate = router.nft(firewall.read_gate)
            self._accept_epoch(spec.network, spec.lease.epoch, gate)
            repaired = _apply_settings(router)
            repaired |= self._settle_firewall(router, spec, gate, deadline)
            moved = self._settle_feet(router, spec)
            repaired |= self._settle_outside(router, spec)
            is_open = _is_open(router.nft(firewall.read_gate))
            if is_open and (moved or not _is_open(gate)):
                self._announce_addresses(router, spec.vni)
            resolver = self._settle_resolver(router, spec, is_open)
            self._made[spec.network] = self._look(router, spec.vni)
            undo.pop_all()
        if created:
            return Changed(change="created", resolver=resolver)
        return Changed(change="repaired" if repaired or moved or resolver else "unchanged", resolver=resolver)

    def renew(self, request: RenewLease, deadline: float) -> Changed:
        """Set the gate's clock to what is left of the lease, in one transaction; at nothing it closes (EN-11)."""
        router = self.need(request.network, request.vni)
        held = router.nft(firewall.read_gate)
        if held is None:
            raise NetworkError(errno.ENOENT, router.name, "has no lease gate")
        self._accept_epoch(request.network, request.epoch, held)
        seconds = self._gate_seconds(deadline, request.rivals)
        gate = firewall.Gate(epoch=request.epoch, remaining=seconds if seconds >= 1 else None)
        if gate == held:
            return Changed(change="unchanged")
        commands = firewall.lease_commands(request.vni, gate)
        router.nft(lambda rules: rules.apply(commands, f"lease of {router.name}"))
        if _is_open(gate) and not _is_open(held):
            self._announce_addresses(router, request.vni)
        return Changed(change="repaired")

    def remove(self, network: str, vni: int) -> Changed:
        return Changed(change="removed" if self._take_away(network, vni) else "unchanged")

    def damage(self, network: str, vni: int) -> str:
        """What is not as the last request left it, empty when all is; a process that has just started knows of none (FL-7)."""
        router = self.need(network, vni)
        if self._made.get(network) != self._look(router, vni):
            return "rules, routes or devices are not as they were made"
        state = self.verify(network, vni)
        return "the resolver does not answer" if "mute" in (state.dhcp, state.dns) else ""

    def _look(self, router: Namespace, vni: int) -> str:
        """Everything that a request settles but the resolver, as the kernel has it."""
        node = self._namespaces.node.netlink
        ends = [(router.netlink, names.inside(vni)), (router.netlink, names.outside(vni))]
        plugs = [(node, names.inside_port(vni)), (node, names.outside_port(vni))]
        seen: list[object] = [router.nft(firewall.shape), addresses.routes(router.netlink)]
        for kernel, name in (*ends, *plugs):
            link = links.find(kernel, name)
            if link is not None:
                own = sorted(addresses.of(kernel, link)), sorted(addresses.proxied(kernel, link))
                seen.append((name, link.up, link.mtu, link.master, own))
        return json.dumps([*seen, router.inside(Path("/proc/sys/net/ipv4/ip_forward").read_text)])

    def need(self, network: str, vni: int) -> Namespace:
        router = self._namespaces.find(names.router(network, vni))
        if router is None:
            raise NetworkError(errno.ENOENT, names.router(network, vni), "this node has no such router")
        return router

    def leases(self, network: str, vni: int) -> LeaseList:
        return LeaseList(leases=Resolver(self._root, self.need(network, vni).name).leases())

    def ping(self, request: Ping) -> Echo:
        return ping(self.need(request.network, request.vni), request.address, request.count)

    def held(self) -> dict[str, int]:
        """{network uuid: vni} of every router namespace."""
        found = [names.ROUTER.match(name) for name in self._namespaces.names()]
        return {match[2]: int(match[1], 16) for match in found if match}

    def _accept_epoch(self, network: str, epoch: int, gate: firewall.Gate | None) -> None:
        """Refuse what an earlier carrier's term has asked for. The kernel remembers while the router is, we beyond that."""
        with self._lock:
            newest = max(self._epochs.get(network, 0), gate.epoch if gate else 0)
            if epoch < newest:
                raise NetworkError(errno.ESTALE, f"lease of {network}", f"epoch {epoch} is older than {newest}")
            self._epochs[network] = epoch

    def _gate_seconds(self, deadline: float, rivals: bool) -> float:
        left = deadline - now() - LEASE_MARGIN * self._config.time_scale
        return max(left, 0.0) if rivals else math.inf

    def _settle_firewall(
        self, router: Namespace, spec: RouterSpec, held: firewall.Gate | None, deadline: float
    ) -> bool:
        node = self._namespaces.node.netlink
        closed = addresses.networks_of(node, links.need(node, self._config.mesh_device))
        table = firewall.router_table(spec, closed)
        gate = firewall.gate_for(held, spec.lease.epoch, self._gate_seconds(deadline, spec.lease.rivals))
        lease = firewall.lease_commands(spec.vni, gate)
        if router.nft(lambda rules: firewall.settle(rules, table, f"rules of {router.name}", lease)):
            return True
        if gate != held:
            router.nft(lambda rules: rules.apply(lease, f"lease of {router.name}"))
        return False

    def _feet(self, spec: RouterSpec) -> list[Foot]:
        length = ipaddress.IPv4Network(spec.netblock).prefixlen
        vni = spec.vni
        feet = [Foot(names.inside(vni), names.inside_port(vni), names.bridge(vni), spec.gateway, length)]
        if spec.egress is not None:
            bridge, egress = self._config.egress_bridge, spec.egress
            feet.append(Foot(names.outside(vni), names.outside_port(vni), bridge, egress.address, egress.prefix_length))
        return feet

    def _settle_feet(self, router: Namespace, spec: RouterSpec) -> bool:
        changed = links.settle(router.netlink, "lo", links.need(router.netlink, "lo").mtu)
        for foot in self._feet(spec):
            changed |= self._settle_foot(router, foot, spec.network)
        outside = links.find(router.netlink, names.outside(spec.vni))
        if spec.egress is None:
            return links.delete(self._namespaces.node.netlink, names.outside_port(spec.vni)) or changed
        if outside is not None:
            changed |= addresses.settle_default_route(router.netlink, outside, spec.egress.gateway)
        return changed

    def _settle_foot(self, router: Namespace, foot: Foot, network: str) -> bool:
        node = self._namespaces.node
        bridge = links.need(node.netlink, foot.bridge)
        changed = False
        if links.find(router.netlink, foot.device) is None:
            # A plug whose other end is not in this namespace belongs to one that is gone, or is somebody else's.
            orphan = links.find(node.netlink, foot.port)
            if orphan is not None:
                links.check_owner(orphan, network)
                links.delete(node.netlink, foot.port)
            links.create_pair(node.netlink, foot.port, foot.device, router.descriptor, bridge.mtu)
            changed = True
        changed |= links.without_ipv6(node, foot.port)
        changed |= links.settle(node.netlink, foot.port, bridge.mtu, master=bridge.index, alias=network)
        changed |= links.settle(router.netlink, foot.device, bridge.mtu)
        device = links.need(router.netlink, foot.device)
        return addresses.settle(router.netlink, device, foot.address, foot.length) or changed

    def _settle_outside(self, router: Namespace, spec: RouterSpec) -> bool:
        """The guests' outside addresses: routed inwards, and answered for on the outside; a new one is announced.

        The route is what lets the kernel answer for an address that is not its own; only then does anybody ask here.
        """
        inside, outside = links.need(router.netlink, names.inside(spec.vni)), names.outside(spec.vni)
        wanted = set(spec.outside)
        changed = router.write_setting(f"ipv4/conf/{inside.name}/send_redirects", "0")
        changed |= addresses.settle_host_routes(router.netlink, inside, wanted)
        device = links.find(router.netlink, outside)
        if device is None:
            return changed
        changed |= router.write_setting(f"ipv4/neigh/{outside}/proxy_delay", "0")
        new = addresses.settle_proxies(router.netlink, device, wanted)
        if new and _is_open(router.nft(firewall.read_gate)):
            for address in sorted(new):
                announce(router, outside, device.mac, address)
        return changed or bool(new)

    def _announce_addresses(self, router: Namespace, vni: int) -> None:
        """Every address that the router has or answers for."""
        for name in (names.inside(vni), names.outside(vni)):
            device = links.find(router.netlink, name)
            if device is None:
                continue
            own = {address for address, _ in addresses.of(router.netlink, device)}
            for address in sorted(own | addresses.proxied(router.netlink, device)):
                announce(router, name, device.mac, address)

    def _settle_resolver(self, router: Namespace, spec: RouterSpec, is_open: bool) -> str:
        resolver = Resolver(self._root, router.name)
        if not spec.dhcp and not spec.dns:
            return "stopped" if resolver.remove() else ""
        done, witness = resolver.settle(router, spec, links.need(router.netlink, names.inside(spec.vni)).mtu)
        if is_open and not self._answers(router, spec.vni, witness):
            resolver.restart(router)
            done = "restarted"
            if not self._answers(router, spec.vni, witness):
                raise NetworkError(errno.EIO, f"resolver of {router.name}", "does not answer")
        return done

    def verify(self, network: str, vni: int) -> ResolverState:
        """Ask the resolver what a guest would ask; changes nothing."""
        router = self.need(network, vni)
        if not _is_open(router.nft(firewall.read_gate)):
            return ResolverState(dhcp="fenced", dns="fenced")
        witness = Resolver(self._root, router.name).witness()
        return ResolverState(dhcp=self._ask_dhcp(vni, witness), dns=self._ask_dns(router, vni, witness))

    def _answers(self, router: Namespace, vni: int, witness: Witness) -> bool:
        return self._ask_dhcp(vni, witness) != "mute" and self._ask_dns(router, vni, witness) != "mute"

    def _ask_dhcp(self, vni: int, witness: Witness) -> str:
        if not witness.mac:
            return "off"
        port = names.inside_port(vni)
        return _state(dhcp_answers(self._namespaces.node, port, witness.mac, witness.address))

    def _ask_dns(self, router: Namespace, vni: int, witness: Witness) -> str:
        if not witness.name:
            return "off"
        device = links.need(router.netlink, names.inside(vni))
        server = min(address for address, _ in addresses.of(router.netlink, device))
        return _state(dns_answers(router, server, witness.name, witness.name_address))

    def _take_away(self, network: str, vni: int) -> bool:
        name = names.router(network, vni)
        self._made.pop(network, None)
        removed = Resolver(self._root, name).remove()
        node = self._namespaces.node.netlink
        for port in (names.inside_port(vni), names.outside_port(vni)):
            link = links.find(node, port)
            if link is not None and link.alias in ("", network):
                removed |= links.delete(node, port)
        return self._namespaces.remove(name) or removed


def _is_open(gate: firewall.Gate | None) -> bool:
    return gate is not None and gate.remaining is not None


def _state(answers: bool) -> str:
    return "answers" if answers else "mute"


def _apply_settings(router: Namespace) -> bool:
    return any([router.write_setting(path, value) for path, value in _SETTINGS.items()])
