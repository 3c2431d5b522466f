"""An image's life with real guests: uploaded in chunks, converted, labelled, booted, copied, downloaded, deleted."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from lab import control
from lab.first_boot import environment
from tests.e2e.cloud import Cloud, command_line, status

pytestmark = pytest.mark.e2e
CHUNK = 2 * 2**20
"""As large as the public client's."""
IMAGE_BYTES = (2**31 if os.environ.get("PROVE") else 2**28) // CHUNK * CHUNK
MOST_GROWTH_KB = 64 * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


class Api:
    """The API as plain HTTP, with a fresh token."""

    def __init__(self, cloud: Cloud) -> None:
        key = environment(cloud.lab)
        login = {"namespace": key["SHAKENFIST_NAMESPACE"], "key": key["SHAKENFIST_KEY"]}
        self._url = cloud.lab.api_url
        self._session = requests.Session()
        token = requests.post(f"{self._url}/auth", json=login, timeout=10).json()["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        answer = self._session.request(method, f"{self._url}{path}", timeout=60, **more)
        assert answer.status_code == 200, answer.text
        return answer

    def json(self, method: str, path: str, **more: Any) -> Any:
        return self.ask(method, path, **more).json()


@pytest.fixture
def api(cloud: Cloud) -> Api:
    return Api(cloud)


def files(cloud: Cloud, blob: str) -> set[str]:
    """The nodes that have a file of that name among their blobs."""
    return {
        path.parts[len(cloud.lab.run_dir.parts) + 1] for path in cloud.lab.run_dir.glob(f"nodes/*/**/blobs/{blob}*")
    }


def settled(cloud: Cloud, name: str) -> Any:
    return cloud.until(lambda: cloud.sf("artifact", "show", name), lambda row: row["state"] != "initial")


def test_a_vmdk_uploaded_in_chunks_boots_from_its_label(cloud: Cloud, api: Api, folder: Path) -> None:
    tiny, vmdk = folder / "tiny", folder / "tiny.vmdk"
    cloud.sf("artifact", "download", "tiny", str(tiny))
    options = ["-f", "qcow2", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run(["qemu-img", "convert", *options, str(tiny), str(vmdk)], check=True)
    cloud.sf("artifact", "upload", "converted", str(vmdk))
    made = settled(cloud, "converted")
    assert made["state"] == "created", api.json("GET", f"/artifacts/{made['uuid']}")["error_message"]
    blob = made["blobs"]["1"]["uuid"]
    assert api.json("GET", f"/blobs/{blob}")["file format"] == "qcow2"
    cloud.sf("label", "update", "stable", blob)
    network = cloud.sf("network", "create", "images", "10.40.0.0/24")["uuid"]
    words = ["instance", "create", "labelled", "1", "128", "-n", network, "-d", "1@label:stable"]
    cloud.sf("--async=continue", *words)
    assert cloud.settled("labelled")["state"] == "created"
    cloud.has_booted("labelled")


def test_it_lies_on_two_nodes_and_comes_back_as_it_is(cloud: Cloud, api: Api, folder: Path) -> None:
    blob = cloud.sf("artifact", "show", "stable")["blobs"]["1"]["uuid"]
    view = cloud.until(lambda: api.json("GET", f"/blobs/{blob}"), lambda row: len(row["locations"]) == 2, 60)
    assert view["copies"] == {"wanted": 2, "here": 2, "failed": []}
    assert files(cloud, blob) == {"n1", "n2"}
    cloud.sf("artifact", "download", "stable", str(folder / "back"))
    content = (folder / "back").read_bytes()
    for algorithm in ("sha1", "sha256", "sha512"):
        digest = hashlib.new(algorithm, content).hexdigest()
        assert api.json("GET", f"/blobs/{blob}/checksum/{algorithm}") == digest
        assert api.json("GET", f"/blob_checksums/{algorithm}/{digest}")["uuid"] == blob


def test_ar_7_what_is_there_already_is_not_sent_again(cloud: Cloud, folder: Path) -> None:
    before = cloud.sf("artifact", "show", "stable")["blobs"]["1"]["uuid"]
    cloud.sf("artifact", "upload", "again", str(folder / "back"))
    assert settled(cloud, "again")["blobs"]["1"]["uuid"] == before
    cloud.sf("artifact", "delete", "again")


def test_se_9_a_hostile_image_leaves_nothing(cloud: Cloud, folder: Path) -> None:
    image = folder / "hostile"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", str(image), "1M"]
    subprocess.run(command, check=True)
    cloud.sf("artifact", "upload", "hostile", str(image))
    made = settled(cloud, "hostile")
    assert (made["state"], made["blobs"]) == ("error", {})
    left = cloud.until(lambda: list(cloud.lab.run_dir.glob("nodes/*/**/uploads/*-*")), lambda found: not found, 60)
    assert left == []
    cloud.sf("artifact", "delete", "hostile")


def _memory_kb(cloud: Cloud) -> int:
    """Resident memory of the processes that serve the API."""
    inside = cloud.processes(control.tree(cloud.lab)).values()
    servers = [pid for pid in inside if "[sfweb.wsgi]" in command_line(pid)]
    assert servers, [command_line(pid) for pid in inside]
    return sum(int(status(pid).get("VmRSS", "0 kB").split()[0]) for pid in servers)


def test_rp_1_bytes_pass_through_and_take_no_memory(cloud: Cloud, api: Api) -> None:
    upload = api.json("POST", "/upload")["uuid"]
    chunk, whole = bytes(CHUNK), hashlib.sha512()
    api.json("POST", f"/upload/{upload}", data=chunk)
    before, most = _memory_kb(cloud), 0
    for offset in range(0, IMAGE_BYTES, CHUNK):
        assert api.json("POST", f"/upload/{upload}?offset={offset}", data=chunk) == max(offset + CHUNK, CHUNK)
        whole.update(chunk)
        most = max(most, _memory_kb(cloud))
    api.json("POST", "/artifacts/upload/zeros", json={"upload_uuid": upload, "sha512": whole.hexdigest()})
    made = settled(cloud, "zeros")
    assert made["state"] == "created", api.json("GET", f"/artifacts/{made['uuid']}")["error_message"]
    back, size = hashlib.sha512(), 0
    with api.ask("GET", f"/blobs/{made['blobs']['1']['uuid']}/data", stream=True) as answer:
        for part in answer.iter_content(2**20):
            back.update(part)
            size += len(part)
            if size % 2**25 < len(part):
                most = max(most, _memory_kb(cloud))
    assert (size, back.hexdigest()) == (IMAGE_BYTES, whole.hexdigest())
    print(f"the API's processes grew by {most - before} kB over {IMAGE_BYTES >> 20} MiB each way")
    assert most - before < MOST_GROWTH_KB
    cloud.sf("artifact", "delete", "zeros")


def test_with_the_last_use_the_bytes_go(cloud: Cloud) -> None:
    blob = cloud.sf("artifact", "show", "stable")["blobs"]["1"]["uuid"]
    cloud.sf("artifact", "delete", "converted")
    cloud.sf("artifact", "delete", "stable")
    assert files(cloud, blob) == {"n1", "n2"}, "a guest lies on it"
    cloud.sf("instance", "delete", "labelled")
    cloud.until(lambda: files(cloud, blob), lambda found: not found, 60)
    cloud.sf("network", "delete", "images")
    cloud.until(cloud.findings, lambda found: not found, 60)
