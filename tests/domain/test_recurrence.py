"""When what recurs is due: the grid, cron lines, and what happens where clocks are put forward or back (RO-2)."""

import datetime
import zoneinfo
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfweb.domain import recurrence
from sfweb.domain.recurrence import UTC, by_cron, check_zone, every
from sfweb.errors import Invalid

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(rule, start, count):
    """The due times later than `start`, as `DD HH:MM` of UTC."""
    first = rule.after(at(start), at(start))
    return [moment.strftime("%d %H:%M") for moment in rule.upcoming(first, count)]


@pytest.mark.parametrize(
    ("cron", "zone", "start", "expected"),
    [
        # forward: 02:00 is 03:00. What falls into the gap is due at 03:00, several at once are due once
        ("30 2 * * *", BERLIN, "2026-03-28T00:00", ["28 01:30", "29 01:00", "30 00:30"]),
        ("0 2 * * *", BERLIN, "2026-03-28T02:00", ["29 01:00", "30 00:00"]),
        ("0,30 2,3 * * *", BERLIN, "2026-03-28T22:00", ["29 01:00", "29 01:30", "30 00:00"]),
        ("*/30 * * * *", BERLIN, "2026-03-29T00:00", ["29 00:30", "29 01:00", "29 01:30", "29 02:00"]),
        ("0 3 * * *", BERLIN, "2026-03-28T03:00", ["29 01:00", "30 01:00"]),
        ("30 2 * * *", NEW_YORK, "2026-03-07T12:00", ["08 07:00", "09 06:30"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-02T18:00", ["03 15:30", "04 15:15"]),  # by half an hour: 02:00 is 02:30
        ("45 2 * * *", LORD_HOWE, "2026-10-02T18:00", ["03 15:45", "04 15:45"]),
        # back: 02:00 to 02:59 come twice and count once, the first time
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["25 00:30", "26 01:30"]),
        ("*/30 * * * *", BERLIN, "2026-10-24T23:45", ["25 00:00", "25 00:30", "25 02:00", "25 02:30"]),
        ("0 3 * * *", BERLIN, "2026-10-24T12:00", ["25 02:00", "26 02:00"]),
        ("30 1 * * *", NEW_YORK, "2026-10-31T12:00", ["01 05:30", "02 06:30"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-04T00:00", ["04 14:45", "05 15:15"]),
        ("15 2 * * *", LORD_HOWE, "2026-04-04T00:00", ["04 15:45", "05 15:45"]),
        # a zone that left out a whole day
        ("0 12 30 * *", "Pacific/Apia", "2011-12-01T00:00", ["30 10:00", "29 22:00"]),
        # nothing of the kind in UTC
        ("*/20 2 * * *", "UTC", "2026-03-29T02:10", ["29 02:20", "29 02:40", "30 02:00"]),
    ],
)
def test_ro_2_where_clocks_are_put_forward_or_back(cron, zone, start, expected):
    assert due(by_cron(cron, zone), start, len(expected)) == expected


def test_ro_2_within_the_repeated_hour_nothing_is_due_that_was_due_before_it():
    rule = by_cron("*/15 * * * *", BERLIN)
    for start in ("2026-10-25T01:00", "2026-10-25T01:20", "2026-10-25T01:59"):
        assert due(rule, start, 1) == ["25 02:00"]


@pytest.mark.parametrize(
    ("cron", "start", "expected"),
    [
        ("0 3 * * *", "2026-01-01T03:00", "2026-01-02T03:00"),
        ("0 3 * * *", "2026-01-01T02:59:59.999999", "2026-01-01T03:00"),
        ("0 0 * * sun", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("0 0 * * 7", "2026-01-01T00:00", "2026-01-04T00:00"),
        ("0 0 l * *", "2026-02-01T00:00", "2026-02-28T00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("0 0 13 * fri", "2026-01-02T00:00", "2026-01-09T00:00"),  # both days given: either
        ("5-10/5  4 1 jan *", "2026-01-01T04:05", "2026-01-01T04:10"),
    ],
)
def test_ro_2_five_fields(cron, start, expected):
    rule = by_cron(cron)
    assert rule.after(at(start), at(start)) == at(expected)


@pytest.mark.parametrize(
    "cron",
    [
        "",
        " ",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-1 * * * *",
        "@daily",
        "a b c d e",
        "-1 * * * *",
        "0 0 31 2 *",
        "0 0 30 feb *",
        "0 0 31 4,6,9,11 *",
        "* * * * mon#6",
        "1 * * * *; true",
        "１ * * * *",
        ",".join(["1"] * 200) + " * * * *",
        "9" * 100 + " * * * *",
    ],
)
def test_ro_2_what_is_no_cron_line_is_refused(cron):
    with pytest.raises(Invalid, match=r"^cron: "):
        by_cron(cron)


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Mars/Base",
        "../etc/passwd",
        "/etc/localtime",
        "Europe",
        "europe/berlin ",
        "UTC\0",
        "posixrules/x",
        "x" * 300,
    ],
)
def test_ro_2_what_is_no_time_zone_is_refused(zone):
    with pytest.raises(Invalid, match=r"^timezone: "):
        by_cron("0 3 * * *", zone)


@pytest.mark.parametrize("zone", ["UTC", BERLIN, "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_ro_2_names_of_zones(zone):
    assert check_zone(zone) == zone


@pytest.mark.parametrize("seconds", [59, 0, -60, 366 * 86400 + 1])
def test_ro_2_users_periods_are_a_minute_at_least(seconds):
    with pytest.raises(Invalid, match=r"^every_seconds: "):
        every(seconds)


def test_ro_6_a_period_keeps_to_its_grid_however_late_it_is_looked_at():
    rule, slot = every(3600), at("2026-01-01T00:10")
    assert rule.after(at("2026-01-01T00:10"), slot) == at("2026-01-01T01:10")
    assert rule.after(at("2026-01-05T17:59:30"), slot) == at("2026-01-05T18:10")
    assert rule.after(at("2025-12-31T20:00"), slot) == at("2025-12-31T20:10"), "whose clock was put back"


FIELDS = (
    st.sampled_from(["*", "0", "30", "*/15", "59", "1,31"]),
    st.sampled_from(["*", "1", "2", "*/2", "0-3", "23"]),
    st.sampled_from(["*", "1", "*/5", "l", "25-31"]),
    st.sampled_from(["*", "3,10", "*/3", "4"]),
    st.sampled_from(["*", "sun", "1-5", "6#1", "0,3"]),
)
LINES = st.tuples(*FIELDS).map(" ".join)
YEAR = datetime.timedelta(days=366)


def walls(cron, zone, start, end):
    """Every time of the zone's wall clock that fits the line, minute by minute of the clock, whether it exists or not."""
    from cronsim import CronSim

    first = start.astimezone(zone).replace(tzinfo=None)
    for wall in CronSim(cron.upper(), first - datetime.timedelta(hours=3)):
        if wall > end.astimezone(zone).replace(tzinfo=None) + datetime.timedelta(hours=3):
            return
        yield wall


@settings(max_examples=60, deadline=None)
@given(
    cron=LINES,
    zone=st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, "Africa/Casablanca", "Asia/Kathmandu"]),
    begins=st.integers(1_577_836_800, 1_893_456_000),
)
def test_ro_2_over_a_year_no_time_is_lost_and_none_is_doubled(cron, zone, begins):
    """Each wall-clock time of the line is served by exactly one tick, which is not before it, and each tick serves one."""
    days = datetime.timedelta(days=10) if cron.startswith(("* ", "*/15 ")) else YEAR
    begins = datetime.datetime.fromtimestamp(begins, UTC)
    info, rule = zoneinfo.ZoneInfo(zone), by_cron(cron, zone)
    ends = begins + days
    ticks, moment = [], begins
    while (moment := rule.after(moment, begins)) < ends:
        ticks.append(moment)
    assert all(earlier < later for earlier, later in pairwise(ticks))
    served = set()
    for wall in walls(cron, info, begins, ends):
        first = wall.replace(tzinfo=info, fold=0).astimezone(UTC)
        exists = first.astimezone(info).replace(tzinfo=None) == wall
        if not exists:  # the moment of the change: the first minute that shows a later time
            first = min(first, wall.replace(tzinfo=info, fold=1).astimezone(UTC))
            while first.astimezone(info).replace(tzinfo=None) < wall:
                first += datetime.timedelta(minutes=1)
        if begins < first < ends:
            served.add(first)
    assert served == set(ticks)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789*,/-#LWlw MONsun\n\t", max_size=40) | st.text(max_size=40))
def test_iv_1_any_text_is_a_cron_line_or_invalid(text):
    try:
        rule = by_cron(text)
    except Invalid:
        return
    first = rule.after(at("2026-01-01T00:00"), at("2026-01-01T00:00"))
    assert rule.upcoming(first, 3) == sorted(set(rule.upcoming(first, 3)))


@settings(max_examples=100, deadline=None)
@given(
    seconds=st.integers(recurrence.SHORTEST_SECONDS, recurrence.LONGEST_SECONDS),
    late=st.integers(0, 10**8),
)
def test_ro_6_the_next_time_is_later_by_no_more_than_a_period_and_on_the_grid(seconds, late):
    slot = at("2026-01-01T00:00")
    moment = slot + datetime.timedelta(seconds=late)
    following = every(seconds).after(moment, slot)
    assert 0 < (following - moment).total_seconds() <= seconds
    assert (following - slot).total_seconds() % seconds == 0
