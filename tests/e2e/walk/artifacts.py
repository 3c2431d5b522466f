"""Artifacts, blobs, labels, backups."""

import hashlib
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lab.forward import listener
from tests.e2e.cloud import ELSEWHERE
from tests.e2e.walk import MODES, Walk, check_events, check_metadata, check_no_metadata, row, same

BYTES = 300_000


def artifact(walk: Walk, name: str) -> Any:
    return walk.api("GET", f"/artifacts/{name}")


def created(walk: Walk, name: str, **wanted: Any) -> Any:
    return walk.cloud.until(
        lambda: artifact(walk, name),
        lambda row: row["state"] == "created" and all(row[key] == value for key, value in wanted.items()),
        pause=0.2,
    )


def digest(walk: Walk, name: str) -> str:
    return hashlib.sha512((walk.folder / name).read_bytes()).hexdigest()


@contextmanager
def web_server(walk: Walk, content: bytes) -> Iterator[str]:
    """The address of a file on a web server that each node reaches."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    with ExitStack() as stack:
        for name in ("n1", "n2"):
            tree = walk.cloud.tree(name)
            subprocess.run(tree.enter(["ip", "address", "replace", f"{ELSEWHERE}/32", "dev", "lo"]), check=True)
            server = http.server.ThreadingHTTPServer(("", 0), Answer, bind_and_activate=False)
            server.socket.close()
            server.socket = stack.enter_context(listener(f"/proc/{tree.pid}/ns/net", f"{ELSEWHERE}:8045"))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        yield f"http://{ELSEWHERE}:8045"


@row("artifact upload")
def upload(walk: Walk) -> None:
    for mode in MODES:
        file = walk.file(f"file-{mode}", os.urandom(BYTES))
        words = ("artifact", "upload", f"up-{mode}", str(file))
        first = walk.ok(mode, *words, "--no-checksum", "--shared")
        assert "Uploading new blob\nCreating artifact\nCreated artifact" in first.out
        view = created(walk, first.out.split()[-1])
        assert (view["name"], view["shared"], view["blobs"]["1"]["size"]) == (f"up-{mode}", True, BYTES)
        again = walk.ok(mode, *words)
        assert "Recycling existing blob\nCreated artifact" in again.out
        assert len(created(walk, f"up-{mode}")["blobs"]) == 1, "the same bytes are no new version"
        source = ("--source_url", f"http://example.com/{mode}")
        other = created(walk, walk.ok(mode, "artifact", "upload", f"as-{mode}", str(file), *source).out.split()[-1])
        assert (other["name"], other["source_url"]) == (f"as-{mode}", source[1])
        none = walk.run(mode, *words, "--namespace", "none")
        assert none.code == 1 and "ERROR: Resource not found: namespace not found: none" in none.out


@row("artifact cache")
def cache(walk: Walk) -> None:
    content = os.urandom(BYTES)
    with web_server(walk, content) as address:
        for mode, flags in zip(MODES, ((), ("--shared",), ()), strict=True):
            walk.silent(mode, "artifact", "cache", f"{address}/{mode}.raw", *flags)
            found = next(
                each for each in walk.api("GET", "/artifacts") if each["source_url"] == f"{address}/{mode}.raw"
            )
            made = created(walk, found["uuid"])
            assert (made["shared"], made["blobs"]["1"]["size"]) == (mode == "simple", BYTES)
            assert walk.api("GET", f"/blobs/{made['blob_uuid']}")["sha512"] == hashlib.sha512(content).hexdigest()
    walk.refused("Malformed Request: url: must be an http or https URL", "artifact", "cache", "ftp://a/b")
    walk.refused("Malformed Request: ", "artifact", "cache", "http://127.0.0.1/x")


@row("artifact list")
def list_all(walk: Walk) -> None:
    said = walk.each("artifact", "list")
    for name in (*(f"up-{mode}" for mode in MODES), "tiny"):
        view = next(each for each in walk.api("GET", "/artifacts") if each["name"] == name)
        wanted = {key: view[key] for key in ("uuid", "namespace", "state", "shared")} | {"type": "image"}
        wanted["versions"] = f"{len(view['blobs'])} of {view['index']}"
        found = next(each for each in said["pretty"].table if each["uuid"] == view["uuid"])
        same(found, wanted | {"source url": view["source_url"]})
        found = next(each for each in said["simple"].listed if each["uuid"] == view["uuid"])
        same(found, wanted | {"source_url": view["source_url"]})
        found = next(each for each in said["json"].json if each["uuid"] == view["uuid"])
        assert found["blobs"]["1"]["uuid"] == view["blobs"]["1"]["uuid"]


@row("artifact show")
def show(walk: Walk) -> None:
    view = artifact(walk, "tiny")
    (version,) = view["blobs"].values()
    said = walk.each("artifact", "show", "tiny")
    for each in (said["pretty"], said["simple"]):
        same(each.fields, {name: view[name] for name in ("uuid", "namespace", "state", "shared")})
        same(each.fields, {"type": "image", "source url": view["source_url"], "number of versions": 1})
        same(each.fields, {"current version blob uuid": version["uuid"], "maximum versions": 3})
    megabytes = f"{version['size'] / 2**20:.1f}MB"
    users = version["instances"]
    assert users and f"1  : blob {version['uuid']} is {megabytes} in use by instances {', '.join(users)}" in (
        said["pretty"].out
    )
    assert f"\n1:{megabytes},{','.join(users)}\n" in said["simple"].out
    assert said["json"].json["blobs"] == view["blobs"] and said["json"].json["metadata"] == {}
    walk.refused("Resource not found: artifact not found: none-such", "artifact", "show", "none-such")


@row("artifact versions")
def versions(walk: Walk) -> None:
    file = walk.file("second", os.urandom(BYTES))
    walk.ok("json", "artifact", "upload", "up-json", str(file))
    view = walk.cloud.until(lambda: artifact(walk, "up-json"), lambda row: row["index"] == 2, pause=0.2)
    for said in walk.each("artifact", "versions", "up-json").values():
        found = {str(each["index"]): (each["uuid"], each["size"], each["sha512"]) for each in said.json}
        wanted = zip("12", (digest(walk, "file-json"), digest(walk, "second")), strict=True)
        assert found == {index: (view["blobs"][index]["uuid"], BYTES, sha512) for index, sha512 in wanted}


@row("artifact max-versions")
def most_versions(walk: Walk) -> None:
    for number, mode in enumerate(MODES, start=4):
        walk.silent(mode, "artifact", "max-versions", "up-json", str(number))
        assert artifact(walk, "up-json")["max_versions"] == number
    walk.refused("Malformed Request: max_versions", "artifact", "max-versions", "up-json", "0")


@row("artifact delete-version")
def delete_version(walk: Walk) -> None:
    for mode in MODES:
        walk.ok("json", "artifact", "upload", "up-json", str(walk.file("more", os.urandom(BYTES))))
        made = walk.cloud.until(lambda: artifact(walk, "up-json"), lambda row: row["index"] > 2, pause=0.2)
        walk.silent(mode, "artifact", "delete-version", "up-json", str(made["index"]))
        assert str(made["index"]) not in artifact(walk, "up-json")["blobs"]
    walk.refused("Resource not found: ", "artifact", "delete-version", "up-json", "99")
    assert list(artifact(walk, "up-json")["blobs"]) == ["1", "2"]


@row("artifact share")
def share(walk: Walk) -> None:
    for mode in MODES:
        walk.silent("json", "artifact", "unshare", f"up-{mode}")
        walk.silent(mode, "artifact", "share", f"up-{mode}")
        assert artifact(walk, f"up-{mode}")["shared"] is True


@row("artifact unshare")
def unshare(walk: Walk) -> None:
    for mode in MODES:
        walk.silent(mode, "artifact", "unshare", f"up-{mode}")
        assert artifact(walk, f"up-{mode}")["shared"] is False
    walk.refused("Not authorized: ", "artifact", "unshare", "up-json")


@row("artifact download")
def download(walk: Walk) -> None:
    for mode in MODES:
        said = walk.ok(mode, "artifact", "download", f"up-{mode}", f"back-{mode}")
        assert f" of {BYTES} bytes\n" in said.out and said.out.endswith("Download complete\n")
        wanted = "second" if mode == "json" else f"file-{mode}"
        assert digest(walk, f"back-{mode}") == digest(walk, wanted)
    walk.refused("Resource not found: artifact not found: none-such", "artifact", "download", "none-such", "nothing")
    image = walk.folder / "hostile"
    backed = ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", str(image), "1M"]
    subprocess.run(backed, check=True)
    walk.ok("json", "artifact", "upload", "hostile", str(image))
    walk.cloud.until(lambda: artifact(walk, "hostile"), lambda row: row["state"] == "error", pause=0.2)
    walk.broken("artifact", "download", "hostile", "nothing")
    for said in walk.each("artifact", "list").values():
        assert "error" in said.out


@row("artifact events")
def events(walk: Walk) -> None:
    check_events(walk, "artifact", "events", "up-json", message="artifact_publish succeeded")


@row("artifact set-metadata")
def set_metadata(walk: Walk) -> None:
    uuid = artifact(walk, "up-json")["uuid"]
    check_metadata(walk, "artifact", uuid, f"/artifacts/{uuid}")
    check_metadata(walk, "artifact", "up-json", f"/artifacts/{uuid}")
    said = walk.each("artifact", "show", "up-json")
    assert "colour  : json" in said["pretty"].out and "metadata,colour,json" in said["simple"].out
    assert said["json"].json["metadata"] == {"colour": "json"}
    walk.refused("Resource not found: ", "artifact", "set-metadata", "none-such", "a", "b")


@row("artifact delete-metadata")
def delete_metadata(walk: Walk) -> None:
    check_no_metadata(walk, "artifact", "up-json", "/artifacts/up-json")


@row("label update")
def label(walk: Walk) -> None:
    for index, mode in enumerate(MODES, start=1):
        blob = artifact(walk, f"up-{mode}")["blob_uuid"]
        walk.silent(mode, "label", "update", "walking", blob)
        view = walk.api("GET", "/label/walking")
        assert (view["artifact_type"], view["index"], view["blob_uuid"]) == ("label", index, blob)
    walk.silent("json", "label", "update", "system/walking", blob)
    walk.refused("Resource not found: blob not found: none", "label", "update", "walking", "none")
    walk.refused("Resource not found: namespace not found: none", "label", "update", "none/walking", blob)


@row("blob list")
def list_blobs(walk: Walk) -> None:
    def settled() -> bool:
        return all(each["copies"]["here"] == each["copies"]["wanted"] for each in walk.api("GET", "/blobs"))

    walk.cloud.until(settled, bool)
    said, audited = walk.each("blob", "list"), walk.each("blob", "list", "--audit")
    for view in walk.api("GET", "/blobs"):
        wanted = {"state": view["state"], "size": f"{view['size'] / 2**30:.2f}"}
        # What the client counts by itself is what the cluster counts.
        count = view["reference_count"]
        for rows, audit in (
            (said["pretty"].table, audited["pretty"].table),
            (said["simple"].listed, audited["simple"].listed),
        ):
            found = next(each for each in rows if each["uuid"] == view["uuid"])
            same(found, wanted)
            # By value: a comma is missing among the client's names, so that those behind it are not the columns'.
            assert {" ".join(view["locations"]), str(count)} <= set(found.values()), (found, view)
            found = next(each for each in audit if each["uuid"] == view["uuid"])
            assert f"{count} (audit {count})" in {value.strip() for value in found.values()}, (found, view)
        found = next(each for each in said["json"].json if each["uuid"] == view["uuid"])
        assert (found["sha512"], found["locations"]) == (view["sha512"], view["locations"])


@row("blob show")
def show_blob(walk: Walk) -> None:
    view = walk.api("GET", f"/blobs/{artifact(walk, 'tiny')['blob_uuid']}")
    _same_blob(walk, view, "blob", "show", view["uuid"])
    walk.refused("Resource not found: blob not found: none", "blob", "show", "none")


def _same_blob(walk: Walk, view: Any, *words: str) -> None:
    said = walk.each(*words)
    for each in (said["pretty"], said["simple"]):
        same(each.fields, {"uuid": view["uuid"], "state": "created", "actual size": view["size"]})
        same(each.fields, {"sha512": view["sha512"], "locations": " ".join(view["locations"])})
        same(each.fields, {"format": view.get("file format"), "reference count": view["reference_count"]})
        assert all(f"Used by instance {uuid}\n" in each.out for uuid in view["instances"])
    assert said["json"].json["uuid"] == view["uuid"]


@row("blob sha512")
def find_blob(walk: Walk) -> None:
    view = walk.api("GET", f"/blobs/{artifact(walk, 'up-pretty')['blob_uuid']}")
    _same_blob(walk, view, "blob", "sha512", digest(walk, "file-pretty"))
    for mode, told in (("pretty", "No blob found\n"), ("simple", "No blob found\n"), ("json", "null\n")):
        assert walk.ok(mode, "blob", "sha512", "0" * 128).out == told
    walk.refused("Malformed Request: checksum: must be 128 hexadecimal digits", "blob", "sha512", "abc")


@row("blob events")
def blob_events(walk: Walk) -> None:
    check_events(walk, "blob", "events", artifact(walk, "up-json")["blob_uuid"], message="artifact_publish succeeded")


@row("blob set-metadata")
def set_blob_metadata(walk: Walk) -> None:
    uuid = artifact(walk, "up-json")["blob_uuid"]
    check_metadata(walk, "blob", uuid, f"/blobs/{uuid}")
    said = walk.each("blob", "show", uuid)
    assert "colour  : json" in said["pretty"].out and "metadata,colour,json" in said["simple"].out


@row("blob delete-metadata")
def delete_blob_metadata(walk: Walk) -> None:
    uuid = artifact(walk, "up-json")["blob_uuid"]
    check_no_metadata(walk, "blob", uuid, f"/blobs/{uuid}")


@row("backup create")
def backup(walk: Walk) -> None:

    first = walk.ok("pretty", "backup", "create", "backup-pretty")
    assert first.out == "Created summary at backup-pretty\n"
    for mode in ("simple", "json"):
        assert "Already have" in walk.ok(mode, "backup", "create", f"backup-{mode}").out
    for mode in MODES:
        summary = json.loads((walk.folder / f"backup-{mode}").read_text())
        assert set(summary["artifacts"]) == {each["uuid"] for each in walk.api("GET", "/artifacts")}
    views = [each for each in walk.api("GET", "/blobs") if each["state"] == "created"]
    for view in views:
        content = (walk.folder / "blobs" / view["uuid"]).read_bytes()
        assert hashlib.sha512(content).hexdigest() == view["sha512"]
    assert len(views) >= 4
