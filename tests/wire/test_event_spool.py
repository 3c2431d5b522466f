"""Events of a node before the control plane has them: in the journal, once each, bounded (EV-1 to EV-5)."""

import logging
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from nodeagent import journal as journals
from nodeagent.journal import Journal
from nodeagent.wire import NodeEvent


@pytest.fixture
def journal(tmp_path: Path):
    made = Journal(tmp_path / "journal.sqlite")
    yield made
    made.close()


def event(message: str = "m") -> NodeEvent:
    return NodeEvent(uuid=str(uuid.uuid4()), type="status", message=message, age=0.0)


def test_ev_1_what_was_noticed_outlives_the_process_that_noticed_it(tmp_path):
    """The process is gone at once, without closing anything; no control plane is anywhere near."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom nodeagent.journal import Journal\n"
        "from nodeagent.wire import NodeEvent\n"
        "Journal(Path(sys.argv[1])).notice(NodeEvent(uuid='e', type='status', message='last words', age=0.0))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = tmp_path / "journal.sqlite"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    found = Journal(path)
    assert [one.message for one in found.events()] == ["last words"], "EV-5: the next process tells it"
    found.close()


def test_ev_2_an_event_noticed_twice_is_one(journal):
    twice = event()
    journal.notice(twice)
    journal.notice(twice)
    assert [one.uuid for one in journal.events()] == [twice.uuid]


def test_ev_3_a_batch_is_a_hundred_of_the_oldest_and_stays_until_it_was_taken(journal):
    for number in range(130):
        journal.notice(event(str(number)))
    first = journal.events()
    assert [one.message for one in first] == [str(number) for number in range(100)]
    assert [one.uuid for one in journal.events()] == [one.uuid for one in first], "not acknowledged: told again"
    journal.forget_events([one.uuid for one in first])
    assert [one.message for one in journal.events()] == [str(number) for number in range(100, 130)]


def test_ev_3_the_age_is_counted_from_when_it_was_noticed(journal, monkeypatch):
    journal.notice(event())
    noticed = time.time()
    monkeypatch.setattr(journals.time, "time", lambda: noticed + 500)
    assert 499 < journal.events()[0].age < 502


def test_ev_4_a_full_spool_takes_no_more_and_loses_nothing_that_it_has(journal, monkeypatch):
    monkeypatch.setattr(journals, "MAX_EVENTS", 3)
    for number in range(5):
        journal.notice(event(str(number)))
    assert [one.message for one in journal.events()] == ["0", "1", "2"]
    assert journal.spool() == (3, 2), "what waits, and what there was no room for"
    journal.forget_events([one.uuid for one in journal.events()])
    journal.notice(event("after"))
    assert journal.spool() == (1, 2)


@pytest.mark.parametrize("poison", ["not JSON", "[]", '{"uuid": 7}', '{"unknown": 1}', "null"])
def test_ev_5_one_that_cannot_be_read_is_dropped_and_keeps_no_other(journal, tmp_path, caplog, poison: str):
    journal.notice(event("before"))
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        connection.execute("INSERT INTO events VALUES ('poison', 0, ?)", [poison])
    connection.close()
    journal.notice(event("after"))
    with caplog.at_level(logging.ERROR):
        assert [one.message for one in journal.events()] == ["before", "after"]
        assert len(journal.events()) == 2
    assert len([record for record in caplog.records if "dropped" in record.message]) == 1, "not retried for ever"
