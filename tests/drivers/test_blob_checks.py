"""BL-4: every blob is read again, slice by slice, and what is wrong with one is told apart."""

from pathlib import Path

import pytest

from nodeagent.drivers import blob_checks
from nodeagent.drivers.blob_checks import BlobChecks
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.fetch import Policy
from nodeagent.drivers.layout import Layout
from nodeagent.duties import blob_checks as duty
from nodeagent.fake_host import FakeHost
from nodeagent.reporter import Findings, Surroundings
from nodeagent.specs import BlobSource
from tests.node_specs import BLOB, UPLOAD, RecordingCall, blob_spec, sha512

FIRST, SECOND = (f"6f1c9d0a-0000-4000-8000-00000000010{number}" for number in (1, 2))
CONTENT = {FIRST: bytes(range(256)) * 40, SECOND: b"x" * 5000}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.prepare()
    store = Blobs(layout, Policy)
    for blob, content in CONTENT.items():
        layout.upload(UPLOAD).write_bytes(content)
        store.adopt(UPLOAD, len(content), blob_spec(blob=blob), RecordingCall())
    return layout


@pytest.fixture
def checks(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> BlobChecks:
    monkeypatch.setattr(blob_checks, "CHUNK", 1000)
    monkeypatch.setattr(blob_checks, "REST_SECONDS", 0)
    return BlobChecks(layout, Blobs(layout, Policy))


def change(layout: Layout, blob: str, content: bytes) -> None:
    layout.blob(blob).chmod(0o644)
    layout.blob(blob).write_bytes(content)


def test_a_whole_round_reads_each_once(checks: BlobChecks) -> None:
    found = {check.blob: (check.sha512, check.reason) for check in checks.advance(10**6)}
    assert found == {blob: (sha512(content), "") for blob, content in CONTENT.items()}
    assert len(checks.advance(10**6)) == 2


def test_a_blob_that_was_just_read_rests(checks: BlobChecks, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_checks, "REST_SECONDS", 3600)
    assert len(checks.advance(10**6)) == 2
    assert checks.advance(10**6) == []


def test_the_duty_tells_each_result_once_with_its_own_id(tmp_path: Path) -> None:
    host, findings = FakeHost(), Findings()
    source = BlobSource(url="https://images.example.org/i")
    host.fetch_blob(blob_spec(source=source), source, RecordingCall())
    around = Surroundings(config=None, identity=None, journal=None, host=host, findings=findings)  # type: ignore[arg-type]
    duty.run(around)
    (first,) = findings.facts["blob_checks"]
    assert (first["blob"], first["reason"]) == (BLOB, "")
    duty.run(around)
    assert findings.facts["blob_checks"] == [first]
    host.rot(BLOB, "unreadable")
    duty.run(around)
    (second,) = findings.facts["blob_checks"]
    assert (second["reason"], second["check"] != first["check"]) == ("unreadable", True)


def test_slices_come_to_the_same_end(checks: BlobChecks) -> None:
    rounds = [checks.advance(3000) for _ in range(6)]
    assert sum(len(found) for found in rounds) == 2
    assert all(check.reason == "" for found in rounds for check in found)
    assert rounds[0] == []


def test_a_changed_byte_is_found(checks: BlobChecks, layout: Layout) -> None:
    change(layout, FIRST, b"y" + CONTENT[FIRST][1:])
    reasons = {check.blob: check.reason for check in checks.advance(10**6)}
    assert reasons == {FIRST: "the content is not what it was when it came", SECOND: ""}


def test_a_dying_disk_is_told_from_other_content(
    checks: BlobChecks, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = Path.open

    def broken(path: Path, *args: object, **more: object) -> object:
        if path == layout.blob(SECOND):
            raise OSError(5, "Input/output error")
        return genuine(path, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", broken)
    reasons = {check.blob: check.reason for check in checks.advance(10**6)}
    assert reasons == {FIRST: "", SECOND: "unreadable: Input/output error"}


def test_one_that_is_replaced_or_goes_meanwhile_is_no_fault(checks: BlobChecks, layout: Layout) -> None:
    checks.advance(1500)
    for blob in CONTENT:
        Blobs(layout, Policy).remove(blob)
    assert checks.advance(10**6) == []
    assert checks.advance(10**6) == []
