"""A real Debian guest from its image to its revert, with the seconds that each step takes; with PROVE=1 only.

The tests run in order and share one guest, `debian`, on node n1, and its twin from a snapshot, `again`, on node n2.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lab import debian_image
from lab.first_boot import client
from tests.e2e.cloud import CACHE, Cloud

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not os.environ.get("PROVE"), reason="builds an image from Debian's archive: make prove"),
]
NAME, TWIN, MEMORY = "debian", "again", "384"
BOOT_SECONDS = 360.0
USER_DATA = """#cloud-config
write_files:
  - path: /etc/greeting
    content: written by cloud-init
runcmd:
  - [sh, -c, "id -un > /var/lib/ran-by-cloud-init"]
"""
CLOCK = "/var/log/clock"
WRITER = f"while :; do date +%s.%N >> {CLOCK}; sync {CLOCK}; done"


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[str, str]]:
    """Printed at the end, as the table of the report."""
    found: dict[str, str] = {}
    yield found
    print("\n| what | figure |\n|---|---|")
    for what, figure in found.items():
        print(f"| {what} | {figure} |")


@contextmanager
def timed(figures: dict[str, str], what: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    figures[what] = f"{time.monotonic() - begin:.1f} s"


def api(cloud: Cloud, method: str, path: str, body: Any = None) -> Any:
    return client(cloud.lab)._request_url(method, path, data=body).json()


def execute(cloud: Cloud, name: str, command: str) -> str:
    """Standard output of a command that succeeds in the guest."""
    done = cloud.sf("--async=block", "instance", "execute", name, command)
    result = done["results"]["0"]
    assert result["return-code"] == 0, (command, result)
    return str(result["stdout"])


def agent_answers(cloud: Cloud, name: str) -> None:
    cloud.until(
        lambda: api(cloud, "GET", f"/instances/{name}"),
        lambda row: (row["agent_state"] or "").startswith("ready"),
        BOOT_SECONDS,
    )


def by_ssh(cloud: Cloud, command: str) -> subprocess.CompletedProcess[str]:
    """Asked by a machine on the lab's outside network, through the floating address."""
    address = cloud.show(NAME)["network_interfaces"][0]["floating"]
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=10", "LogLevel=ERROR"]
    ssh = ["ssh", "-i", str(cloud.lab.ssh_key), *(word for option in options for word in ("-o", option))]
    outside = ["ip", "netns", "exec", cloud.lab.outside, *ssh, f"debian@{address}", command]
    return subprocess.run(outside, capture_output=True, text=True, check=False)


def test_the_image_is_uploaded(cloud: Cloud, figures: dict[str, str]) -> None:
    with timed(figures, "building the image (no time when it is in the cache)"):
        image = debian_image.build(CACHE)
    figures["the image"] = f"{image.stat().st_size / 2**20:.0f} MiB"
    with timed(figures, "uploading it by the client, until it is checked and published"):
        cloud.sf("artifact", "upload", "debian", str(image))
        view = cloud.until(lambda: cloud.sf("artifact", "show", "debian"), lambda row: row["state"] != "initial")
    assert view["state"] == "created"


def test_it_boots_and_takes_what_it_is_given(cloud: Cloud, figures: dict[str, str], tmp_path: Path) -> None:
    network = cloud.sf("network", "create", "wide", "10.48.0.0/24", "--dns")["uuid"]
    script = tmp_path / "user-data"
    script.write_text(USER_DATA)
    words = ["instance", "create", NAME, "1", MEMORY, "-f", network, "-d", "4@sf://upload/system/debian"]
    more = ["-i", f"{cloud.lab.ssh_key}.pub", "-u", str(script), "-p", "n1"]
    begin = time.monotonic()
    with timed(figures, "creating the instance, until it is `created`"):
        cloud.sf("--async=continue", *words, *more)
        assert cloud.settled(NAME)["state"] == "created"
    agent_answers(cloud, NAME)
    figures["guest agent, after the request"] = f"{time.monotonic() - begin:.1f} s"
    cloud.until(lambda: by_ssh(cloud, "true").returncode, lambda code: code == 0, BOOT_SECONDS)
    figures["ssh through the floating address, after the request"] = f"{time.monotonic() - begin:.1f} s"
    status = execute(cloud, NAME, "cloud-init status --wait --long")
    figures["cloud-init finished, after the request"] = f"{time.monotonic() - begin:.1f} s"
    assert "status: done" in status and "DataSourceConfigDrive" in status, status
    card = cloud.show(NAME)["network_interfaces"][0]
    (link,) = json.loads(execute(cloud, NAME, "ip -json -4 address show up scope global"))
    assert (link["addr_info"][0]["local"], link["mtu"]) == (card["ipv4"], 1550)
    assert link["addr_info"][0]["dynamic"] is True, "the address came by DHCP"
    assert execute(cloud, NAME, "hostname") == f"{NAME}\n"
    assert execute(cloud, NAME, "cat /etc/greeting /var/lib/ran-by-cloud-init") == "written by cloud-initroot\n"
    assert Path(f"{cloud.lab.ssh_key}.pub").read_text() in execute(cloud, NAME, "cat /home/debian/.ssh/authorized_keys")
    assert int(execute(cloud, NAME, "df --output=size -BM / | tail -1").strip().rstrip("M")) > 3500
    assert card["ipv4"] in execute(cloud, NAME, f"getent hosts {NAME}.system.steadyfist")
    assert execute(cloud, NAME, "systemctl --failed --no-legend") == ""
    used = execute(cloud, NAME, "free -m | awk '/^Mem/ {print $3}'").strip()
    figures["memory in use in the guest"] = f"{used} MiB of {MEMORY}"


