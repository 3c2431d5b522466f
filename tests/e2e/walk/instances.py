"""Instances made, shown, switched, looked at."""

import base64
from pathlib import Path
from typing import Any

from tests.e2e.cloud import IMAGE
from tests.e2e.walk import (
    BYSTANDER,
    GUEST,
    MODES,
    NETWORK,
    Said,
    Walk,
    check_events,
    check_metadata,
    check_no_metadata,
    fetched,
    row,
    same,
)

DISK = ("-d", "1", "--configdrive", "none", "--force")


@row("instance create")
def create(walk: Walk) -> None:
    key = Path(f"{walk.cloud.lab.ssh_key}.pub")
    script = walk.file("user-data", b"#!/bin/sh\n")
    disk = ("-d", f"1@{IMAGE}", "-D", "size=1,bus=sata,type=disk")
    more = ("-i", str(key), "-u", str(script), "-m", 'affinity={"near":1}', "-m", "owner=me", "-p", "n1")
    said = walk.ok("json", "instance", "create", GUEST, "1", "128", "-n", NETWORK, *disk, *more).json
    assert (said["name"], said["state"], said["node"]) == (GUEST, "created", "n1")
    assert said["metadata"] == {"affinity": {"near": 1}, "owner": "me"}
    assert said["ssh_key"] == key.read_text() and base64.b64decode(said["user_data"]) == script.read_bytes()
    assert [(each["base"], each["bus"], each["size"]) for each in said["disk_spec"]] == [
        (IMAGE, "virtio", 1),
        (None, "sata", 1),
    ]
    card = f"network_uuid={NETWORK},address=10.45.2.50,macaddress=02:00:00:45:02:50,float=true"
    video = ("-V", "model=vga,memory=16384", "--no-side-channels", "-U", "", "-I", "ssh-ed25519 AAAA me")
    said_pretty = walk.ok("pretty", "instance", "create", BYSTANDER, "1", "64", "-N", card, *DISK, *video)
    _same_instance(said_pretty, walk.instance(BYSTANDER))
    (made,) = walk.instance(BYSTANDER)["interfaces"]
    assert (made["ipv4"], made["macaddr"]) == ("10.45.2.50", "02:00:00:45:02:50")
    assert made["floating"] and walk.instance(BYSTANDER)["side_channels"] == []
    third = walk.ok("simple", "instance", "create", "third", "1", "64", "-f", f"{NETWORK}@10.45.2.60", *DISK, "--uefi")
    view = walk.instance("third")
    _same_instance(third, view)
    assert view["uefi"] and view["interfaces"][0]["floating"] in third.out
    assert "disk_spec,disk,virtio,1,None" in third.out and "video,cirrus,16384" in third.out
    _refused(walk)


def _refused(walk: Walk) -> None:
    words = ("instance", "create")
    for told, given in {
        "Specified memory size is 64MB": ("small", "1", "64", "-d", "1"),
        "You must specify at least one disk": ("small", "1", "128"),
        "Disk size is not an integer": ("small", "1", "128", "-d", "much"),
        "Unable to parse metadata": ("small", "1", "128", "-d", "1", "-m", "x"),
    }.items():
        assert all(each.out.startswith(told) for each in walk.each(*words, *given).values())
    walk.refused("Malformed Request: name", *words, "no.dots", "1", "128", *DISK)
    walk.refused("Malformed Request: ", *words, "bad", "1", "128", "-D", "size=1,bus=ide")
    walk.refused("Resource not found: network not found: none", *words, "bad", "1", "128", *DISK, "-n", "none")
    walk.refused("Resource not found: ", *words, "bad", "1", "128", "-d", "1@sf://upload/system/none")
    walk.refused("Resource not found: node not found: n9", *words, "bad", "1", "128", *DISK, "-p", "n9")
    walk.refused("Resource state conflict: ", *words, "bad", "1", "128", *DISK, "-n", f"{NETWORK}@10.45.2.50")
    walk.refused("Insufficient Resources: ", *words, "bad", "1", "8000000", *DISK)


