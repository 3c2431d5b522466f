"""NH-1: storage is believed only as far as it takes what is written, and a write that hangs is not waited for."""

import errno
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from nodeagent.drivers import storage
from nodeagent.drivers.layout import Layout
from nodeagent.duties import storage_probe
from nodeagent.fake_host import FakeHost
from nodeagent.reporter import Findings


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.prepare()
    return made


def test_nh_1_a_probe_of_what_works_says_nothing_and_leaves_nothing(layout: Layout) -> None:
    assert storage.Storage(layout).probe() == {}
    assert [path for path in layout.state.rglob("*") if path.is_file()] == []


def test_nh_1_each_part_fails_by_itself_with_its_reason(layout: Layout) -> None:
    layout.uploads.rmdir()
    assert storage.Storage(layout).probe() == {"uploads": "No such file or directory"}


def test_nh_1_what_reads_back_otherwise_has_failed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"other")
    assert set(storage.Storage(layout).probe().values()) == {"what was written is not what is read"}


def test_nh_1_a_full_disk_has_failed(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(storage, "flush", full)
    assert storage.Storage(layout).probe()["blobs"] == "No space left on device"


def test_nh_1_a_write_that_hangs_is_given_up_and_not_piled_up(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    over, tried = threading.Event(), []

    def hang(path: Path) -> None:
        if path.parent == layout.blobs:
            tried.append(path)
            over.wait(10)

    monkeypatch.setattr(storage, "flush", hang)
    probing = storage.Storage(layout, seconds=0.1)
    assert probing.probe() == {"blobs": "blobs: no answer within 0 s"}
    assert probing.probe() == {"blobs": "an earlier call about blobs has not returned"}
    assert len(tried) == 1
    over.set()


def test_nh_1_the_duty_tells_what_failed_once_and_that_it_is_well_again() -> None:
    host, findings, noticed = FakeHost(), Findings(), []
    around = SimpleNamespace(
        host=host, findings=findings, notice=lambda kind, message, **extra: noticed.append((kind, extra))
    )
    host.broken_storage["blobs"] = "Input/output error"
    for _ in range(3):
        storage_probe.run(around)  # type: ignore[arg-type]
    assert findings.facts["storage"] == {"blobs": "Input/output error"}
    assert noticed == [("health", {"parts": {"blobs": "Input/output error"}})]
    host.broken_storage.clear()
    storage_probe.run(around)  # type: ignore[arg-type]
    assert findings.facts["storage"] == {}
