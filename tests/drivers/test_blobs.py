"""Blobs become visible only whole and verified, and stay as they came (SE-5, SE-9, EN-15)."""

import errno
import hashlib
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash

from nodeagent.drivers import blobs as blobs_module
from nodeagent.drivers import fetch
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.layout import Layout
from nodeagent.host import Refused, Retry
from nodeagent.specs import BlobSource, BlobSpec
from tests.drivers.images import Served, qcow2, web_server
from tests.node_specs import BLOB, UPLOAD, RecordingCall, blob_spec, sha512

CONTENT = bytes(range(256)) * 8192
POLICY = fetch.Policy(allow=[ipaddress.ip_network("127.0.0.0/8")])


@pytest.fixture
def web() -> Iterator[Served]:
    with web_server() as served:
        served.answers["/image"] = (200, {}, CONTENT)
        yield served


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.prepare()
    return layout


@pytest.fixture
def store(layout: Layout) -> Blobs:
    return Blobs(layout, lambda: POLICY)


def from_url(web: Served, path: str = "/image", **changes: object) -> BlobSpec:
    return blob_spec(source=BlobSource(url=web.url(path)), **changes)


def refusal(store: Blobs, spec: BlobSpec, call: RecordingCall | None = None) -> str:
    with pytest.raises((Refused, Retry)) as caught:
        store.fetch(spec, spec.source, call or RecordingCall())
    return str(caught.value.code)  # type: ignore[attr-defined]


def is_empty(layout: Layout) -> bool:
    return list(layout.blobs.iterdir()) == []


def test_a_fetched_blob_is_read_only_and_knows_its_facts(store: Blobs, layout: Layout, web: Served) -> None:
    spec, call = from_url(web), RecordingCall()
    facts = store.fetch(spec, spec.source, call)
    assert (facts.size, facts.sha512, facts.format) == (len(CONTENT), sha512(CONTENT), "raw")
    assert facts.virtual_size == len(CONTENT)
    assert store.facts(BLOB) == facts
    assert layout.blob(BLOB).read_bytes() == CONTENT
    assert layout.blob(BLOB).stat().st_mode & 0o777 == 0o444
    assert sorted(path.name for path in layout.blobs.iterdir()) == [BLOB, f"{BLOB}.json"]
    assert call.percents and all(0 <= percent < 100 for percent in call.percents)


@pytest.mark.parametrize("known", [{"sha512": "00" * 64}, {"size": len(CONTENT) + 1}, {"size": 5}])
def test_se_5_other_content_than_is_known_is_refused_and_forgotten(
    store: Blobs, layout: Layout, web: Served, known: dict[str, object]
) -> None:
    assert refusal(store, from_url(web, **known)) in ("fetch.checksum", "fetch.size")
    assert is_empty(layout)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"<html><body>login please</body></html>", "image.not_an_image"),
        (b"", "image.not_an_image"),
        (qcow2(), "image.not_an_image"),
        (qcow2(backing=b"/etc/shadow"), "image.backing_file"),
        (qcow2(encryption=1), "image.encrypted"),
        (qcow2(size=2**50), "image.too_large"),
    ],
)
def test_se_9_what_is_no_safe_image_does_not_stay(
    store: Blobs, layout: Layout, web: Served, content: bytes, expected: str
) -> None:
    web.answers["/bad"] = (200, {}, content)
    assert refusal(store, from_url(web, "/bad")) == expected
    assert is_empty(layout)


@pytest.mark.parametrize(
    ("path", "policy", "expected"),
    [
        ("/to-private", POLICY, "fetch.forbidden"),
        ("/to-loopback-name", fetch.Policy(), "fetch.forbidden"),
        ("/image", fetch.Policy(), "fetch.forbidden"),
        ("/image", fetch.Policy(allow=POLICY.allow, deny=POLICY.allow), "fetch.forbidden"),
        ("/to-metadata", POLICY, "fetch.forbidden"),
        ("/to-file", POLICY, "fetch.bad_url"),
        ("/round", POLICY, "fetch.redirects"),
    ],
)
def test_se_8_no_url_leads_to_where_users_must_not_reach(
    layout: Layout, web: Served, path: str, policy: fetch.Policy, expected: str
) -> None:
    for name, where in {
        "/to-private": "http://10.1.2.3/image",
        "/to-metadata": "http://169.254.169.254/latest",
        "/to-file": "file:///etc/passwd",
        "/round": web.url("/round"),
    }.items():
        web.answers[name] = (302, {"Location": where}, b"")
    url = f"http://localhost:{web.port}/image" if path == "/to-loopback-name" else web.url(path)
    assert refusal(Blobs(layout, lambda: policy), blob_spec(source=BlobSource(url=url))) == expected
    assert is_empty(layout)


def test_en_9_a_body_that_ends_early_is_transient(store: Blobs, layout: Layout, web: Served) -> None:
    web.answers["/short"] = (200, {"Content-Length": "5000"}, b"x" * 100)
    assert refusal(store, from_url(web, "/short")) == "fetch.short_body"
    assert is_empty(layout)


def test_a_body_of_unknown_length_is_taken_to_its_end(store: Blobs, web: Served) -> None:
    web.answers["/endless"] = (200, {"Content-Length": ""}, CONTENT)
    spec = from_url(web, "/endless")
    assert store.fetch(spec, spec.source, RecordingCall()).size == len(CONTENT)


def test_en_14_a_cancelled_fetch_leaves_nothing(store: Blobs, layout: Layout, web: Served) -> None:
    assert refusal(store, from_url(web), RecordingCall(cancel_at=0)) == "cancelled"
    assert is_empty(layout)


