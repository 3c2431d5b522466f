"""Marks nodes that have fallen silent as missing (EN-12). Their return is noticed by their own report.

After a gap of our own, the first look for a minute or more, nobody is marked until every node has had its time to report
again: an outage of the control plane or of the database is no silence of the nodes.
"""

import time

from django.conf import settings

from sfweb.domain import node_life
from sfweb.models import Duty
from sfweb.models.fields import database_now

GAP_SECONDS = 60.0
GRACE_SECONDS = 90.0

LISTEN_SECONDS = 10.0
"""Agents that were not answered try again every two."""


def run() -> dict[str, int]:
    """`looked_at` and `marks_from` are Unix times of the database, for the next run to read."""
    now = int(database_now().timestamp())
    before = Duty.objects.filter(name="node_states").values_list("last_result", flat=True).first() or {}
    marks_from = int(before.get("marks_from", 0))
    if "looked_at" in before and now - int(before["looked_at"]) > GAP_SECONDS * settings.TIME_SCALE:
        marks_from = now + round(GRACE_SECONDS * settings.TIME_SCALE)
    missing = node_life.mark_missing(_listen) if now >= marks_from else []
    return {"missing": len(missing), "looked_at": now, "marks_from": marks_from}


def _listen() -> None:
    time.sleep(LISTEN_SECONDS * settings.TIME_SCALE)