def _same_instance(said: Said, view: dict[str, Any]) -> None:
    """A shown instance, pretty or simple."""
    found = said.fields
    same(found, {name: view[name] for name in ("uuid", "name", "namespace", "cpus", "memory", "node", "state", "uefi")})
    same(found, {name.replace("_", " "): view[name] for name in ("secure_boot", "power_state", "console_port")})
    same(found, {name.replace("_", " "): view[name] for name in ("vdi_port", "error_message", "nvram_template")})
    same(found, {"ssh key": str(view["ssh_key"]).strip(), "user data": view["user_data"]})
    assert found.get("side channels") == " ".join(view["side_channels"])
    for card in view["interfaces"]:
        assert all(str(card[name]) in said.out for name in ("uuid", "network_uuid", "macaddr", "ipv4", "floating"))


@row("instance list")
def list_all(walk: Walk) -> None:
    for flags in ((), ("--all",)):
        said = walk.each("instance", "list", *flags)
        for name in (GUEST, BYSTANDER, "third"):
            view = walk.instance(name)
            names = ("uuid", "name", "namespace", "cpus", "memory", "state")
            wanted = {key: view[key] for key in names} | {"hypervisor": view["node"]}
            wanted["power state"] = view["power_state"]
            (card,) = view["interfaces"]
            floating = f" ({card['floating']})" if card["floating"] else ""
            found = next(each for each in said["pretty"].table if each["name"] == name)
            same(found, wanted | {"interfaces": f"0: {card['ipv4']}{floating}"})
            found = next(each for each in said["simple"].listed if each["name"] == name)
            same(found, wanted | {"interfaces": f"0:{card['ipv4']}{floating.strip()}"})
            found = next(each for each in said["json"].json["instances"] if each["name"] == name)
            assert (found["uuid"], found["interfaces"]) == (view["uuid"], view["interfaces"])


@row("instance show")
def show(walk: Walk) -> None:
    for name in (GUEST, BYSTANDER, "third"):
        said, view = walk.each("instance", "show", name), walk.instance(name)
        _same_instance(said["pretty"], view)
        _same_instance(said["simple"], view)
        found = said["json"].json
        for key in set(found) & set(view):
            assert found[key] == view[key], key
        assert [each["uuid"] for each in found["network_interfaces"]] == [each["uuid"] for each in view["interfaces"]]
    pretty = walk.ok("pretty", "instance", "show", GUEST).out
    assert f"type=disk   bus=virtio  size=1    base={IMAGE}" in pretty and "bus=sata" in pretty
    assert "model=cirrus  memory=16384  vdi=spice" in pretty and "owner   : me" in pretty
    walk.refused("Resource not found: instance not found: none-such", "instance", "show", "none-such")


@row("instance set-metadata")
def set_metadata(walk: Walk) -> None:
    check_metadata(walk, "instance", BYSTANDER, f"/instances/{BYSTANDER}")
    walk.silent("json", "instance", "set-metadata", BYSTANDER, "tags", '["a"]')
    assert walk.ok("json", "instance", "show", BYSTANDER).json["metadata"] == {"colour": "json", "tags": ["a"]}
    for said in walk.each("instance", "set-metadata", BYSTANDER, "tags", "a").values():
        assert "must contain valid JSON" in said.out
    walk.refused("Malformed Request: value", "instance", "set-metadata", BYSTANDER, "tags", '{"a": 1}')


@row("instance delete-metadata")
def delete_metadata(walk: Walk) -> None:
    check_no_metadata(walk, "instance", BYSTANDER, f"/instances/{BYSTANDER}")


@row("instance poweroff")
def poweroff(walk: Walk) -> None:
    for mode in MODES:
        walk.silent(mode, "instance", "poweroff", BYSTANDER)
        walk.until_instance(BYSTANDER, power_state="off")
        walk.silent("json", "instance", "poweron", BYSTANDER)
        walk.until_instance(BYSTANDER, power_state="on")
    walk.refused("Resource not found: instance not found: none-such", "instance", "poweroff", "none-such")


