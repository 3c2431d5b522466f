"""The Debian image's disk, without building one: its boot sector, and what makes it another image."""

import struct
from pathlib import Path

import pytest

from lab import debian_image
from lab.guest_image import newest_kernel


def test_its_boot_sector_names_a_bootable_partition_and_the_root_behind_it() -> None:
    sector = debian_image._boot_sector((0x80, 0x0E, 2048, 40), (0, 0x83, 83968, 1495))
    assert (len(sector), sector[510:]) == (512, b"\x55\xaa")
    first, second = (struct.unpack("<B3xB3xII", sector[start : start + 16]) for start in (446, 462))
    assert first == (0x80, 0x0E, 2048, 40 * 2048)
    assert second == (0, 0x83, 83968, 1495 * 2048)
    assert first[2] + first[3] == second[2], "no sector is of both, none is lost between them"
    assert sector[478:510] == bytes(32)


def test_its_name_follows_what_goes_into_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = debian_image._digest(newest_kernel())
    assert debian_image._digest(newest_kernel()) == before
    (tmp_path / "cloud.cfg").write_text("another")
    monkeypatch.setattr(debian_image, "FILES", tmp_path)
    assert debian_image._digest(newest_kernel()) != before


def test_it_is_not_built_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = tmp_path / f"debian-{debian_image._digest(newest_kernel())}.qcow2"
    image.write_bytes(b"here")
    monkeypatch.setattr(debian_image, "_install", lambda root: pytest.fail("it was there already"))
    assert debian_image.build(tmp_path) == image
