"""Bytes pass through: blobs from a holder, uploads to their node, consoles."""

import uuid
from typing import Any

import pytest

from sfweb.models import Blob, BlobLocation, Node, Upload
from sfweb.models.state import State
from tests.api.fake_bytes import FakeBytes
from tests.api.world import SHA512, Person, World, make_artifact, make_blob, make_node

WHOLE = bytes(range(100))


def test_a_blob_is_streamed_from_its_holder(owner: Person, world: World):
    answer = owner.get(f"/blobs/{world.blob.uuid}/data?offset=0")
    assert answer["Content-Length"] == "100"
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer.getvalue() == WHOLE


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("offset=10", WHOLE[10:]),
        ("offset=10&limit=5", WHOLE[10:15]),
        ("limit=5", WHOLE[:5]),
        ("limit=0", WHOLE),
        ("offset=90&limit=512", WHOLE[90:]),
        ("offset=100&limit=512", b""),
        ("offset=1000000000000", b""),
    ],
)
def test_windows_of_a_blob(owner: Person, world: World, query: str, expected: bytes):
    answer = owner.get(f"/blobs/{world.blob.uuid}/data?{query}")
    assert answer.status_code == 200
    assert answer.getvalue() == expected


def test_rp_1_the_first_byte_passes_before_the_last_is_read(owner: Person, world: World, node_bytes: FakeBytes):
    big = make_blob(world.node, size=2_000_000)
    make_artifact(world.owner, "big", big)
    node_bytes.blobs[str(big.uuid)] = bytes(2_000_000)
    node_bytes.slow.clear()
    parts = iter(owner.get(f"/blobs/{big.uuid}/data").streaming_content)
    first = next(parts)
    assert first
    node_bytes.slow.set()
    assert len(first) + sum(len(part) for part in parts) == 2_000_000


def test_rp_2_the_next_holder_is_asked_when_one_fails(owner: Person, world: World):
    dead = make_node("dead", 9)
    BlobLocation.objects.create(blob=world.blob, node=dead)
    assert owner.get(f"/blobs/{world.blob.uuid}/data").getvalue() == WHOLE


def test_rp_2_inactive_nodes_are_not_asked(owner: Person, world: World, node_bytes: FakeBytes):
    Node.objects.update(state=State.MISSING)
    answer = owner.get(f"/blobs/{world.blob.uuid}/data")
    assert answer.status_code == 503
    assert node_bytes.asked == []


def test_hc_22_no_answering_holder_is_503_and_never_404(owner: Person, world: World, node_bytes: FakeBytes):
    for refusal in (401, 404, 500):
        node_bytes.refuse = refusal
        assert owner.get(f"/blobs/{world.blob.uuid}/data").status_code == 503


def test_a_body_that_breaks_off_breaks_the_answer_too(owner: Person, world: World, node_bytes: FakeBytes):
    node_bytes.break_off_after = 50
    with pytest.raises(ConnectionError):
        owner.get(f"/blobs/{world.blob.uuid}/data").getvalue()


def test_a_blob_that_is_still_fetched_is_406(owner: Person, world: World):
    Blob.objects.update(state=State.INITIAL, size=None)
    assert owner.get(f"/blobs/{world.blob.uuid}/data").status_code == 406


def test_a_checksum_finds_what_the_caller_may_read(owner: Person, other: Person, world: World):
    assert owner.get(f"/blob_checksums/sha512/{SHA512}").json()["uuid"] == str(world.blob.uuid)
    assert other.get(f"/blob_checksums/sha512/{SHA512}").content == b"null"
    assert owner.get(f"/blob_checksums/sha512/{'cd' * 64}").content == b"null"
    assert owner.get(f"/blobs/{world.blob.uuid}/checksum/sha512").json() == SHA512


def test_se_11_a_shared_artifact_shows_its_blob(other: Person, world: World):
    hidden, shown = make_blob(world.node), make_blob(world.node)
    make_artifact(world.system, "hidden", hidden)
    make_artifact(world.system, "shown", shown, shared=True)
    assert other.get(f"/blobs/{shown.uuid}").status_code == 200
    assert other.get(f"/blobs/{hidden.uuid}").status_code == 404


