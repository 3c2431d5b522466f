"""When something that recurs is due: every so many seconds, or by a cron expression in a time zone. No clock in here (RO-2).

Cron lines name times of a wall clock, and wall clocks are put forward and back. The rule: a time that does not exist is
due at the next minute that does, a time that comes twice is due once, the first time. So no time is lost and none is
doubled; several that fall into one gap are due together, once.
"""

import datetime
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from cronsim import CronSim, CronSimError

from sfweb.errors import Invalid

SHORTEST_SECONDS, LONGEST_SECONDS = 60, 366 * 86400
MOST_TEXT = 128
UTC = datetime.UTC
MINUTE = datetime.timedelta(minutes=1)
ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9+_-]*(/[A-Za-z][A-Za-z0-9+_-]*){0,2}\Z")
CRON_TEXT = re.compile(r"[0-9A-Za-z*,/#-]+( [0-9A-Za-z*,/#-]+){4}\Z")
A_MOMENT = datetime.datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """Either `every` seconds on a grid, or `cron` with five fields in `zone`. Made by `every` and `by_cron`."""

    every: int | None = None
    cron: str = ""
    zone: str = "UTC"

    def after(self, moment: datetime.datetime, slot: datetime.datetime) -> datetime.datetime:
        """The first due time later than `moment`. `slot`: a point of the grid of `every`, before or after `moment`."""
        if self.every is None:
            return next(self._slots(moment))
        period = datetime.timedelta(seconds=self.every)
        return slot + period * ((moment - slot) // period + 1)

    def upcoming(self, first: datetime.datetime, count: int) -> list[datetime.datetime]:
        """`count` due times; the first of them is `first`."""
        if self.every is not None:
            return [first + datetime.timedelta(seconds=self.every * number) for number in range(count)]
        return [first, *islice(self._slots(first), count - 1)]

    def _slots(self, moment: datetime.datetime) -> Iterator[datetime.datetime]:
        """Due times later than `moment`, in order."""
        zone = zoneinfo.ZoneInfo(self.zone)
        last = moment
        # The wall clock without its zone runs evenly; each time that it shows is a moment, never earlier than the one before.
        for wall in CronSim(self.cron, moment.astimezone(zone).replace(tzinfo=None, fold=0)):
            due = _moment_of(wall, zone)
            if due > last:
                yield due
                last = due


def every(seconds: int) -> Recurrence:
    """Raises Invalid outside of SHORTEST_SECONDS to LONGEST_SECONDS."""
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise Invalid(f"every_seconds: must be {SHORTEST_SECONDS} to {LONGEST_SECONDS}")
    return Recurrence(every=seconds)


def by_cron(text: str, zone: str = "UTC") -> Recurrence:
    """Raises Invalid for what is no cron line of five fields, for one that is never due, and for an unknown zone."""
    check_zone(zone)
    spelled = " ".join(text.split()).upper()
    if len(text) > MOST_TEXT or not CRON_TEXT.match(spelled):
        raise Invalid("cron: must be five fields: minute, hour, day of month, month, day of week")
    try:
        next(CronSim(spelled, A_MOMENT))
    except CronSimError as error:
        raise Invalid(f"cron: {str(error).lower()}") from None
    except StopIteration:
        raise Invalid("cron: is never due") from None
    return Recurrence(cron=spelled, zone=zone)


def check_zone(name: str) -> str:
    """An IANA time zone's name. Raises Invalid for any other, and for those that name a file and no zone."""
    if len(name) > MOST_TEXT or not ZONE_NAME.match(name) or not _is_zone(name):
        raise Invalid(f"timezone: there is no time zone {name[:64]}")
    return name


@lru_cache(maxsize=1024)
def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _moment_of(wall: datetime.datetime, zone: zoneinfo.ZoneInfo) -> datetime.datetime:
    """The first moment at which the zone's clocks show `wall`, or else the next minute that they show."""
    while True:
        moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
            return moment
        wall += MINUTE
