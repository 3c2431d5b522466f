"""Inside a guest and back in time, by the unmodified client: its agent, snapshots, instances from them, reverts.

The tests run in order and share one guest, `inside`, with two disks on node n1.
"""

import os
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from lab.first_boot import environment
from tests.e2e.cloud import IMAGE, Cloud

pytestmark = pytest.mark.e2e
NAME = "inside"


def call(cloud: Cloud, method: str, path: str, body: Any = None, stream: bool = False) -> requests.Response:
    key = environment(cloud.lab)
    login = {"namespace": key["SHAKENFIST_NAMESPACE"], "key": key["SHAKENFIST_KEY"]}
    token = requests.post(f"{cloud.lab.api_url}/auth", json=login, timeout=10).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{cloud.lab.api_url}{path}"
    answer = requests.request(method, url, json=body, headers=headers, timeout=60, stream=stream)
    assert answer.status_code in (200, 202), answer.text
    return answer


def api(cloud: Cloud, method: str, path: str, body: Any = None) -> Any:
    """What the API answers to our own verbs, which the client does not have."""
    return call(cloud, method, path, body).json()


def execute(cloud: Cloud, command: str) -> str:
    """Standard output of a command that succeeds in the guest."""
    done = cloud.sf("instance", "execute", NAME, command)
    assert done["state"] == "complete", done
    result = done["results"]["0"]
    assert result["return-code"] == 0, result
    return str(result["stdout"])


def agent_answers(cloud: Cloud) -> Any:
    return cloud.until(
        lambda: api(cloud, "GET", f"/instances/{NAME}"), lambda row: row["agent_state"].startswith("ready"), 120
    )


def test_the_agent_comes_up_with_the_guest(cloud: Cloud) -> None:
    network = cloud.sf("network", "create", "inner", "10.31.0.0/24")["uuid"]
    words = [
        "instance",
        "create",
        NAME,
        "1",
        "128",
        "-n",
        network,
        "-d",
        f"1@{IMAGE}",
        "-d",
        "1",
        "-p",
        "n1",
        "--force",
    ]
    cloud.sf("--async=continue", *words, "-i", f"{cloud.lab.ssh_key}.pub")
    assert cloud.settled(NAME)["state"] == "created"
    cloud.has_booted(NAME)
    row = agent_answers(cloud)
    assert abs(row["agent_system_boot_time"] - time.time()) < 300
    assert row["agent_start_time"] is not None


def test_ag_1_commands_and_files_by_the_client(cloud: Cloud, tmp_path: Path) -> None:
    assert execute(cloud, "hostname") == f"{NAME}\n"
    done = cloud.sf("instance", "execute", NAME, "echo no >&2; exit 4")
    assert done["results"]["0"] == {"return-code": 4, "stdout": "", "stderr": "no\n"}
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(os.urandom(200_000))
    cloud.sf("instance", "upload", NAME, str(sent), "/tmp/file")
    cloud.sf("instance", "download", NAME, "/tmp/file", str(got))
    assert got.read_bytes() == sent.read_bytes()


def test_ar_14_a_snapshot_of_all_disks_while_the_guest_writes(cloud: Cloud) -> None:
    execute(cloud, "mke2fs /dev/vdc && mkdir /mnt/data && mount -t ext4 /dev/vdc /mnt/data")
    execute(cloud, "echo before > /mnt/data/marker; echo before > /mnt/root/marker; sync")
    execute(cloud, "(while true; do date > /mnt/data/clock; done) > /dev/null 2>&1 &")
    taken = cloud.sf("instance", "snapshot", NAME, "--all")
    assert sorted(taken) == ["vda", "vdc"]
    execute(cloud, "echo after > /mnt/data/marker; echo after > /mnt/root/marker; sync")
    (made,) = api(cloud, "GET", f"/snapshots?instance={NAME}")
    assert (made["state"], made["quiesced"]) == ("created", True)
    assert {disk["blob_uuid"] for disk in made["disks"]} == {entry["blob_uuid"] for entry in taken.values()}


