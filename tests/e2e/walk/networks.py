"""Networks, and what each of their commands prints."""

import ast
import ipaddress

from tests.e2e.walk import (
    BYSTANDER,
    MODES,
    NETWORK,
    SPACE,
    Walk,
    check_events,
    check_metadata,
    check_no_metadata,
    row,
    same,
)


def network(walk: Walk, name: str = NETWORK) -> dict[str, object]:
    found: dict[str, object] = walk.api("GET", f"/networks/{name}")
    return found


@row("network create")
def create(walk: Walk) -> None:
    for number, (mode, extra) in enumerate(zip(MODES, ((), ("--no-nat",), ("--dns",)), strict=True)):
        block = f"10.45.{number}.0/24"
        said = walk.ok(mode, "network", "create", f"walk-{mode}", block, *extra)
        view = network(walk, f"walk-{mode}")
        assert (view["netblock"], view["state"]) == (block, "created")
        assert (view["provide_nat"], view["provide_dns"]) == (mode != "simple", mode == "json")
        if mode == "json":
            assert (said.json["uuid"], said.json["vxlan_id"]) == (view["uuid"], view["vxlan_id"])
        else:
            _same_network(said.fields, view)
    create_words = ("network", "create", "wrong")
    walk.refused("Malformed Request: netblock: 10.0.0.1/24 has host bits set", *create_words, "10.0.0.1/24")
    walk.refused("Malformed Request: netblock", *create_words, "10.0.0.0/30")
    walk.refused("Malformed Request: netblock", *create_words, "ten")
    walk.refused("Resource not found: namespace not found: none", *create_words, "10.0.0.0/24", "--namespace", "none")


def _same_network(found: dict[str, str], view: dict[str, object]) -> None:
    same(found, {name: view[name] for name in ("uuid", "name", "netblock", "namespace", "state")})
    same(found, {"vxlan id": view["vxlan_id"], "floating gateway": view["floating_gateway"]})
    names = {"provide dhcp": "provide_dhcp", "provide nat": "provide_nat", "provide DNS": "provide_dns"}
    same(found, {shown: view[name] for shown, name in names.items()})


@row("network list")
def list_all(walk: Walk) -> None:
    for flags in ((), ("--all",)):
        said = walk.each("network", "list", *flags)
        for name in ("floating", "walk-pretty", "walk-simple", NETWORK):
            view = network(walk, name)
            wanted = {key: view[key] for key in ("uuid", "name", "namespace", "netblock")}
            same(next(each for each in said["pretty"].table if each["name"] == name), wanted | {"state": "created"})
            # The client's line of names lacks the last one.
            same(next(each for each in said["simple"].listed if each["name"] == name), wanted | {"more": "created"})
            assert next(each for each in said["json"].json if each["name"] == name)["vxlan_id"] == view["vxlan_id"]


@row("network show")
def show(walk: Walk) -> None:
    view = network(walk)
    for ref in (NETWORK, str(view["uuid"])):
        said = walk.each("network", "show", ref)
        _same_network(said["pretty"].fields, view)
        _same_network(said["simple"].fields, view)
        same(said["json"].json, {name: said["json"].json[name] for name in ("uuid", "netblock")})
        assert said["json"].json["metadata"] == {}
    walk.refused("Resource not found: network not found: none-such", "network", "show", "none-such")


@row("network set-metadata")
def set_metadata(walk: Walk) -> None:
    check_metadata(walk, "network", NETWORK, f"/networks/{NETWORK}")
    said = walk.each("network", "show", NETWORK)
    assert "colour  : json" in said["pretty"].out and "metadata,colour,json" in said["simple"].out
    assert said["json"].json["metadata"] == {"colour": "json"}


@row("network delete-metadata")
def delete_metadata(walk: Walk) -> None:
    check_no_metadata(walk, "network", NETWORK, f"/networks/{NETWORK}")


@row("network events")
def events(walk: Walk) -> None:
    check_events(walk, "network", "events", NETWORK, message="network_create succeeded")


