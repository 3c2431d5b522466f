"""Takes away events that are older than their type is kept, a bounded number of pages a run, oldest first (EV-9 to EV-13).

What is left over is told in the counts and taken by the next run. A run that fails says so in its duty's `last_error`: no
count is ever told for pages that were not deleted (EV-12).
"""

import time

from sfweb import metrics
from sfweb.domain import event_retention
from sfweb.models.event import EVENT_TYPES

PAGES = 80
"""Of each type in one run: 20,000 rows, and as much again of references."""


def run() -> dict[str, int]:
    counts = {"pruned": 0, "unfinished": 0}
    for kind in EVENT_TYPES:
        seconds = event_retention.kept_seconds(kind)
        if seconds is not None:
            pruned, finished = _prune(kind, seconds)
            counts["pruned"] += pruned
            counts["unfinished"] += not finished
    metrics.EVENT_ROWS.set(event_retention.estimated_rows())
    return counts


def _prune(kind: str, seconds: float) -> tuple[int, bool]:
    """How many events of the type went, and whether those were all that are too old.

    Half of the time the database is left to those who write.
    """
    pruned = 0
    for _ in range(PAGES):
        begin = time.monotonic()
        page = event_retention.prune_page(kind, seconds)
        metrics.EVENTS_PRUNED.labels(kind).inc(page)
        pruned += page
        if page < event_retention.PAGE:
            return pruned, True
        time.sleep(time.monotonic() - begin)
    return pruned, False
