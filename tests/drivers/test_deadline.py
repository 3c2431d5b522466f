"""Calls that hang do not hang their callers, and do not pile up."""

import threading
import time

import pytest

from nodeagent.drivers.deadline import Deadlines
from nodeagent.host import Retry


def test_result_and_error_pass_through() -> None:
    deadlines = Deadlines("domain.stuck")
    assert deadlines.run("a", 5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        deadlines.run("a", 5, lambda: 1 // 0)
    assert deadlines.stuck == frozenset()


def test_a_call_past_its_deadline_is_told_apart_and_blocks_only_its_own_thing() -> None:
    deadlines, release, calls = Deadlines("domain.stuck"), threading.Event(), []

    def hang() -> None:
        calls.append(1)
        release.wait(10)

    for _ in range(3):
        with pytest.raises(Retry) as caught:
            deadlines.run("a", 0.05, hang)
        assert caught.value.code == "domain.stuck"
    assert len(calls) == 1
    assert deadlines.stuck == {"a"}
    assert deadlines.run("b", 5, lambda: "other things go on") == "other things go on"
    release.set()
    while deadlines.stuck:
        time.sleep(0.01)
    assert deadlines.run("a", 5, lambda: "well again") == "well again"
