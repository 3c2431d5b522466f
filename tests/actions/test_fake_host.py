"""The fake machine keeps its own promises: faults on request, effects counted once, state that survives a kill."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from nodeagent.fake_host import Crash, FakeHost
from nodeagent.host import Retry
from tests.node_specs import NETWORK, network_spec


def test_a_planned_failure_strikes_so_often_and_changes_nothing() -> None:
    host = FakeHost()
    host.fail_next("ensure_network", OSError("no"), times=2)
    for _ in range(2):
        with pytest.raises(OSError, match="no"):
            host.ensure_network(network_spec())
    assert host.effects == []
    assert host.ensure_network(network_spec()) == "created"


def test_a_crash_before_changes_nothing_and_one_after_has_done_its_work() -> None:
    host = FakeHost()
    host.crash_before("ensure_network")
    host.crash_after("ensure_network")
    with pytest.raises(Crash, match="before"):
        host.ensure_network(network_spec())
    assert host.effects == []
    with pytest.raises(Crash, match="after"):
        host.ensure_network(network_spec())
    assert host.effects == [("ensure_network", NETWORK)]


def test_a_delay_does_not_hold_others_up() -> None:
    host = FakeHost()
    host.delay("remove_network", 0.3)
    slow = threading.Thread(target=host.remove_network, args=(NETWORK, 100))
    slow.start()
    start = time.monotonic()
    host.ensure_network(network_spec())
    assert time.monotonic() - start < 0.2
    slow.join()


def test_one_seed_gives_one_course_of_events() -> None:
    def course(seed: int) -> list[str]:
        host = FakeHost(seed=seed)
        host.faults.unreliable(retry=0.3, unknown=0.2)
        words = []
        for _ in range(30):
            try:
                words.append(host.ensure_network(network_spec()))
            except (Retry, RuntimeError) as error:
                words.append(type(error).__name__)
        return words

    assert course(7) == course(7)
    assert course(7) != course(8)
    assert set(course(7)) == {"created", "unchanged", "Retry", "RuntimeError"}


def test_threads_that_want_the_same_make_it_once() -> None:
    host = FakeHost()
    threads = [threading.Thread(target=host.ensure_network, args=(network_spec(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert host.effects == [("ensure_network", NETWORK)]


def test_a_power_cut_takes_networks_and_domains_and_leaves_files() -> None:
    host = FakeHost()
    host.ensure_network(network_spec())
    host.power_cut()
    assert host.inventory().networks == {}


def test_two_hosts_on_one_path_are_one_machine(tmp_path: Path) -> None:
    first, second = FakeHost(path=tmp_path / "host.json"), FakeHost(path=tmp_path / "host.json")
    assert first.ensure_network(network_spec()) == "created"
    assert second.ensure_network(network_spec()) == "unchanged"
    assert second.remove_network(NETWORK, 100) == "removed"
    assert first.effects == second.effects == [("ensure_network", NETWORK), ("remove_network", NETWORK)]


def test_an_effect_whose_log_line_was_lost_by_a_kill_is_logged_once(tmp_path: Path) -> None:
    path = tmp_path / "host.json"
    host = FakeHost(path=path)
    host.ensure_network(network_spec())
    path.with_suffix(".effects").write_text("")
    for _ in range(2):
        assert FakeHost(path=path).effects == [("ensure_network", NETWORK)]


def _work(path: Path, ready: str) -> None:
    host = FakeHost(path=path)
    for vni in range(1, 10_000):
        host.ensure_network(network_spec(network=f"6f1c9d0a-0000-4000-8000-{vni:012x}", vni=vni))
        if vni == 20:
            Path(ready).touch()


def test_en_15_a_killed_process_leaves_a_machine_whose_effects_are_counted_once(tmp_path: Path) -> None:
    path, ready = tmp_path / "host.json", tmp_path / "ready"
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(path, str(ready)))
    worker.start()
    while not ready.exists():
        time.sleep(0.01)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    worker.close()
    host = FakeHost(path=path)
    things = [thing for _, thing in host.effects]
    assert len(things) == len(set(things)) >= 20
    assert set(things) == set(host.inventory().networks)
