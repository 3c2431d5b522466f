"""SE-10: the last MiB of a console is kept, and no guest fills the disk with it."""

from pathlib import Path

from nodeagent.drivers import console_log

MIB = 2**20


def test_se_10_a_log_is_cut_at_two_mib_and_the_newest_mib_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"old" + b"x" * MIB + b"y" * MIB)
    with log.open("ab") as guest:
        assert console_log.trim(log) is True
        assert log.stat().st_size == 0
        guest.write(b"goes on")
    assert log.read_bytes() == b"goes on"
    kept = console_log.read(log, 10 * MIB)
    assert len(kept) == MIB and kept.endswith(b"yygoes on") and b"x" not in kept
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * MIB


def test_se_10_a_short_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    assert console_log.trim(log) is False
    log.write_bytes(b"z" * 2 * MIB)
    assert console_log.trim(log) is False


def test_reading_takes_the_end(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    assert console_log.read(log, 10) == b""
    log.write_bytes(b"0123456789")
    assert (console_log.read(log, 3), console_log.read(log, 0), console_log.read(log, -1)) == (b"789", b"", b"")


def test_clearing_forgets_both_files(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"z" * 3 * MIB)
    console_log.trim(log)
    log.write_bytes(b"more")
    console_log.clear(log)
    assert console_log.read(log, MIB) == b""
    console_log.clear(tmp_path / "absent.log")
