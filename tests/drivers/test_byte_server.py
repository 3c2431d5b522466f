"""The node's door for bytes: tickets only (SE-5), chunks by offset, console logs."""

import concurrent.futures
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from nodeagent import wire
from nodeagent.byte_server import ByteServer
from nodeagent.config import Config, Identity
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.fetch import Policy
from nodeagent.drivers.layout import Layout
from nodeagent.specs import BlobSource
from tests.node_specs import BLOB, INSTANCE, NETWORK, UPLOAD, RecordingCall, blob_spec, sha512

KEY = "the key of this node"
IDENTITY = Identity(node=NETWORK, name="n1", secret="s", signing_key=KEY, broker_url="", control=())
CONTENT = bytes(range(256)) * 5000


class Door:
    """The server, and a client that knows the node's key."""

    def __init__(self, server: ByteServer, state: Path) -> None:
        self.layout = Layout(state)
        self.base = f"http://127.0.0.1:{server.server_port}"

    def ticket(self, uuid: str, verb: str, key: str = KEY, lasts: float = 60.0) -> str:
        return wire.ticket(key, {"object": uuid, "verb": verb, "exp": time.time() + lasts})

    def ask(self, method: str, path: str, ticket: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {ticket}"}
        return requests.request(method, f"{self.base}{path}", headers=headers, timeout=10, **more)

    def put(self, offset: int, chunk: bytes, method: str = "PUT") -> tuple[int, dict[str, Any]]:
        ticket = self.ticket(UPLOAD, "write_upload")
        answer = self.ask(method, f"/uploads/{UPLOAD}?offset={offset}", ticket, data=chunk)
        return answer.status_code, answer.json()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    config = Config(name="n1", mesh_address="127.0.0.1", byte_port=0, state_dir=str(tmp_path))
    with ByteServer(config, IDENTITY) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Door(server, tmp_path)
        server.shutdown()
        thread.join()


@pytest.fixture
def blob(door: Door) -> str:
    door.layout.blob(BLOB).write_bytes(CONTENT)
    door.layout.blob_facts(BLOB).write_text("{}")
    return BLOB


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", CONTENT),
        ("?offset=10", CONTENT[10:]),
        ("?offset=10&limit=20", CONTENT[10:30]),
        (f"?offset={len(CONTENT) - 5}&limit=100", CONTENT[-5:]),
        (f"?offset={len(CONTENT)}", b""),
        ("?limit=0", b""),
    ],
)
def test_a_blob_is_read_whole_or_in_part(door: Door, blob: str, query: str, expected: bytes) -> None:
    answer = door.ask("GET", f"/blobs/{blob}{query}", door.ticket(blob, "read_blob"))
    assert (answer.status_code, answer.content) == (200, expected)
    assert answer.headers["X-Total-Size"] == str(len(CONTENT))


def test_a_blob_that_is_not_there_or_shorter_is_said(door: Door, blob: str) -> None:
    ticket = door.ticket(blob, "read_blob")
    assert door.ask("GET", f"/blobs/{blob}?offset={len(CONTENT) + 1}", ticket).status_code == 416
    assert door.ask("GET", f"/blobs/{blob}?offset=-1", ticket).status_code == 400
    door.layout.blob_facts(BLOB).unlink()
    assert door.ask("GET", f"/blobs/{blob}", ticket).status_code == 404


def test_se_5_a_peer_copies_a_blob_through_this_door(door: Door, blob: str, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other")
    other.prepare()
    call = RecordingCall(ticket=(f"{door.base}/blobs/{blob}", door.ticket(blob, "read_blob")))
    source = BlobSource(peer="n1")
    facts = Blobs(other, Policy).fetch(blob_spec(source=source, sha512=sha512(CONTENT)), source, call)
    assert (facts.size, other.blob(blob).read_bytes()) == (len(CONTENT), CONTENT)


@pytest.mark.parametrize(
    ("ticket", "status"),
    [
        ((BLOB, "read_blob", KEY, 60), 200),
        ((BLOB, "read_blob", "another node's key", 60), 401),
        ((BLOB, "read_blob", KEY, -60), 401),
        ((BLOB, "write_upload", KEY, 60), 403),
        ((UPLOAD, "read_blob", KEY, 60), 403),
    ],
)
def test_se_5_a_ticket_opens_one_verb_on_one_object_for_a_while(
    door: Door, blob: str, ticket: tuple[str, str, str, float], status: int
) -> None:
    assert door.ask("GET", f"/blobs/{blob}", door.ticket(*ticket)).status_code == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/blobs/{BLOB}"),
        ("PUT", f"/uploads/{UPLOAD}?offset=0"),
        ("POST", f"/uploads/{UPLOAD}?offset=0"),
        ("POST", f"/uploads/{UPLOAD}/truncate?offset=0"),
        ("DELETE", f"/uploads/{UPLOAD}"),
        ("GET", f"/console/{INSTANCE}"),
        ("DELETE", f"/console/{INSTANCE}"),
    ],
)
@pytest.mark.parametrize("credential", ["", "Bearer", "Bearer x.y", "Basic abc", "Bearer \u00e9.\u00e9"])
def test_se_5_without_a_ticket_nothing_opens(door: Door, method: str, path: str, credential: str) -> None:
    headers = {"Authorization": credential.encode("latin-1")} if credential else {}
    answer = requests.request(method, f"{door.base}{path}", headers=headers, data=b"x", timeout=10)
    assert answer.status_code == 401
    assert list(door.layout.uploads.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["/", "/blobs/", "/blobs/../../etc/passwd", f"/blobs/{BLOB}.json", f"/uploads/{UPLOAD}/x"]
)
def test_other_paths_do_not_exist(door: Door, path: str) -> None:
    assert door.ask("GET", path, door.ticket(BLOB, "read_blob")).status_code == 404