def test_an_upload_arrives_chunk_by_chunk(owner: Person, node_bytes: FakeBytes):
    upload = owner.post("/upload").json()
    assert upload["node"] == "n1"
    path = f"/upload/{upload['uuid']}"
    assert owner.post(path, b"hello ").json() == 6
    assert owner.post(path, b"world").json() == 11
    assert owner.post(f"{path}/truncate/6").content == b"null"
    assert owner.post(path, b"there").json() == 11
    assert node_bytes.uploads[upload["uuid"]] == b"hello there"


def test_a_chunk_of_json_is_still_bytes(owner: Person, node_bytes: FakeBytes, world: World):
    assert owner.post(f"/upload/{world.upload.uuid}", b'{"a": 1}').json() == 8


def test_a_chunk_that_could_not_be_written_does_not_count(owner: Person, world: World, node_bytes: FakeBytes):
    node_bytes.refuse = 500
    answer = owner.post(f"/upload/{world.upload.uuid}", b"lost")
    assert answer.status_code == 503
    assert Upload.objects.get(pk=world.upload.pk).size == 0
    node_bytes.refuse = 507
    assert owner.post(f"/upload/{world.upload.uuid}", b"lost").status_code == 507


def test_two_writers_of_one_upload_do_not_both_win(owner: Person, world: World, monkeypatch: pytest.MonkeyPatch):
    def meanwhile(node: Any, upload: uuid.UUID, *_: Any) -> None:
        Upload.objects.filter(pk=upload).update(size=7)

    monkeypatch.setattr("sfweb.api.uploads.append_upload", meanwhile)
    assert owner.post(f"/upload/{world.upload.uuid}", b"late").status_code == 409


def test_se_12_a_namespace_has_so_many_uploads_and_no_more(owner: Person, settings: Any):
    settings.NAMESPACE_MAX_UPLOADS = 2
    assert owner.post("/upload").status_code == 200
    answer = owner.post("/upload")
    assert answer.status_code == 507
    assert answer.json()["details"] == {"stage": "namespace_uploads", "limit": 2, "used": 2, "asked": 1}


def test_an_upload_that_is_cut_ten_times_is_taken_up_each_time(owner: Person, world: World, node_bytes: FakeBytes):
    """As the public client does it: what failed is sent again after a cut back to what was acknowledged."""
    path, whole, sent = f"/upload/{world.upload.uuid}", bytes(range(256)) * 40, 0
    for cut in range(10):
        sent = owner.post(path, whole[sent : sent + 500]).json()
        node_bytes.uploads[str(world.upload.uuid)] += b"written, but the answer was lost"
        node_bytes.refuse = 500
        assert owner.post(path, whole[sent : sent + 700]).status_code == 503
        node_bytes.refuse = None
        if cut % 2:
            assert owner.post(f"{path}/truncate/{sent}").content == b"null"
        assert owner.get(path).json()["size"] == sent
    assert owner.post(f"{path}?offset={sent}", whole[sent:]).json() == len(whole)
    assert node_bytes.uploads[str(world.upload.uuid)][: len(whole)] == whole


def test_an_upload_has_a_largest_size(owner: Person, world: World, settings: Any):
    settings.UPLOAD_MAX_BYTES = 3
    assert owner.post(f"/upload/{world.upload.uuid}", b"abcd").status_code == 507


def test_an_upload_becomes_an_artifact(owner: Person, world: World):
    owner.post(f"/upload/{world.upload.uuid}", b"an image")
    answer = owner.post("/artifacts/upload/mine", {"upload_uuid": str(world.upload.uuid), "source_url": None})
    assert answer.status_code == 200
    view = answer.json()
    assert view["name"] == "mine"
    assert view["source_url"] == "sf://upload/owner/mine"
    assert view["index"] == 0, "no version is ready yet"
    assert 'rel="operation"' in answer["Link"]


def test_the_console_is_read_from_the_node(owner: Person, world: World, node_bytes: FakeBytes):
    path = f"/instances/{world.instance.uuid}/consoledata"
    assert owner.get(path).content == b"", "nothing written yet"
    node_bytes.consoles[str(world.instance.uuid)] = b"x" * 20000 + b"login:"
    assert owner.get(path, {"length": 6}).content == b"login:"
    assert len(owner.get(path).content) == 10240
    assert len(owner.get(path, {"length": -1}).content) == 20006
    assert owner.delete(path).content == b"null"
    assert owner.get(path).content == b""


def test_the_console_of_a_dead_node_is_503(owner: Person, world: World):
    Node.objects.update(byte_port=9)
    assert owner.get(f"/instances/{world.instance.uuid}/consoledata").status_code == 503
