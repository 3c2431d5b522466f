"""The rules of a router namespace and of the node itself, each one table per family, applied as one transaction (NL-3).

A ruleset is written here in the shape in which nftables lists it, so that what is there can be compared with what should
be. The lease gate (EN-11) is part of the router's table: its chains run before all others and let nothing pass but by
the devices that stand in the set `lease`. An element with a timeout leaves it by itself; a frozen node needs nobody to
stop it. `epoch` is kept beside it, so that it lives exactly as long as what it guards (CM-4).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nodeagent.nethelper import names
from nodeagent.nethelper.nftables import Nftables, canonical
from nodeagent.specs import RouterSpec

Entry = dict[str, Any]

TABLE = "steadyfist"
GATE_PRIORITY = -400
# Timeouts are set and listed in whole seconds, each time rounded down: what is not older than this is the same.
_ROUNDED = 2
_LIVING_SETS = ("lease", "epoch")
GROWING = ("floated", "floating", "routed")
"""Sets and the map of outside addresses: one more or less of them is a change of elements, not of rules (FL-5)."""


@dataclass(frozen=True)
class Gate:
    """The lease as the kernel holds it: `remaining` seconds, infinite without rivals, None when the gate is closed."""

    epoch: int
    remaining: float | None


def router_table(spec: RouterSpec, closed: Iterable[str]) -> list[Entry]:
    """Everything about a router but its lease. `closed` are networks no guest may reach: the underlay's (SE-14)."""
    inside, outside = names.inside(spec.vni), names.outside(spec.vni)
    return [
        *_gate("inet", ("prerouting", "output")),
        _set("inet", "epoch", "mark"),
        _set("inet", "closed", "ipv4_addr", flags=["interval"], elem=[_prefix(block) for block in sorted(closed)]),
        _set("inet", "floated", "ipv4_addr", elem=sorted(each.address for each in spec.floating)),
        _map("inet", "floating", sorted([each.address, each.target] for each in spec.floating)),
        _set("inet", "routed", "ipv4_addr", elem=sorted(spec.routed)),
        _chain("inet", "input", "filter", "input", 0, "drop"),
        *_rules("inet", "input", _input_rules(spec, inside)),
        _chain("inet", "forward", "filter", "forward", 0, "drop"),
        *_rules("inet", "forward", _forward_rules(spec, inside, outside)),
        _chain("inet", "float", "nat", "prerouting", -100, "accept"),
        *_rules("inet", "float", [[{"dnat": {"family": "ip", "addr": _FLOATING}}]] if spec.egress else []),
        _chain("inet", "nat", "nat", "postrouting", 100, "accept"),
        *_rules("inet", "nat", _nat_rules(spec, inside, outside)),
        *_gate("arp", ("input", "output")),
    ]


def _gate(family: str, hooks: tuple[str, str]) -> list[Entry]:
    entries = [_table(family), {"set": {**_named(family, "lease"), "type": "ifname", "flags": ["timeout"]}}]
    for hook, device in zip(hooks, ("iifname", "oifname"), strict=True):
        chain = f"gate-{hook}"
        entries.append(_chain(family, chain, "filter", hook, GATE_PRIORITY, "drop"))
        local = [[_is(_meta(device), "lo"), _ACCEPT]] if family == "inet" else []
        entries += _rules(family, chain, [*local, [_is(_meta(device), "@lease"), _ACCEPT]])
    return entries


def _input_rules(spec: RouterSpec, inside: str) -> list[list[Entry]]:
    rules = [
        [_is(_meta("iifname"), "lo"), _ACCEPT],
        [_state("established", "related"), _ACCEPT],
        [_is(_payload("icmp", "type"), "echo-request"), _ACCEPT],
    ]
    services = ([("udp", 67)] if spec.dhcp else []) + ([("udp", 53), ("tcp", 53)] if spec.dns else [])
    for protocol, port in services:
        rules.append([_is(_meta("iifname"), inside), _is(_payload(protocol, "dport"), port), _ACCEPT])
    return rules


