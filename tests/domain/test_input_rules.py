"""What may be asked for, as plain functions."""

from typing import Any

import pytest

from sfweb.domain import instance_rules
from sfweb.domain.image_urls import check_image_url
from sfweb.domain.instance_rules import new_disks, new_interface, new_interfaces, new_video
from sfweb.domain.metadata import check_all, check_item
from sfweb.domain.names import check_hostname, check_key_name, check_label
from sfweb.domain.network_rules import check_netblock
from sfweb.errors import Invalid
from tests import node_specs


@pytest.mark.parametrize("name", ["a", "A1", "a-b", "x" * 63, "0"])
def test_se_13_hostnames(name: str):
    assert check_hostname(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a.b", "a_b", "a b", "x" * 64, "a\n", "é", "a/b", "a\x00", "../etc"])
def test_se_13_no_hostnames(name: str):
    with pytest.raises(Invalid, match=r"^here: "):
        check_hostname(name, "here")


def test_key_names_and_labels_have_no_slash():
    assert check_key_name("me@example.com") == "me@example.com"
    assert check_label("Debian 12 (cloud)") == "Debian 12 (cloud)"
    for check, name in ((check_key_name, "a/b"), (check_label, "a/b"), (check_label, "a\tb"), (check_label, "x" * 256)):
        with pytest.raises(Invalid):
            check(name)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.img",
        "https://example.com:8443/a.img?x=1#y",
        "https://user:password@example.com/a",
        "http://8.8.8.8/a",
        "http://[2001:4860:4860::8888]/a",
    ],
)
def test_se_8_addresses_that_images_come_from(url: str):
    assert check_image_url(url, []) == url


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://example.com/a", "fetch.invalid"),
        ("file:///etc/passwd", "fetch.invalid"),
        ("example.com/a", "fetch.invalid"),
        ("http:///a", "fetch.invalid"),
        ("http://e.com:0/a", "fetch.invalid"),
        ("http://e.com:99999/a", "fetch.invalid"),
        ("http://e.com/a b", "fetch.invalid"),
        ("http://e.com/a\r\nHost: x", "fetch.invalid"),
        ("http://localhost/a", "fetch.forbidden"),
        ("http://x.localhost/a", "fetch.forbidden"),
        ("http://127.0.0.1/a", "fetch.forbidden"),
        ("http://10.1.2.3/a", "fetch.forbidden"),
        ("http://169.254.169.254/latest", "fetch.forbidden"),
        ("http://224.0.0.1/a", "fetch.forbidden"),
        ("http://0.0.0.0/a", "fetch.forbidden"),
        ("http://[::1]/a", "fetch.forbidden"),
        ("http://[fe80::1]/a", "fetch.forbidden"),
        ("http://[::ffff:10.0.0.1]/a", "fetch.forbidden"),
        ("http://2130706433/a", "fetch.forbidden"),
        ("http://127.1/a", "fetch.forbidden"),
    ],
)
def test_se_8_addresses_that_they_do_not(url: str, code: str):
    with pytest.raises(Invalid) as refused:
        check_image_url(url, [])
    assert refused.value.code == code


def test_se_8_an_operator_may_allow_a_private_range():
    assert check_image_url("http://10.1.2.3/a", ["10.1.0.0/16"])
    with pytest.raises(Invalid):
        check_image_url("http://10.2.2.3/a", ["10.1.0.0/16"])


@pytest.mark.parametrize("block", ["10.0.0.0/8", "10.0.0.0/29", "192.168.1.0/24", "100.64.0.0/10"])
def test_netblocks(block: str):
    assert str(check_netblock(block)) == block


@pytest.mark.parametrize(
    "block",
    [
        "10.0.0.0/30",
        "10.0.0.0/7",
        "10.0.0.1/24",
        "10.0.0.0",
        "010.0.0.0/24",
        "10.0.0.0/024x",
        "::/64",
        "",
        "240.0.0.0/8",
    ],
)
def test_no_netblocks(block: str):
    with pytest.raises(Invalid, match=r"^netblock: "):
        check_netblock(block)


