"""Whose step is next where a node has more to do than it can be sent: fairness between namespaces (EN-10)."""

import pytest
from django.db import connection
from django.db.models import F

from sftasks import dispatch, engine, explain, statements, turns
from sftasks.operation import PlannedStep
from sfweb.models import Namespace, Operation, Step
from sfweb.models.fields import FromNow
from tests.factories import make_namespace

OLDER = 3000


class Line:
    """The queue of one node, without its engine: operations that run, each with a planned step."""

    def __init__(self, guest):
        self.guest, self.node = guest, guest.home.pk
        self.loud = Namespace.objects.get(name="tenant").pk

    def plan(self, namespace, *, age=0.0, stages=1, **more):
        """A running operation of the namespace, `age` seconds old; its first step."""
        fields = {"kind": "instance_reboot", "object_key": "k", "state": "running", "created_at": FromNow(-age), **more}
        operation = Operation.objects.create(namespace_id=namespace, **fields)
        operation.refresh_from_db()
        reboot = PlannedStep(
            node=self.node, action="reboot_instance", object_type="instance", object_uuid=self.guest.instance.pk
        )
        return dispatch.plan(operation, {stage: [reboot] for stage in range(stages)})[0]

    def fly(self, namespace, number):
        """So many steps of the namespace are in flight."""
        for _ in range(number):
            Step.objects.filter(pk=self.plan(namespace).pk).update(state="sent")

    def crowd(self, namespace, number):
        """So many copies of one planned step, with their operations, by two statements."""
        pattern = self.plan(namespace, age=3600)
        self._copy("operations", pattern.operation_id, number, {"uuid": "UUID()", "request_id": "'crowd'"})
        operations = "(SELECT uuid AS one, ROW_NUMBER() OVER () AS seq FROM operations WHERE request_id = 'crowd')"
        self._copy("steps", pattern.pk, operations, {"uuid": "UUID()", "operation_id": "one"})

    def _copy(self, table, pk, seq, other):
        source = seq if isinstance(seq, str) else f"(SELECT seq FROM seq_1_to_{seq})"
        with connection.cursor() as cursor:
            columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
            values = ", ".join(other.get(column, f"`{table}`.`{column}`") for column in columns)
            names = ", ".join(f"`{column}`" for column in columns)
            cursor.execute(
                f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} JOIN {source} many"
                f" WHERE {table}.uuid = %s",
                [str(pk)],
            )

    def next(self, bulk=False):
        return turns.next_due(self.node, bulk, statements.queues(self.node)[bulk])


@pytest.fixture
def line(guest):
    return Line(guest)


@pytest.fixture
def quiet(line):
    return make_namespace("quiet").namespace_uuid


def test_en_10_a_tenant_behind_thousands_of_older_steps_of_another_is_next(line, quiet):
    line.crowd(line.loud, OLDER)
    line.fly(line.loud, 6)
    mine = line.plan(quiet)
    assert line.next()[0] == mine.pk


def test_en_10_of_thousands_only_the_first_are_read(line, quiet):
    """Neither sorted nor read, however many are planned: an answer to a node must not take longer for it."""
    line.crowd(line.loud, OLDER)
    line.plan(quiet)
    queue = statements.queues(line.node)[False]
    before = rows_read()
    assert len(turns.next_due(line.node, False, queue)) == 8
    assert rows_read() - before < 200


def rows_read():
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for _, value in cursor.fetchall())


def test_en_10_namespaces_take_turns(line, quiet):
    for age in range(40, 20, -1):
        line.plan(line.loud, age=age)
    mine = [line.plan(quiet, age=age).pk for age in (3, 2, 1)]
    chosen = line.next()
    assert [chosen.index(pk) for pk in mine] == [1, 3, 5]


def test_en_10_one_namespace_leaves_a_thread_to_the_others(line, quiet):
    for age in range(20):
        line.plan(line.loud, age=age)
    assert len(line.next()) == turns.OF_ONE_LANE[False]
    line.fly(line.loud, turns.OF_ONE_LANE[False])
    assert line.next() == []
    line.fly(quiet, 3)
    assert line.next() == []
    told = explain.why(line.plan(line.loud).operation)
    assert told["waits_for"] == "room"
    assert told["sentence"].endswith("its namespace has as many steps at the node as one may have")


def test_en_10_within_a_namespace_priority_and_then_age_decide(line, quiet):
    background = line.plan(quiet, age=9, priority=30)
    young, old, urgent = line.plan(quiet, age=1), line.plan(quiet, age=5), line.plan(quiet, priority=10)
    assert line.next() == [urgent.pk, old.pk, young.pk, background.pk]


def test_en_10_what_belongs_to_no_namespace_is_one_of_its_own(line, quiet):
    own = [line.plan(None, age=age).pk for age in (5, 4)]
    line.crowd(line.loud, 30)
    mine = [line.plan(quiet, age=age).pk for age in (3, 2)]
    line.fly(line.loud, 6)
    line.fly(None, 1)
    assert line.next()[:4] == [mine[0], own[0], mine[1], own[1]]


def test_en_10_what_is_not_due_keeps_nobody_back(line, quiet):
    """Later stages and later attempts are planned too."""
    running = line.plan(quiet, age=9, stages=10)
    later = line.plan(quiet, age=8)
    Step.objects.filter(pk=later.pk).update(not_before=FromNow(60))
    ended = line.plan(quiet, age=7)
    Operation.objects.filter(pk=ended.operation_id).update(state="failed")
    due = line.plan(quiet, age=1)
    assert line.next() == [running.pk, due.pk]


@pytest.mark.parametrize(
    ("loud", "own", "waiting", "sent"),
    [(6, 9, 0, 1), (7, 0, 0, 0), (0, 16, 0, 0), (6, 0, 1, 1), (6, 9, 1, 0), (6, 7, 1, 1), (0, 15, 1, 1)],
)
def test_en_10_the_next_stage_goes_at_once_only_when_it_is_its_turn(line, quiet, loud, own, waiting, sent):
    """An operation of many stages would else keep its place in the queue for itself. `waiting`: steps of a third namespace."""
    third = make_namespace("third").namespace_uuid
    for _ in range(waiting):
        line.plan(third)
    long = line.plan(line.loud, age=60, stages=2)
    line.fly(line.loud, loud)
    line.fly(quiet, own)
    Step.objects.filter(pk=long.pk).update(state="done")
    line.guest.run(engine.advance, long.operation_id)
    assert Operation.objects.get(pk=long.operation_id).stage == 1
    assert Step.objects.filter(operation_id=long.operation_id, state="sent").count() == sent


def test_en_10_no_more_than_twice_the_threads_are_in_flight(line, quiet):
    lanes = (line.loud, quiet, make_namespace("third").namespace_uuid)
    for namespace in [lane for lane in lanes for _ in range(20)]:
        line.guest.run(engine.advance, line.plan(namespace).operation_id)
    sent = Step.objects.filter(node_id=line.node, state="sent")
    while chosen := line.next():
        for pk in chosen:
            line.guest.run(dispatch.send_one, pk)
    each = [sent.filter(lane=lane).count() for lane in lanes]
    assert sum(each) == 2 * turns.THREADS[False] and max(each) <= turns.OF_ONE_LANE[False], each


def test_en_10_a_step_keeps_the_order_of_its_operation(line, quiet):
    step = line.plan(quiet, age=50, priority=30)
    same = Step.objects.filter(lane=F("operation__namespace"), asked_at=F("operation__created_at"), priority=30)
    assert same.get() == Step.objects.get(pk=step.pk)