def test_it_is_reached_from_outside(cloud: Cloud) -> None:
    done = by_ssh(cloud, "hostname; sudo id -un; cat /etc/debian_version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{NAME}\nroot\n12."), done.stdout


def test_it_is_captured_while_it_writes(cloud: Cloud, figures: dict[str, str]) -> None:
    execute(cloud, NAME, "echo before > /root/marker && sync")
    execute(cloud, NAME, f"systemd-run --unit=writer sh -c '{WRITER}'")
    time.sleep(5)
    with timed(figures, "snapshot while it writes, until the client has it"):
        taken = cloud.sf("--async=block", "instance", "snapshot", NAME)
    assert list(taken) == ["vda"]
    time.sleep(5)
    execute(cloud, NAME, "systemctl stop writer && echo after > /root/marker && sync")
    (made,) = api(cloud, "GET", f"/snapshots?instance={NAME}")
    assert (made["state"], made["quiesced"]) == ("created", True)
    stamps = [float(line) for line in execute(cloud, NAME, f"tail -n 2000 {CLOCK}").split()]
    gap = max(later - earlier for earlier, later in pairwise(stamps))
    figures["longest that a write waited around the snapshot"] = f"{gap:.2f} s"
    assert gap < 30


def test_ar_14_another_guest_boots_from_the_snapshot(cloud: Cloud, figures: dict[str, str]) -> None:
    (made,) = api(cloud, "GET", f"/snapshots?instance={NAME}")
    (disk,) = made["disks"]
    base = f"4@sf://snapshot/{disk['artifact_uuid']}"
    figures["the captured disk"] = f"{disk['size'] / 2**20:.0f} MiB"
    words = ["instance", "create", TWIN, "1", MEMORY, "-n", "wide", "-d", base, "-p", "n2"]
    with timed(figures, "the twin on the other node, until its guest agent answers"):
        cloud.sf("--async=continue", *words, "-i", f"{cloud.lab.ssh_key}.pub")
        assert cloud.settled(TWIN)["state"] == "created"
        agent_answers(cloud, TWIN)
    assert "status: done" in execute(cloud, TWIN, "cloud-init status --wait --long")
    assert execute(cloud, TWIN, "hostname; cat /root/marker") == f"{TWIN}\nbefore\n"
    assert int(execute(cloud, TWIN, f"wc -l < {CLOCK}")) > 10
    # A file system that stood still needs no journal replayed: that is what quiesced means.
    log = execute(cloud, TWIN, "dmesg | grep 'EXT4-fs (vda2)'")
    assert "mounted filesystem" in log and "recovery" not in log and "orphan" not in log, log
    keys = {execute(cloud, name, "cat /etc/ssh/ssh_host_ed25519_key.pub") for name in (NAME, TWIN)}
    assert len(keys) == 2, "a new instance makes its own host key"
    cloud.sf("instance", "delete", TWIN)


def test_it_is_reverted(cloud: Cloud, figures: dict[str, str]) -> None:
    before = cloud.show(NAME)
    assert execute(cloud, NAME, "cat /root/marker") == "after\n"
    (made,) = api(cloud, "GET", f"/snapshots?instance={NAME}")
    with timed(figures, "revert, until ssh answers again"):
        told = api(cloud, "POST", f"/instances/{NAME}/revert", {"snapshot": made["uuid"]})
        ended = cloud.until(
            lambda: api(cloud, "GET", f"/operations/{told['operation']}"),
            lambda row: row["state"] in ("succeeded", "failed", "cancelled"),
            BOOT_SECONDS,
        )
        assert ended["state"] == "succeeded", ended
        cloud.until(lambda: by_ssh(cloud, "true").returncode, lambda code: code == 0, BOOT_SECONDS)
    after = cloud.show(NAME)
    assert (after["uuid"], after["network_interfaces"]) == (before["uuid"], before["network_interfaces"])
    assert by_ssh(cloud, "sudo cat /root/marker").stdout == "before\n"


def test_nothing_is_left(cloud: Cloud) -> None:
    for made in api(cloud, "GET", f"/snapshots?instance={NAME}"):
        api(cloud, "DELETE", f"/snapshots/{made['uuid']}")
    cloud.sf("--async=block", "instance", "delete", NAME)
    cloud.sf("artifact", "delete", "debian")
    cloud.sf("--async=block", "network", "delete", "wide")
    cloud.until(cloud.findings, lambda found: not found)