def _forward_rules(spec: RouterSpec, inside: str, outside: str) -> list[list[Entry]]:
    """What may pass, beside the gate: FL-6's cells are the last six lines, and nothing else comes in unasked."""
    rules = [[_is(_payload("ip", "daddr"), "@closed"), _DROP]]
    if spec.egress is None:
        return rules
    out = [_is(_meta("iifname"), inside), _is(_meta("oifname"), outside)]
    come = [_is(_meta("iifname"), outside), _is(_meta("oifname"), inside)]
    turn = [_is(_meta("iifname"), inside), _is(_meta("oifname"), inside)]
    netblock = _is(_payload("ip", "saddr"), _prefix(spec.netblock))
    return [
        *rules,
        # A connection by an address that floats no longer ends with it, or its next owner would share it.
        [_FLOATED, _is_not({"ct": {"key": "ip daddr", "dir": "original"}}, "@floated"), _DROP],
        [*out, netblock, _ACCEPT],
        [*come, _state("established", "related"), _ACCEPT],
        [*come, _FLOATED, _ACCEPT],
        [*turn, _FLOATED, _ACCEPT],
        [*out, _is(_payload("ip", "saddr"), "@routed"), _ACCEPT],
        [*come, _is(_payload("ip", "daddr"), "@routed"), _ACCEPT],
        # Answers go straight to the asker, past the router: no state is asked for where only one way is seen.
        [*turn, _is(_payload("ip", "daddr"), "@routed"), _ACCEPT],
        [*turn, _is(_payload("ip", "saddr"), "@routed"), _ACCEPT],
    ]


def _nat_rules(spec: RouterSpec, inside: str, outside: str) -> list[list[Entry]]:
    """Out by the egress address; a hairpin by the gateway's, or the answer would not come back this way (FL-6)."""
    if spec.egress is None:
        return []
    netblock = _is(_payload("ip", "saddr"), _prefix(spec.netblock))
    return [
        [_is(_meta("oifname"), outside), netblock, {"masquerade": None}],
        [_is(_meta("oifname"), inside), netblock, _FLOATED, {"masquerade": None}],
    ]


def guard_table(mesh_device: str, egress_bridge: str, ports: Iterable[int], peers: Iterable[str]) -> list[Entry]:
    """The node's own table: VXLAN from mesh peers only, nothing from guests, no service towards the outside (SE-7)."""
    vxlan = _is(_payload("udp", "dport"), 4789)
    rules = [
        [_is(_meta("iifname"), f"{names.BRIDGE_PREFIX}*"), _DROP],
        [vxlan, _is(_meta("iifname"), mesh_device), _is(_payload("ip", "saddr"), "@peers"), _ACCEPT],
        [vxlan, _DROP],
    ]
    # Where the underlay is the way out as well, a device does not tell who asks; the services authenticate by themselves.
    if egress_bridge and egress_bridge != mesh_device:
        closed = {"set": sorted(ports)}
        rules.append([_is(_meta("iifname"), egress_bridge), _is(_payload("tcp", "dport"), closed), _DROP])
    guests = f"{names.BRIDGE_PREFIX}*"
    # A node that forwards for reasons of its own must not become a guest's way into the underlay.
    stay = [[_is(_meta("iifname"), guests), _is_not(_meta("oifname"), guests), _DROP]]
    return [
        _table("inet"),
        _set("inet", "peers", "ipv4_addr", elem=sorted(peers)),
        _chain("inet", "guard", "filter", "input", -10, "accept"),
        *_rules("inet", "guard", rules),
        _chain("inet", "stay", "filter", "forward", -10, "accept"),
        *_rules("inet", "stay", stay),
    ]


