"""EN-15: what becomes visible is whole, and what an attempt left half made can be found by its token."""

from pathlib import Path

import pytest

from nodeagent.drivers.layout import Layout, appearing
from tests.node_specs import BLOB, INSTANCE


def test_en_15_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with pytest.raises(RuntimeError), appearing(target, "t1") as temporary:
        temporary.write_text("half")
        assert "t1" in temporary.name
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with appearing(target, "t2") as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


def test_en_15_the_sweep_takes_what_one_attempt_left(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.prepare()
    layout.instance(INSTANCE).mkdir()
    left = [layout.blobs / f".{BLOB}.t1", layout.instance(INSTANCE) / ".vda.qcow2.t1"]
    stays = [layout.blobs / f".{BLOB}.t2", layout.blob(BLOB)]
    for path in left + stays:
        path.touch()
    (layout.instance(INSTANCE) / ".tree.t1.abc").mkdir()
    layout.sweep("t1")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(stays)
    assert list(layout.instance(INSTANCE).iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "", BLOB.upper(), f"{BLOB}/..", f"{BLOB}\n"])
def test_only_a_uuid_names_a_file(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path)
    for place in (layout.blob, layout.upload, layout.instance):
        with pytest.raises(ValueError, match="is not valid"):
            place(name)
    with pytest.raises(ValueError, match="is not valid"):
        layout.disk(INSTANCE, "../vda")


def test_only_whole_blobs_count(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.prepare()
    layout.blob(BLOB).write_bytes(b"12345")
    assert layout.known_blobs() == {}
    layout.blob_facts(BLOB).touch()
    assert layout.known_blobs() == {BLOB: 5}
