"""The config drive says what cloud-init needs, and is a disk labelled config-2."""

import json
from pathlib import Path
from typing import Any

from nodeagent.drivers import config_drive
from nodeagent.specs import ConfigDrive
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