def apply(rules: Nftables, table: list[Entry], name: str, lease: list[Entry] | None = None) -> None:
    """Replace the tables by these in one transaction, with the lease, if there is one to open."""
    families = [entry["table"] for entry in table if "table" in entry]
    fresh = [command for family in families for command in ({"add": {"table": family}}, {"delete": {"table": family}})]
    rules.apply([*fresh, *({"add": entry} for entry in table), *(lease or [])], name)


def settle(rules: Nftables, table: list[Entry], name: str, lease: list[Entry]) -> bool:
    """Make the tables stand as they should, with `lease` where there is something to change; whether there was.

    Where only addresses came or went, only they are told to the kernel.
    """
    if not matches(rules, table, but=GROWING):
        apply(rules, table, name, lease)
        return True
    changes = _element_changes(rules, table)
    if changes:
        rules.apply([*changes, *lease], name)
    return bool(changes)


def matches(rules: Nftables, table: list[Entry], but: Iterable[str] = ()) -> bool:
    """Whether the kernel holds exactly these tables, the lease and the elements of the sets `but` apart."""
    for wanted in (entry["table"] for entry in table if "table" in entry):
        listing = rules.table(wanted["family"], wanted["name"])
        own = [entry for entry in table if _family(entry) == wanted["family"]]
        if listing is None or _comparable(listing, but) != _comparable(own, but):
            return False
    return True


def shape(rules: Nftables) -> list[list[str]]:
    """The router's tables as they are, the lease apart: equal as long as nobody has changed them."""
    return [_comparable(rules.table(family, TABLE) or []) for family in ("inet", "arp")]


def _element_changes(rules: Nftables, table: list[Entry]) -> list[Entry]:
    """Commands that take out what is too much in the growing sets and put in what is missing, in this order."""
    present, wanted = _elements(rules.table("inet", TABLE) or []), _elements(table)
    gone, new = [], []
    for name in GROWING:
        there, should = present.get(name, []), wanted.get(name, [])
        gone += [("delete", name, element) for element in there if element not in should]
        new += [("add", name, element) for element in should if element not in there]
    return [{verb: {"element": {**_named("inet", name), "elem": [element]}}} for verb, name, element in [*gone, *new]]


def _elements(entries: list[Entry]) -> dict[str, list[Any]]:
    bodies = [entry.get("set") or entry.get("map") for entry in entries]
    return {body["name"]: body.get("elem", []) for body in bodies if body and body["name"] in GROWING}


def _comparable(entries: list[Entry], but: Iterable[str] = ()) -> list[str]:
    """Rules in their order, all else by kind: nftables lists sets and chains in an order of its own."""
    shown, apart = [], {*_LIVING_SETS, *but}
    for entry in entries:
        kind, body = next(iter(entry.items()))
        if kind in ("set", "map") and body["name"] in apart:
            body = {key: value for key, value in body.items() if key != "elem"}
        shown.append((kind, body.get("chain", ""), {kind: body}))
    rules = [canonical([entry]) for kind, _, entry in sorted(shown, key=lambda item: item[1]) if kind == "rule"]
    return sorted(canonical([entry]) for kind, _, entry in shown if kind != "rule") + rules


def _family(entry: Entry) -> str:
    return str(next(iter(entry.values()))["family"])


def read_gate(rules: Nftables) -> Gate | None:
    """The lease that the namespace holds, or None where it has no gate."""
    listing = rules.table("inet", TABLE)
    sets = {entry["set"]["name"]: entry["set"].get("elem", []) for entry in listing or [] if "set" in entry}
    if "lease" not in sets or "epoch" not in sets:
        return None
    epoch = next(iter(sets["epoch"]), 0)
    remaining = [_remaining(element) for element in sets["lease"]]
    return Gate(epoch=int(epoch), remaining=min(remaining) if remaining else None)


def _remaining(element: Any) -> float:
    return float(element["elem"]["expires"]) if isinstance(element, dict) else math.inf