@row("instance poweron")
def poweron(walk: Walk) -> None:
    for mode in MODES:
        walk.silent("json", "instance", "poweroff", BYSTANDER)
        walk.until_instance(BYSTANDER, power_state="off")
        walk.silent(mode, "instance", "poweron", BYSTANDER)
        walk.until_instance(BYSTANDER, power_state="on")


@row("instance pause")
def pause(walk: Walk) -> None:
    for mode in MODES:
        walk.silent(mode, "instance", "pause", BYSTANDER)
        walk.until_instance(BYSTANDER, power_state="paused")
        walk.silent("json", "instance", "unpause", BYSTANDER)
        walk.until_instance(BYSTANDER, power_state="on")
    walk.silent("json", "instance", "poweroff", BYSTANDER)
    walk.until_instance(BYSTANDER, power_state="off")
    walk.refused("Resource state conflict: ", "instance", "pause", BYSTANDER)
    walk.silent("json", "instance", "poweron", BYSTANDER)
    walk.until_instance(BYSTANDER, power_state="on")


@row("instance unpause")
def unpause(walk: Walk) -> None:
    for mode in MODES:
        walk.silent("json", "instance", "pause", BYSTANDER)
        walk.until_instance(BYSTANDER, power_state="paused")
        walk.silent(mode, "instance", "unpause", BYSTANDER)
        walk.until_instance(BYSTANDER, power_state="on")


@row("instance reboot")
def reboot(walk: Walk) -> None:
    def rebooted() -> int:
        events = walk.ok("json", "instance", "events", BYSTANDER, "-l", "1000").json
        return sum(each["message"] == "instance_reboot succeeded" for each in events)

    for count, mode in enumerate(MODES, start=1):
        walk.silent(mode, "instance", "reboot", "--hard", BYSTANDER)
        walk.cloud.until(rebooted, lambda found, count=count: found == count, pause=0.2)
    assert walk.instance(BYSTANDER)["power_state"] == "on"


@row("instance events")
def events(walk: Walk) -> None:
    check_events(walk, "instance", "events", BYSTANDER, message="instance_create succeeded")


@row("instance vdiconsolefile")
def viewer_file(walk: Walk) -> None:
    address = walk.api("GET", f"/nodes/{walk.instance(BYSTANDER)['node']}")["ip"]
    passwords = set()
    for flags in ((), ("--direct",)):
        for said in walk.each("instance", "vdiconsolefile", BYSTANDER, *flags).values():
            found = dict(line.split("=", 1) for line in said.out.splitlines() if "=" in line)
            assert said.out.startswith("[virt-viewer]\n")
            assert (found["type"], found["host"]) == ("spice", address)
            passwords.add(found["password"])
    assert len(passwords) == 6


@row("instance vdiconsole")
def viewer(walk: Walk) -> None:
    """A viewer of ours, which keeps the file that it is given; and one that is called ryll, which is given an address."""
    kept = walk.folder / "kept"
    keep = walk.file("viewer", f'#!/bin/sh\ncp "$1" {kept}\n'.encode())
    ryll = walk.file("ryll", f'#!/bin/sh\necho "$2" > {kept}\n'.encode())
    for program in (keep, ryll):
        program.chmod(0o755)
    for mode in MODES:
        for flags in ((), ("--direct",)):
            walk.silent(mode, "instance", "vdiconsole", "--viewer", str(keep), *flags, BYSTANDER)
            assert "password=" in kept.read_text()
            kept.unlink()
        walk.silent(mode, "instance", "vdiconsole", "--viewer", str(ryll), BYSTANDER)
        assert "password=" in fetched(kept.read_text().strip()).text
        none = walk.run(mode, "instance", "vdiconsole", "--viewer", "none-such", BYSTANDER)
        assert none.code == 1 and "Viewer 'none-such' not found" in none.err


@row("instance screenshot")
def screenshot(walk: Walk) -> None:
    for mode in MODES:
        picture = walk.folder / f"screen-{mode}.png"
        walk.silent(mode, "instance", "screenshot", BYSTANDER, str(picture))
        assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 100
    walk.refused(
        "Resource not found: instance not found: none-such", "instance", "screenshot", "none-such", "nothing.png"
    )
