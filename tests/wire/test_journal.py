"""The node's memory (EN-2, EN-3, EN-8, EV-4): one file that processes share and that a kill does not tear."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.journal import Journal
from nodeagent.wire import Kind, NodeEvent, Outcome
from tests.wire.test_documents import MESSAGE


@pytest.fixture
def journal(tmp_path: Path):
    made = Journal(tmp_path / "journal.sqlite")
    yield made
    made.close()


def done(message=MESSAGE):
    return Outcome(token=message.token, kind=Kind.DONE, change="created")


def test_en_2_the_incarnation_is_made_with_the_file(journal, tmp_path):
    again = Journal(tmp_path / "journal.sqlite")
    other = Journal(tmp_path / "other.sqlite")
    assert again.incarnation == journal.incarnation != other.incarnation
    again.close()
    other.close()


def test_en_3_a_copy_is_dropped_until_there_is_an_outcome_and_then_answered(journal):
    assert journal.receive(MESSAGE, bulk=False) is None
    assert journal.receive(MESSAGE, bulk=False) is None
    assert journal.held() == [MESSAGE.token]
    assert journal.begin(MESSAGE, bulk=False) is True
    assert journal.begin(MESSAGE, bulk=False) is False
    told = journal.finish(MESSAGE, done(), "present")
    assert journal.receive(MESSAGE, bulk=False) == told
    assert journal.held() == []
    assert journal.outcomes() == [told]
    journal.acknowledge([MESSAGE.token])
    assert journal.outcomes() == []
    assert journal.receive(MESSAGE, bulk=False) == told, "a late copy is still recognised"


def test_en_4_what_was_not_started_can_be_withdrawn_and_what_was_cannot(journal):
    journal.receive(MESSAGE, bulk=False)
    journal.withdraw([MESSAGE.token])
    assert journal.held() == []
    journal.begin(MESSAGE, bulk=False)
    journal.withdraw([MESSAGE.token])
    assert journal.held() == [MESSAGE.token]


def test_en_13_outcomes_have_increasing_positions(journal):
    for number in range(3):
        message = replace(MESSAGE, token=f"token-{number}")
        journal.begin(message, bulk=False)
        assert journal.finish(message, done(message), "present").seq == number + 1
    assert journal.seq == 3


def test_en_2_the_generation_of_what_is_there_and_of_what_was_removed_is_kept(journal):
    journal.begin(MESSAGE, bulk=False)
    journal.finish(MESSAGE, done(), "present")
    later = replace(MESSAGE, token="later", generation=9)
    journal.begin(later, bulk=False)
    journal.finish(later, done(later), "absent")
    known = journal.known(MESSAGE.object_key)
    assert known is not None
    assert (known.generation, known.wanted) == (9, "absent")
    assert journal.generations() == {}


def test_en_9_a_busy_object_names_the_token_that_it_waits_for(journal):
    journal.begin(MESSAGE, bulk=False)
    waiting = replace(MESSAGE, token="waiting")
    journal.receive(waiting, bulk=False)
    journal.wait_for("waiting", MESSAGE.object_key)
    assert journal.waiting() == {"waiting": MESSAGE.token}
    assert journal.inbox(False, retry_after=60) == []
    assert [message.token for message in journal.inbox(False, retry_after=-1)] == ["waiting"]


def test_ev_4_events_are_kept_until_they_were_taken(journal):
    event = NodeEvent(uuid="e", type="status", message="m", age=0.0)
    journal.notice(event)
    journal.notice(event)
    assert [each.uuid for each in journal.events()] == ["e"]
    journal.forget_events(["e"])
    assert journal.events() == []


def test_en_8_a_killed_process_leaves_its_mark(tmp_path):
    """`started` is on disk before the effect: a process that is killed in between is found by the next."""
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from nodeagent.journal import Journal\n"
        "from tests.wire.test_documents import MESSAGE\n"
        f"journal = Journal(Path({str(tmp_path / 'journal.sqlite')!r}))\n"
        "journal.receive(MESSAGE, bulk=False)\n"
        "journal.begin(MESSAGE, bulk=False)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done_with = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done_with.returncode == -9
    journal = Journal(tmp_path / "journal.sqlite")
    assert journal.started(False) == [MESSAGE]
    journal.give_back(MESSAGE.token)
    assert [message.token for message in journal.inbox(False, retry_after=-1)] == [MESSAGE.token]
    journal.close()


def test_the_nodes_processes_may_make_the_journal_at_the_same_moment(tmp_path):
    """A fresh file is switched to write-ahead logging by one of them; SQLite refuses the others at once, without waiting."""
    barrier = threading.Barrier(8)

    def open_it(number):
        barrier.wait()
        made = Journal(tmp_path / f"round-{number}" / "journal.sqlite")
        incarnation = made.incarnation
        made.close()
        return incarnation

    with ThreadPoolExecutor(8) as pool:
        for number in range(15):
            assert len(set(pool.map(open_it, [number] * 8))) == 1
