"""Three days of schedules in half a minute, while clocks are put forward and back: one operation for each due time.

Real processes. The database's clock, by which all is compared (EN-16), is moved from one due time to the next; everything
else goes by the machine's. Two beats ring, and one of them is killed now and then, at moments drawn from SEED. In March
2007 Sydney's clocks were put back a few hours before Berlin's were put forward, and in October it was the other way
round: so three days have both. `PROVE=1` takes both week-ends, and lines that are due every half hour.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from lab.plane import Client, Plane, Size, new_instance, until

PROVE = os.environ.get("PROVE") == "1"
SEED = int(os.environ.get("SEED", "20261124"))
pytestmark = [pytest.mark.real, pytest.mark.timeout(1800 if PROVE else 120)]
BEGINS = [datetime(2007, 3, 23, 18, tzinfo=UTC), datetime(2007, 10, 26, 18, tzinfo=UTC)][: 2 if PROVE else 1]
LASTS = timedelta(days=3)
MINUTE, LATE = timedelta(minutes=1), timedelta(seconds=3)
KEPT = 2
BEATS = ("beat", "beat-2")


class Line(NamedTuple):
    """A cron line, and the same as a condition on what a clock of the zone shows."""

    cron: str
    zone: str
    fits: Callable[[datetime], bool]


def at(hours: range | tuple[int, ...], *minutes: int) -> Callable[[datetime], bool]:
    return lambda wall: wall.hour in hours and wall.minute in minutes


LINES = [
    Line("30 2 * * *", "Europe/Berlin", at((2,), 30)),
    Line("30 2 * * *", "Australia/Sydney", at((2,), 30)),
    Line("0 12 * * *", "UTC", at((12,), 0)),
]
PERIODS = [64800]
if PROVE:
    LINES += [
        Line("*/30 * * * *", "Europe/Berlin", at(range(24), 0, 30)),
        Line("*/30 0-4 * * *", "Australia/Sydney", at(range(5), 0, 30)),
        Line("15 */3 * * *", "America/New_York", at(range(0, 24, 3), 15)),
        Line("45 1,2 * * *", "Australia/Lord_Howe", at((1, 2), 45)),
    ]
    PERIODS += [3600, 25200]


def due_times(line: Line, begin: datetime, end: datetime) -> Iterator[datetime]:
    """Minute by minute: a time of the line is due when the zone's clocks first show it, or a later one."""
    zone, now = ZoneInfo(line.zone), begin
    shown = begin.astimezone(zone).replace(tzinfo=None)
    while now < end:
        now += MINUTE
        wall = now.astimezone(zone).replace(tzinfo=None)
        passed = [shown + MINUTE * number for number in range(1, (wall - shown) // MINUTE + 1)]
        if any(line.fits(each) for each in passed):
            yield now
        shown = max(shown, wall)


def test_ro_2_what_this_test_expects_where_clocks_change():
    """By hand: 02:30 of Berlin in the week-ends of March and October 2007, and of Sydney."""
    told = {
        (line.zone, begin.month): [due.strftime("%d %H:%M") for due in due_times(line, begin, begin + LASTS)]
        for line in LINES[:2]
        for begin in (datetime(2007, 3, 23, 18, tzinfo=UTC), datetime(2007, 10, 26, 18, tzinfo=UTC))
    }
    assert told == {
        ("Europe/Berlin", 3): ["24 01:30", "25 01:00", "26 00:30"],
        ("Europe/Berlin", 10): ["27 00:30", "28 00:30", "29 01:30"],
        ("Australia/Sydney", 3): ["24 15:30", "25 16:30", "26 16:30"],
        ("Australia/Sydney", 10): ["27 16:00", "28 15:30", "29 15:30"],
    }


@pytest.fixture(scope="module")
def moved() -> Iterator[Plane]:
    plane = Plane(Size(nodes=1, time_scale=0.05, begins=BEGINS[0]))
    try:
        plane.start()
        plane.add(plane.celery("beat-2", "beat", "beat")).start()
        yield plane
    finally:
        plane.close()


def is_idle(plane: Plane) -> bool:
    started = "SELECT COUNT(*) FROM recurring_operation_ticks WHERE state = 'started'"
    overdue = "SELECT COUNT(*) FROM recurring_operations WHERE state = 'created' AND next_tick <= UTC_TIMESTAMP(6)"
    return plane.sql(f"SELECT ({started}) + ({overdue})") == [["0"]]


def make_schedules(client: Client, instance: str, end: datetime) -> dict[str, list[datetime]]:
    """{schedule: its due times until `end`}."""
    expected = {}
    arguments = {"all": True, "max_versions": KEPT}
    common: dict[str, Any] = {"instance": instance, "kind": "snapshot", "arguments": arguments}
    for line in LINES:
        wanted = {"name": line.zone.rpartition("/")[2], "cron": line.cron, "timezone": line.zone}
        row = client.ok("POST", "/recurring_operations", common | wanted)
        expected[row["uuid"]] = list(due_times(line, end - LASTS, end))
    for period in PERIODS:
        row = client.ok("POST", "/recurring_operations", common | {"name": str(period), "every_seconds": period})
        first = datetime.fromtimestamp(row["next_ticks"][0], UTC).replace(microsecond=0)
        expected[row["uuid"]] = [first + timedelta(seconds=period) * number for number in range(LASTS // MINUTE)]
        expected[row["uuid"]] = [due for due in expected[row["uuid"]] if due <= end]
    return expected


def go_through(plane: Plane, moments: list[datetime], chance: random.Random) -> None:
    """The clock comes to each of these; now and then a beat dies soon after, or just before."""
    for moment in moments:
        plane.clock.show(moment + LATE)
        if chance.random() < 0.5:
            time.sleep(chance.uniform(0, 1))
            plane.restart(chance.choice(BEATS))
        until(lambda: is_idle(plane), 40, f"every tick of {moment} has ended", pause=0.1)


def sleep_through(plane: Plane, until_then: datetime) -> None:
    """No beat lives until then."""
    for name in BEATS:
        plane.kill(name)
    plane.clock.show(until_then + LATE)
    for name in BEATS:
        plane.restart(name)
    until(lambda: is_idle(plane), 40, "what was missed is made up for", pause=0.1)


def had(plane: Plane, schedule: str) -> list[datetime]:
    rows = plane.sql(
        "SELECT t.due FROM recurring_operation_ticks t JOIN operations o ON o.uuid = t.operation_id"
        f" WHERE t.schedule_id = '{schedule}' AND t.state = o.state AND o.state = 'succeeded' ORDER BY t.due"
    )
    return [datetime.fromisoformat(due).replace(tzinfo=UTC, microsecond=0) for [due] in rows]


@pytest.mark.parametrize("begin", BEGINS, ids=lambda begin: f"{begin:%B}")
def test_ro_5_three_days_over_changes_of_the_clocks(moved: Plane, begin: datetime):
    """Each due time has one operation; of those that passed while no beat lived, the first of each schedule has (RO-6)."""
    plane, chance, end = moved, random.Random(SEED), begin + LASTS
    plane.clock.show(begin)
    reported = (
        "SELECT COUNT(*) FROM nodes WHERE last_seen BETWEEN UTC_TIMESTAMP(6) - INTERVAL 1 SECOND AND UTC_TIMESTAMP(6)"
    )
    until(lambda: plane.sql(reported) == [["1"]], 20, "the node has reported since then")
    with plane.api() as client:
        instance = client.ok("POST", "/instances", new_instance("guest"))["uuid"]
        until(lambda: not plane.open_operations(), 60, "the instance is there", pause=0.2)
        plane.clock.show(begin)
        expected = make_schedules(client, instance, end)
        moments = sorted({due for dues in expected.values() for due in dues})
        asleep = moments[-5], moments[-2]
        go_through(plane, [moment for moment in moments if moment < asleep[0]], chance)
        sleep_through(plane, asleep[1])
        go_through(plane, [moment for moment in moments if moment > asleep[1]], chance)
        for schedule, dues in expected.items():
            missed = [due for due in dues if asleep[0] <= due <= asleep[1]]
            assert had(plane, schedule) == [due for due in dues if due not in missed[1:]]
            kept = client.ok("GET", f"/snapshots?recurring_operation={schedule}")
            assert [(one["state"], len(one["disks"])) for one in kept] == [("created", 1)] * KEPT
        total = sum(len(had(plane, schedule)) for schedule in expected)
        captures = "SELECT COUNT(*) FROM operations WHERE kind = 'instance_snapshot' AND params LIKE '%{}%'"
        assert plane.sql(captures.format(instance)) == [[str(total)]], "no operation but those of ticks"
        print(f"{begin:%B}: {len(moments)} moments, {total} ticks of {len(expected)} schedules, SEED={SEED}")
        plane.clear(client)
