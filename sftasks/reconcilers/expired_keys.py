"""Ends keys that expired a while ago, so that their names do not stay for ever (AU-6).

That is hygiene: an expired key opens nothing from the moment of its expiry. Only expired keys are looked at, and each is
looked at again under its lock, so a living key is never taken (AU-7).
"""

from django.conf import settings

from sfweb.domain.keys import reap
from sfweb.models import Key
from sfweb.models.fields import FromNow
from sfweb.models.state import State

PAGE = 500


def run() -> dict[str, int]:
    grace = settings.NAMESPACE_KEY_REAP_GRACE
    if not grace:
        return {"ended": 0}
    old = Key.objects.filter(state=State.CREATED, expires_at__lt=FromNow(-grace)).order_by("expires_at")
    return {"ended": sum(reap(key, grace) for key in list(old.values_list("pk", flat=True)[:PAGE]))}
