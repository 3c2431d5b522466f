"""Takes away versions beyond the number that their artifact keeps, where the update itself did not (AR-12).

What schedules made is not counted: each tick trims its own schedule's.
"""

from django.db.models import Count, F, Q

from sftasks.operations import artifact_trim
from sfweb.domain import pending
from sfweb.domain.callers import CLUSTER
from sfweb.errors import NotFound
from sfweb.models import Artifact
from sfweb.models.state import State

PAGE = 200


def run() -> dict[str, int]:
    ready = Count("versions", filter=Q(versions__blob__state=State.CREATED, versions__snapshot_set__schedule_uuid=None))
    rows = Artifact.objects.filter(state=State.CREATED).annotate(ready=ready).filter(ready__gt=F("max_versions"))
    trimmed = 0
    for artifact in rows.order_by("pk")[:PAGE]:
        if pending.is_pending("artifact", artifact.pk):
            continue
        try:
            artifact_trim.request(CLUSTER, artifact)
        except NotFound:  # deleted in this moment
            continue
        trimmed += 1
    return {"trimmed": trimmed}