def test_a_wrong_method_is_said(door: Door) -> None:
    assert door.ask("DELETE", f"/blobs/{BLOB}", door.ticket(BLOB, "read_blob")).status_code == 405


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_upload_grows_by_chunks_and_a_repeated_chunk_changes_nothing(door: Door, method: str) -> None:
    assert door.put(0, b"hello ", method) == (200, {"size": 6})
    assert door.put(6, b"world", method) == (200, {"size": 11})
    assert door.put(6, b"world", method) == (200, {"size": 11})
    assert door.put(0, b"hello ", method) == (200, {"size": 11})
    assert door.layout.upload(UPLOAD).read_bytes() == b"hello world"


def test_a_chunk_beyond_the_end_is_refused_and_the_end_named(door: Door) -> None:
    door.put(0, b"12345")
    status, document = door.put(9, b"x")
    assert (status, document["size"]) == (409, 5)


def test_an_upload_is_truncated_and_removed(door: Door) -> None:
    ticket = door.ticket(UPLOAD, "write_upload")
    door.put(0, b"0123456789")
    assert door.ask("POST", f"/uploads/{UPLOAD}/truncate?offset=4", ticket).json() == {"size": 4}
    assert door.ask("POST", f"/uploads/{UPLOAD}/truncate?offset=400", ticket).json() == {"size": 4}
    assert door.ask("DELETE", f"/uploads/{UPLOAD}", ticket).json() == {"removed": True}
    assert door.ask("DELETE", f"/uploads/{UPLOAD}", ticket).json() == {"removed": False}


def test_chunks_at_the_same_time_do_not_mix(door: Door) -> None:
    chunks = [bytes([65 + number]) * 100_000 for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert all(status == 200 for status, _ in pool.map(lambda chunk: door.put(0, chunk), chunks))
    assert door.layout.upload(UPLOAD).read_bytes() in chunks


def test_what_was_adopted_cannot_be_written_any_more(door: Door, tmp_path: Path) -> None:
    door.put(0, b"12345")
    Blobs(door.layout, Policy).adopt(UPLOAD, door.layout.upload(UPLOAD).stat().st_size, blob_spec(), RecordingCall())
    assert door.put(0, b"xxxxx") == (200, {"size": 5})
    assert door.layout.blob(BLOB).read_bytes() == b"12345"


def test_the_console_is_read_and_cleared(door: Door) -> None:
    log = door.layout.console_log(INSTANCE)
    read, clear = door.ticket(INSTANCE, "read_console"), door.ticket(INSTANCE, "clear_console")
    assert door.ask("GET", f"/console/{INSTANCE}", read).status_code == 404
    log.parent.mkdir()
    assert door.ask("GET", f"/console/{INSTANCE}", read).content == b""
    log.write_bytes(b"login: ")
    assert door.ask("GET", f"/console/{INSTANCE}?length=3", read).content == b"n: "
    assert door.ask("DELETE", f"/console/{INSTANCE}", read).status_code == 403
    assert door.ask("DELETE", f"/console/{INSTANCE}", clear).status_code == 200
    assert door.ask("GET", f"/console/{INSTANCE}", read).content == b""


def test_one_connection_serves_many_requests(door: Door, blob: str) -> None:
    headers = {"Authorization": f"Bearer {door.ticket(blob, 'read_blob')}"}
    with requests.Session() as session:
        sizes = [len(session.get(f"{door.base}/blobs/{blob}", headers=headers, timeout=10).content) for _ in range(3)]
    assert sizes == [len(CONTENT)] * 3


def test_an_error_of_the_node_is_a_document_and_not_its_inside(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    door.layout.uploads.rmdir()
    status, document = door.put(0, b"x")
    assert (status, json.dumps(document)) == (500, '{"error": "this node failed to do it"}')
    assert "FileNotFoundError" in capsys.readouterr().err
