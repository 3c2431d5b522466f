"""The one way to open a transaction (EN-19), and that it survives what MariaDB throws (BY-17, CO-2)."""

import re
import uuid
from pathlib import Path

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from sfweb.domain import events, transactions
from sfweb.domain.transactions import Again, durable, is_duplicate, part, together
from sfweb.models import Event, EventObject, Namespace

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.real
@pytest.mark.django_db(transaction=True)
def test_en_19_it_refuses_to_nest():
    with transaction.atomic(), pytest.raises(RuntimeError, match="nested"):
        durable(lambda: None)()


@pytest.mark.django_db
@pytest.mark.parametrize("code", [1213, 1205, 1020, 2006, 2013])
def test_en_19_by_17_co_2_what_the_database_asks_to_repeat_is_repeated(code, monkeypatch):
    monkeypatch.setattr(connection, "close", lambda: None)
    tries = []

    @durable
    def work():
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError(code, "try again")
        return "done"

    assert work() == "done"
    assert len(tries) == 3


@pytest.mark.django_db
def test_en_19_only_so_often_and_nothing_else_is_repeated():
    tries = []

    @durable
    def deadlocks():
        tries.append(1)
        raise OperationalError(1213, "Deadlock found")

    with pytest.raises(OperationalError):
        deadlocks()
    assert len(tries) == transactions.ATTEMPTS

    @durable
    def syntax_error():
        tries.append(1)
        raise OperationalError(1064, "syntax")

    with pytest.raises(OperationalError):
        syntax_error()
    assert len(tries) == transactions.ATTEMPTS + 1


@pytest.mark.django_db
def test_en_5_a_lost_insert_race_runs_the_outermost_transaction_again():
    tries = []

    @durable
    def work():
        tries.append(1)
        if len(tries) == 1:
            raise Again
        return Namespace.objects.create(name="made-once")

    work()
    assert Namespace.objects.filter(name="made-once").count() == 1


@pytest.mark.real
@pytest.mark.django_db(transaction=True)
def test_en_19_a_failed_attempt_leaves_nothing():
    tries = []

    @durable
    def work():
        tries.append(1)
        Namespace.objects.create(name=f"try-{len(tries)}")
        if len(tries) == 1:
            raise OperationalError(1213, "Deadlock found")

    work()
    assert list(Namespace.objects.filter(name__startswith="try-").values_list("name", flat=True)) == ["try-2"]


@pytest.mark.django_db
def test_what_is_handed_over_is_written_once_at_the_end_whatever_was_tried_before():
    written, tries = [], []

    def write(items):
        written.append(list(items))

    @durable
    def work():
        tries.append(1)
        together(write, ["a"])
        if len(tries) == 1:
            raise Again
        together(write, ["b", "c"])
        assert written == []

    work()
    assert written == [["a", "b", "c"]]
    together(write, ["outside"])
    assert written[1:] == [["outside"]]


@pytest.mark.django_db
def test_a_part_that_fails_takes_along_what_it_handed_over():
    written = []

    def write(items):
        written.append(list(items))

    def never(items):
        raise AssertionError(items)

    @durable
    def work():
        together(write, ["before"])
        with pytest.raises(ValueError), part():
            together(write, ["within"])
            together(never, ["within"])
            Namespace.objects.create(name="within")
            raise ValueError
        with part():
            together(write, ["kept"])

    work()
    assert written == [["before", "kept"]]
    assert not Namespace.objects.filter(name="within").exists()


@pytest.mark.django_db
def test_the_events_of_a_transaction_are_written_together_and_stay_in_their_order():
    thing = uuid.uuid4()

    @durable
    def work():
        for number in range(5):
            events.record("audit", f"event {number}", [("namespace", thing)])

    with CaptureQueriesContext(connection) as asked:
        work()
    assert sum("INSERT INTO event" in query["sql"] for query in asked.captured_queries) == 2
    of_it = EventObject.objects.filter(object_uuid=thing).values("event_uuid")
    told = Event.objects.filter(pk__in=of_it).order_by("at")
    assert list(told.values_list("message", flat=True)) == [f"event {number}" for number in range(5)]


def test_is_duplicate_knows_1062_only():
    assert is_duplicate(IntegrityError(1062, "Duplicate entry"))
    assert not is_duplicate(IntegrityError(1452, "foreign key"))
    assert not is_duplicate(IntegrityError())


def test_en_16_moments_are_never_compared_in_python():
    """Rules and engine know no clock of their own: `timezone.now`, `datetime.now` and `time.time` stay outside."""
    clock = re.compile(r"timezone\.now|datetime\.now|time\.time\(\)|utcnow\(")
    found = [
        str(path.relative_to(ROOT))
        for top in ("sftasks", "sfweb/domain", "sfweb/models")
        for path in sorted((ROOT / top).rglob("*.py"))
        if clock.search(path.read_text())
    ]
    assert found == []