def gate_for(held: Gate | None, epoch: int, seconds: float) -> Gate:
    """The gate that a router's spec leaves behind when its lease has `seconds` left (infinite without rivals).

    A spec waits in queues; a report that came meanwhile has renewed the same term and knows better, so within a term a
    spec never shortens what is left, but for the first rival's sake.
    """
    wanted = Gate(epoch=epoch, remaining=seconds if seconds >= 1 else None)
    if held is None or held.epoch != epoch or held.remaining == math.inf or math.isinf(seconds):
        return held if held == wanted else wanted
    return wanted if seconds > (held.remaining or 0.0) + _ROUNDED else held


def read_peers(rules: Nftables) -> set[str]:
    """The mesh peers that the node's own table lets in; none where there is no table."""
    sets = [entry["set"] for entry in rules.table("inet", TABLE) or [] if "set" in entry]
    return {address for each in sets if each["name"] == "peers" for address in each.get("elem", [])}


def lease_commands(vni: int, gate: Gate) -> list[Entry]:
    """Commands that make the gate as it is given here.

    The elements are taken out and put in anew: adding one that is there does not start its clock again.
    """
    commands: list[Entry] = []
    for family in ("inet", "arp"):
        commands.append({"flush": {"set": _named(family, "lease")}})
        if gate.remaining is not None:
            elements = [_element(device, gate.remaining) for device in (names.inside(vni), names.outside(vni))]
            commands.append({"add": {"element": {**_named(family, "lease"), "elem": elements}}})
    commands.append({"flush": {"set": _named("inet", "epoch")}})
    commands.append({"add": {"element": {**_named("inet", "epoch"), "elem": [gate.epoch]}}})
    return commands


def _element(device: str, seconds: float) -> Any:
    return device if math.isinf(seconds) else {"elem": {"val": device, "timeout": max(math.floor(seconds), 1)}}


_ACCEPT: Entry = {"accept": None}
_DROP: Entry = {"drop": None}


def _table(family: str) -> Entry:
    return {"table": {"family": family, "name": TABLE}}


def _named(family: str, name: str) -> Entry:
    return {"family": family, "table": TABLE, "name": name}


def _set(family: str, name: str, kind: str, flags: list[str] | None = None, elem: list[Any] | None = None) -> Entry:
    optional = {key: value for key, value in (("flags", flags), ("elem", elem)) if value}
    return {"set": {**_named(family, name), "type": kind, **optional}}


def _map(family: str, name: str, elem: list[list[str]]) -> Entry:
    optional = {"elem": elem} if elem else {}
    return {"map": {**_named(family, name), "type": "ipv4_addr", "map": "ipv4_addr", **optional}}


def _chain(family: str, name: str, kind: str, hook: str, priority: int, policy: str) -> Entry:
    return {"chain": {**_named(family, name), "type": kind, "hook": hook, "prio": priority, "policy": policy}}


def _rules(family: str, chain: str, expressions: list[list[Entry]]) -> list[Entry]:
    return [{"rule": {"family": family, "table": TABLE, "chain": chain, "expr": expr}} for expr in expressions]


def _is(left: Entry, right: Any) -> Entry:
    return {"match": {"op": "==", "left": left, "right": right}}


def _is_not(left: Entry, right: Any) -> Entry:
    return {"match": {"op": "!=", "left": left, "right": right}}


def _state(*states: str) -> Entry:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(states)}}


def _meta(key: str) -> Entry:
    return {"meta": {"key": key}}


def _payload(protocol: str, name: str) -> Entry:
    return {"payload": {"protocol": protocol, "field": name}}


def _prefix(block: str) -> Any:
    address, _, length = block.partition("/")
    return address if length == "32" else {"prefix": {"addr": address, "len": int(length)}}


_FLOATING: Entry = {"map": {"key": _payload("ip", "daddr"), "data": "@floating"}}
_FLOATED: Entry = {"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}}