def test_a_disk_is_filled_in():
    disk = new_disks([{"base": "none", "size": 8}], [])[0]
    assert (disk.base, disk.size_gb, disk.bus, disk.kind) == (None, 8, "virtio", "disk")


@pytest.mark.parametrize(
    "base",
    [
        "label:x",
        "image:debian:12",
        "debian:12",
        "system/centos:7",
        "sf://label/a/b",
        "sf://upload/a/b",
        "sf://blob/x",
        "sf://instance/x/vda",
        "https://e.com/x",
    ],
)
def test_ar_4_bases_of_disks(base: str):
    assert new_disks([{"base": base}], [])[0].base == base


@pytest.mark.parametrize("base", ["non sense", "sf://elsewhere/x", "s3://bucket/x", "../x", "a/b/c", "a\tb"])
def test_ar_4_no_bases_of_disks_are_told_the_forms(base: str):
    with pytest.raises(Invalid, match=r"^disk.0.base: .* is not one of .*sf://label/NAMESPACE/NAME"):
        new_disks([{"base": base}], [])


def test_a_blank_disk_needs_a_size():
    with pytest.raises(Invalid, match=r"^disk.0"):
        new_disks([{"base": ""}], [])


@pytest.mark.parametrize(
    ("said", "address", "none"),
    [({}, None, False), ({"address": "none"}, None, True), ({"address": "10.0.0.9"}, "10.0.0.9", False)],
)
def test_an_interface_with_without_and_with_a_given_address(said: dict[str, Any], address: str | None, none: bool):
    card = new_interface({"network_uuid": "n"} | said)
    assert (card.address, card.no_address) == (address, none)


def test_a_mac_is_lower_case_and_unicast():
    assert new_interface({"network_uuid": "n", "macaddress": "02:00:00:AB:CD:EF"}).mac == "02:00:00:ab:cd:ef"
    for mac in ("03:00:00:00:00:00", "02:00:00", "02-00-00-00-00-00"):
        with pytest.raises(Invalid):
            new_interface({"network_uuid": "n", "macaddress": mac})


def test_an_instance_has_only_so_many_interfaces():
    with pytest.raises(Invalid):
        new_interfaces([{"network_uuid": "n"}] * 17)


def test_video_is_filled_in():
    assert new_video({"model": "vga"}) == {"model": "vga", "memory": 16384, "vdi": "spice"}


@pytest.mark.parametrize("value", ["x", 1, True, [0], {"a": None}, 0.5])
def test_metadata_values(value: Any):
    check_item("network", "k", value)


@pytest.mark.parametrize("value", ["", 0, False, None, [], {}, 0.0, "x" * 300_000])
def test_no_metadata_values(value: Any):
    with pytest.raises(Invalid, match=r"^value: "):
        check_item("network", "k", value)


def test_reserved_keys_mean_something_to_instances_only():
    check_all("network", {"tags": "free text"})
    check_all("instance", {"tags": ["a"], "affinity": {"a": "-5", "b": 3}})
    for key, value in (
        ("tags", "a"),
        ("tags", [1]),
        ("affinity", [1]),
        ("affinity", {"a": "x"}),
        ("affinity", {"a": {}}),
    ):
        with pytest.raises(Invalid):
            check_all("instance", {key: value})


@pytest.mark.parametrize("name", ["BUSES", "DISK_KINDS", "CARD_MODELS", "VIDEO_MODELS", "VIDEO_PROTOCOLS"])
def test_the_hardware_that_is_accepted_is_the_one_that_is_tried_on_a_real_hypervisor(name):
    assert getattr(instance_rules, name) == getattr(node_specs, name)


def test_a_cdrom_is_on_a_bus_that_has_some():
    assert new_disks([{"type": "cdrom", "size": 1}], ())[0].bus == "sata"
    with pytest.raises(Invalid, match="cdrom"):
        new_disks([{"type": "cdrom", "size": 1, "bus": "nvme"}], ())
