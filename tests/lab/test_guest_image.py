"""The tiny image is built once for one machine, and is a disk that this cloud accepts."""

from pathlib import Path

import pytest

from lab import guest_image
from nodeagent.drivers.blobs import judge


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_it_is_small_and_a_safe_image(cache: Path) -> None:
    image = guest_image.build(cache)
    assert image.stat().st_size < 20 * 2**20
    assert judge(image, 1).format == "qcow2"


def test_it_is_built_once(cache: Path) -> None:
    image = guest_image.build(cache)
    before = image.stat()
    assert guest_image.build(cache).stat().st_mtime_ns == before.st_mtime_ns
    assert list(cache.iterdir()) == [image]


def test_another_input_makes_another_image(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = guest_image.build(cache).name
    monkeypatch.setattr(guest_image, "PROGRAMS", guest_image.PROGRAMS[:1])
    assert f"guest-{guest_image._digest(guest_image.newest_kernel())}.qcow2" != name
