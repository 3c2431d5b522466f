"""KVM is believed only after a 64-bit guest ran on it."""

import subprocess
from pathlib import Path

import pytest

from nodeagent.drivers import acceleration


def test_the_sector_is_the_assembly_of_its_source(tmp_path: Path) -> None:
    source, binary = tmp_path / "probe.s", tmp_path / "probe.bin"
    source.write_text(acceleration.SOURCE)
    subprocess.run(["as", "--32", "-o", tmp_path / "probe.o", source], check=True)
    link = ["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", binary, tmp_path / "probe.o"]
    subprocess.run(link, check=True)
    assert binary.read_bytes() == acceleration.SECTOR


def test_a_guest_reaches_long_mode_under_translation() -> None:
    assert acceleration.runs_long_mode("tcg", "qemu64") is True


def test_a_guest_that_never_gets_there_is_no_pass() -> None:
    assert acceleration.runs_long_mode("tcg", "qemu32") is False


def test_an_accelerator_that_does_not_exist_is_no_pass() -> None:
    assert acceleration.runs_long_mode("nonsense", "qemu64") is False


def test_the_answer_is_kept_and_the_operator_has_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, probes = tmp_path / "state" / "acceleration.json", []

    def probe(accelerator: str, processor: str) -> bool:
        probes.append(accelerator)
        return True

    monkeypatch.setattr(acceleration, "runs_long_mode", probe)
    assert [acceleration.find("", cache) for _ in range(2)] == ["kvm", "kvm"]
    assert probes == ["kvm"]
    assert acceleration.find("tcg", cache) == "tcg"
    cache.write_text('{"key": "another machine", "acceleration": "tcg"}')
    assert acceleration.find("", cache) == "kvm"