def test_a_full_disk_is_said(store: Blobs, layout: Layout, web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blobs_module, "_copy", full)
    assert refusal(store, from_url(web)) == "disk.full"
    assert is_empty(layout)


def test_se_5_a_copy_from_a_peer_uses_a_ticket_and_is_verified(store: Blobs, web: Served) -> None:
    call = RecordingCall(ticket=(web.url("/image"), "ticket"))
    spec = blob_spec(source=BlobSource(peer="n2"), size=len(CONTENT), sha512=sha512(CONTENT))
    assert store.fetch(spec, spec.source, call).sha512 == sha512(CONTENT)
    assert call.peers == [(BLOB, "n2")]


def test_an_upload_becomes_the_blob_and_is_no_upload_any_more(store: Blobs, layout: Layout) -> None:
    layout.upload(UPLOAD).write_bytes(CONTENT)
    facts = store.adopt(UPLOAD, len(CONTENT), blob_spec(source_sha512=sha512(CONTENT)), RecordingCall())
    assert (facts.sha512, layout.upload(UPLOAD).exists()) == (sha512(CONTENT), False)
    assert layout.blob(BLOB).stat().st_nlink == 1


@pytest.mark.parametrize(
    ("size", "spec", "expected"), [(10, {}, "upload.incomplete"), (5, {"source_sha512": "0"}, "fetch.checksum")]
)
def test_an_upload_that_does_not_fit_stays_an_upload(
    store: Blobs, layout: Layout, size: int, spec: dict[str, object], expected: str
) -> None:
    layout.upload(UPLOAD).write_bytes(b"12345")
    with pytest.raises((Refused, Retry)) as caught:
        store.adopt(UPLOAD, size, blob_spec(**spec), RecordingCall())
    assert caught.value.code == expected  # type: ignore[attr-defined]
    assert layout.upload(UPLOAD).read_bytes() == b"12345"
    assert is_empty(layout)


def test_bytes_that_were_never_acknowledged_are_no_part_of_the_blob(store: Blobs, layout: Layout) -> None:
    layout.upload(UPLOAD).write_bytes(CONTENT + b"of a chunk whose answer was lost")
    assert store.adopt(UPLOAD, len(CONTENT), blob_spec(), RecordingCall()).sha512 == sha512(CONTENT)


def test_bl_2_every_hash_is_computed_while_the_bytes_go_by(store: Blobs, web: Served) -> None:
    spec = from_url(web)
    hashes = store.fetch(spec, spec.source, RecordingCall()).hashes
    assert hashes["sha1"] == hashlib.sha1(CONTENT).hexdigest()
    assert hashes["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert hashes["sha512"] == sha512(CONTENT)
    assert hashes["xxh128"] == xxhash.xxh128(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("{sum}  image\n", ""),
        ("{sum} *./image\n", ""),
        ("# list\nSHA256 (image) = {sum}\n", ""),
        ("{sum}\n", ""),
        ("{sum}  other\n", "fetch.checksum"),
        ("{wrong}  image\n", "fetch.checksum"),
        ("{wrong}  image\n{sum}  other\n", "fetch.checksum"),
    ],
)
def test_a_list_of_sums_decides(store: Blobs, layout: Layout, web: Served, listed: str, expected: str) -> None:
    text = listed.format(sum=hashlib.sha256(CONTENT).hexdigest(), wrong="0" * 64)
    web.answers["/SUMS"] = (200, {}, text.encode())
    spec = blob_spec(source=BlobSource(url=web.url("/image"), checksums=web.url("/SUMS")))
    if expected:
        assert refusal(store, spec) == expected
        assert is_empty(layout)
    else:
        assert store.fetch(spec, spec.source, RecordingCall()).sha512 == sha512(CONTENT)


def test_fr_4_a_server_is_asked_whether_it_has_another_version(store: Blobs, web: Served) -> None:
    web.answers["/image"] = (200, {"ETag": '"one"'}, CONTENT)
    spec = from_url(web)
    validators = store.fetch(spec, spec.source, RecordingCall()).validators
    assert validators == {"etag": '"one"'}
    assert not fetch.is_changed(web.url("/image"), POLICY, validators)
    assert web.sent[-1]["If-None-Match"] == '"one"'
    web.answers["/image"] = (304, {}, b"")
    assert not fetch.is_changed(web.url("/image"), POLICY, validators)
    web.answers["/image"] = (200, {"ETag": '"two"'}, CONTENT)
    assert fetch.is_changed(web.url("/image"), POLICY, validators)
    web.answers["/image"] = (503, {}, b"")
    with pytest.raises(Retry):
        fetch.is_changed(web.url("/image"), POLICY, validators)


def test_an_upload_that_is_not_here_is_refused(store: Blobs) -> None:
    with pytest.raises(Refused) as caught:
        store.adopt(UPLOAD, 1, blob_spec(), RecordingCall())
    assert caught.value.code == "upload.missing"


def test_a_blob_without_its_sidecar_or_of_another_size_is_not_there(store: Blobs, layout: Layout, web: Served) -> None:
    spec = from_url(web)
    store.fetch(spec, spec.source, RecordingCall())
    layout.blob(BLOB).chmod(0o644)
    layout.blob(BLOB).write_bytes(b"cut")
    assert store.facts(BLOB) is None
    layout.blob_facts(BLOB).unlink()
    assert store.facts(BLOB) is None
    assert [store.remove(BLOB), store.remove(BLOB)] == ["removed", "unchanged"]