def test_an_instance_from_the_snapshot_has_what_was_then(cloud: Cloud) -> None:
    (made,) = api(cloud, "GET", f"/snapshots?instance={NAME}")
    artifacts = {disk["device"]: disk["artifact_uuid"] for disk in made["disks"]}
    disks = [word for device in ("vda", "vdc") for word in ("-d", f"1@sf://snapshot/{artifacts[device]}")]
    # On the other node, so that its blobs have to come there first.
    cloud.sf("--async=continue", "instance", "create", "copy", "1", "128", *disks, "-p", "n2", "--force")
    assert cloud.settled("copy")["state"] == "created"
    log = cloud.has_booted("copy")
    assert "GUEST-ROOTDISK boots=2" in log
    status, output = cloud.ask(
        "copy", "cat /mnt/root/marker; mkdir -p /mnt/d; mount /dev/vdc /mnt/d; cat /mnt/d/marker"
    )
    assert (status, output) == (0, "before\nbefore\n")
    cloud.sf("instance", "delete", "copy")


def test_an_exported_instance_is_imported_again(cloud: Cloud, tmp_path: Path) -> None:
    (made,) = api(cloud, "GET", f"/snapshots?instance={NAME}")
    exported = tmp_path / "inside.tar"
    with call(cloud, "GET", f"/snapshots/{made['uuid']}/export", stream=True) as answer:
        exported.write_bytes(answer.content)
    with tarfile.open(exported) as tar:
        assert tar.getnames() == ["instance.json", "vda.qcow2", "vdc.qcow2"]
    artifact = cloud.sf("artifact", "upload", "moved", str(exported)).split()[-1]
    cloud.until(lambda: cloud.sf("artifact", "show", artifact), lambda row: row["state"] == "created")
    api(cloud, "POST", "/imports", {"artifact": "moved", "name": "moved", "network": []})
    assert cloud.settled("moved")["state"] == "created"
    assert "GUEST-ROOTDISK boots=2" in cloud.has_booted("moved")
    assert cloud.ask("moved", "cat /mnt/root/marker") == (0, "before\n")
    cloud.sf("instance", "delete", "moved")


def test_a_revert_brings_back_the_disks_and_keeps_what_was(cloud: Cloud) -> None:
    before = cloud.show(NAME)
    (made,) = api(cloud, "GET", f"/snapshots?instance={NAME}")
    told = api(cloud, "POST", f"/instances/{NAME}/revert", {"snapshot": made["uuid"]})
    ended = cloud.until(
        lambda: api(cloud, "GET", f"/operations/{told['operation']}"),
        lambda row: row["state"] in ("succeeded", "failed", "cancelled"),
    )
    assert ended["state"] == "succeeded", ended
    cloud.has_booted(NAME, times=2)
    after = cloud.show(NAME)
    assert (after["uuid"], after["network_interfaces"]) == (before["uuid"], before["network_interfaces"])
    agent_answers(cloud)
    assert execute(cloud, "mkdir -p /mnt/data; mount -t ext4 /dev/vdc /mnt/data; cat /mnt/data/marker") == "before\n"
    kept = api(cloud, "GET", f"/snapshots/{told['before']}")
    assert (kept["state"], kept["reason"], len(kept["disks"])) == ("created", "revert", 2)


def test_what_was_captured_goes_with_the_last_that_needs_it(cloud: Cloud) -> None:
    for made in api(cloud, "GET", f"/snapshots?instance={NAME}"):
        api(cloud, "DELETE", f"/snapshots/{made['uuid']}")
    cloud.with_power(NAME, "on")
    assert execute(cloud, "cat /mnt/data/marker") == "before\n"
    cloud.sf("instance", "delete", NAME)
    cloud.sf("network", "delete", "inner")
    cloud.until(lambda: cloud.manage("audit_nodes"), lambda text: "agree" in text)