@row("network addresses")
def addresses(walk: Walk) -> None:
    said = walk.each("network", "addresses", NETWORK)
    uuid = str(network(walk)["uuid"])
    for rows in (said["pretty"].table, said["simple"].listed):
        taken = {each["address"]: (each["type"], each["user"]) for each in rows}
        assert taken["10.45.2.1"] == ("gateway", f"network {uuid}")
        assert taken["10.45.2.255"] == ("broadcast", f"network {uuid}")
        assert list(taken) == sorted(taken, key=ipaddress.IPv4Address)
    (gateway,) = (each for each in said["json"].json if each["type"] == "gateway")
    assert (gateway["address"], gateway["user"]) == ("10.45.2.1", ["network", uuid])


def _kinds(walk: Walk) -> dict[str, str]:
    """{address: what it is} of the outside."""
    return {each["address"]: each["type"] for each in walk.api("GET", "/networks/floating/addresses")}


@row("network add-routed")
def add_routed(walk: Walk) -> None:
    for mode in MODES:
        address = walk.ok(mode, "network", "add-routed", NETWORK).out.strip()
        assert _kinds(walk)[address] == "routed"


@row("network delete-routed")
def delete_routed(walk: Walk) -> None:
    uuid = str(network(walk)["uuid"])
    rows = walk.api("GET", "/networks/floating/addresses")
    routed = [each["address"] for each in rows if (each["type"], each["user"]) == ("routed", ["network", uuid])]
    for mode, address in zip(MODES, routed, strict=True):
        walk.silent(mode, "network", "delete-routed", NETWORK, address)
        walk.cloud.until(lambda: _kinds(walk), lambda kinds, gone=address: kinds.get(gone) != "routed", pause=0.2)
    # An address that rests has no user; the client joins its words all the same.
    for mode in ("pretty", "simple"):
        assert routed[0] in walk.ok(mode, "network", "addresses", "floating").out
    walk.refused(
        "Resource not found: address 198.19.0.1 is not routed", "network", "delete-routed", NETWORK, "198.19.0.1"
    )
    walk.refused("Malformed Request: ", "network", "delete-routed", NETWORK, "ten")


@row("network ping")
def ping(walk: Walk) -> None:
    said = walk.ok("json", "network", "ping", NETWORK, "10.45.2.200")
    printed = ast.literal_eval(said.out)
    assert "100% packet loss" in "\n".join(printed["stdout"]) and printed["stderr"] == []
    walk.broken("network", "ping", NETWORK, "10.45.2.200", modes=("pretty", "simple"))
    walk.refused("Malformed Request: ", "network", "ping", NETWORK, "10.99.0.1")


def instances(walk: Walk) -> None:
    """`network instances`, once there are some."""
    uuid = walk.instance(BYSTANDER)["uuid"]
    said = walk.each("network", "instances", NETWORK)
    for rows in (said["pretty"].table, said["simple"].listed, said["json"].json):
        same(next(each for each in rows if each["instance_uuid"] == uuid), {"ipv4": "10.45.2.50"})


def delete(walk: Walk) -> None:
    walk.refused("Not authorized: you cannot delete the floating network", "network", "delete", "floating")
    for mode in MODES:
        uuid = str(network(walk, f"walk-{mode}")["uuid"])
        said = walk.ok(mode, "network", "delete", f"walk-{mode}")
        if mode == "json":
            assert said.json["state"] == "complete"
        walk.refused(f"Resource not found: network not found: walk-{mode}", "network", "delete", f"walk-{mode}")
        assert network(walk, uuid)["state"] == "deleted"
        assert uuid in walk.ok(mode, "network", "list", "--all").out


def delete_all(walk: Walk) -> None:
    for mode in MODES:
        walk.ok("json", "network", "create", "gone", "10.46.0.0/24", "--namespace", SPACE)
        sure = walk.ok(mode, "network", "delete-all", "--namespace", SPACE).out
        assert sure == "You must be sure. Use option --confirm.\n"
        walk.silent(mode, "network", "delete-all", "--confirm", "--namespace", SPACE)
        assert not [each for each in walk.api("GET", "/networks") if each["namespace"] == SPACE]
    walk.refused("Malformed Request: ", "network", "delete-all", "--confirm")
