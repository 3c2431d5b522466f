"""The config drive says what cloud-init needs, and is a disk labelled config-2."""

import json
from pathlib import Path
from typing import Any

import pytest

from nodeagent.drivers import config_drive
from nodeagent.specs import ConfigDrive, InterfaceSpec
from tests.node_specs import INSTANCE, NETWORK, RecordingCall, instance_spec, interface_spec

DRIVE = ConfigDrive(
    hostname="guest.example.test", ssh_key="ssh-ed25519 AAAA me", user_data="#!/bin/sh\n", metadata={"a": 1}
)


def two_cards() -> dict[str, Any]:
    first = interface_spec(dhcp=False)
    second = interface_spec(mac="02:00:00:00:00:02", nameservers=("10.0.0.1", "192.0.2.53"))
    return config_drive.network_data([first, second], [1450, 1550])


def test_dn_7_there_is_one_link_for_each_card_with_increasing_index_and_its_mtu() -> None:
    assert two_cards()["links"] == [
        {"id": "eth0", "type": "vif", "ethernet_mac_address": "02:00:00:00:00:01", "mtu": 1450},
        {"id": "eth1", "type": "vif", "ethernet_mac_address": "02:00:00:00:00:02", "mtu": 1550},
    ]


def test_dn_7_a_fixed_address_has_mask_and_route_and_a_leased_one_only_its_link() -> None:
    assert two_cards()["networks"] == [
        {
            "id": "network0",
            "link": "eth0",
            "network_id": NETWORK,
            "type": "ipv4",
            "ip_address": "10.0.0.5",
            "netmask": "255.255.255.0",
            "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"}],
        },
        {"id": "network1", "link": "eth1", "network_id": NETWORK, "type": "ipv4_dhcp"},
    ]


def test_dn_5_name_servers_stand_once_at_the_top_level() -> None:
    assert two_cards()["services"] == [
        {"type": "dns", "address": "10.0.0.1"},
        {"type": "dns", "address": "192.0.2.53"},
    ]


def test_a_card_without_any_address_has_a_link_and_no_network() -> None:
    data = config_drive.network_data([interface_spec(dhcp=False, address=None, nameservers=())], [1500])
    assert (len(data["links"]), data["networks"], data["services"]) == (1, [], [])


def test_meta_data_has_identity_keys_and_text_values() -> None:
    meta = json.loads(config_drive.documents(instance_spec(), DRIVE, [1450])["meta_data.json"])
    assert (meta["uuid"], meta["hostname"], meta["meta"]) == (INSTANCE, "guest.example.test", {"a": "1"})
    assert meta["public_keys"] == {"key": "ssh-ed25519 AAAA me"}
    bare = config_drive.documents(instance_spec(), ConfigDrive(hostname="g"), [1450])
    assert "user_data" not in bare and "public_keys" not in json.loads(bare["meta_data.json"])


def test_the_drive_is_an_iso_with_its_label_and_readable_by_nobody_else(tmp_path: Path) -> None:
    target = tmp_path / "instance" / "config.iso"
    config_drive.write(target, RecordingCall().token, instance_spec(), DRIVE, [1450])
    content = target.read_bytes()
    assert content[32768:32774] == b"\x01CD001" and content[32808:32816] == b"config-2"
    assert b"#!/bin/sh\n" in content and b"ethernet_mac_address" in content
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(target.parent.iterdir()) == [target]


def complaints(data: dict[str, Any], macs: list[str]) -> list[str]:
    """What cloud-init 22.4 would fail at, or lose without a word, in a network_data.json for a guest with these cards."""
    found = [f"{part} is no list" for part in ("links", "networks", "services") if not isinstance(data.get(part), list)]
    links = {link.get("id"): link for link in data["links"]}
    for link in data["links"]:
        found += [f"a link has no {name}" for name in ("id", "type", "ethernet_mac_address") if not link.get(name)]
        found += ["a link is to be renamed"] if "name" in link else []
        found += ["a link is of no card"] if link["ethernet_mac_address"] not in macs else []
        found += ["an MTU is no number"] if not isinstance(link.get("mtu"), int) else []
    for network in data["networks"]:
        found += ["a network is of no link"] if network.get("link") not in links else []
        if network.get("type") == "ipv4":
            found += [f"a fixed network has no {name}" for name in ("ip_address", "netmask") if not network.get(name)]
            found += [
                "a route is not whole" for route in network["routes"] if set(route) != {"network", "netmask", "gateway"}
            ]
        elif network.get("type") != "ipv4_dhcp":
            found.append("a network is of an unknown type")
    found += ["services inside a network" for network in data["networks"] if "services" in network]
    found += ["a service is no name server" for service in data["services"] if set(service) != {"type", "address"}]
    return found


DHCP = interface_spec()
FIXED = interface_spec(mac="02:00:00:00:00:02", dhcp=False)
BARE = interface_spec(mac="02:00:00:00:00:03", address=None, nameservers=())


@pytest.mark.parametrize(
    ("cards", "types", "default_routes"),
    [
        ([], [], 0),
        ([DHCP], ["ipv4_dhcp"], 0),
        ([FIXED], ["ipv4"], 1),
        ([BARE], [], 0),
        ([DHCP, FIXED], ["ipv4_dhcp", "ipv4"], 0),
        ([FIXED, DHCP], ["ipv4", "ipv4_dhcp"], 1),
        ([BARE, FIXED], ["ipv4"], 1),
        ([BARE, DHCP], ["ipv4_dhcp"], 0),
        ([BARE, FIXED, DHCP], ["ipv4", "ipv4_dhcp"], 1),
    ],
)
def test_dn_7_cloud_init_takes_every_shape_of_network_data(
    cards: list[InterfaceSpec], types: list[str], default_routes: int
) -> None:
    texts = config_drive.documents(instance_spec(interfaces=tuple(cards)), DRIVE, [1450] * len(cards))
    data = json.loads(texts["network_data.json"])
    assert complaints(data, [card.mac for card in cards]) == []
    assert len(data["links"]) == len(cards)
    assert [network["type"] for network in data["networks"]] == types
    assert sum(len(network.get("routes", ())) for network in data["networks"]) == default_routes


def test_the_check_itself_finds_what_is_wrong() -> None:
    whole = config_drive.network_data([FIXED], [1450])
    for part, name in (("links", "type"), ("links", "id"), ("networks", "link"), ("networks", "netmask")):
        broken = json.loads(json.dumps(whole))
        del broken[part][0][name]
        assert complaints(broken, [FIXED.mac])
