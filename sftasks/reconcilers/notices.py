"""Sends notices: to each channel one message with all that waits for it, at most one for each pause of the channel.

What is not taken is tried again for a day, ever more seldom. A process that dies after sending and before it has written so
sends again: a notice has a uuid by which a receiver knows it. Looks once a run at pools that are nearly used up.
"""

from functools import partial
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q

from sftasks import messages
from sftasks.passes import one_of_many
from sfweb.domain import notices, pool_levels
from sfweb.domain.transactions import durable
from sfweb.models import Delivery, Notice, NoticeChannel
from sfweb.models.fields import FromNow, UtcNow
from sfweb.models.state import DeliveryState

PAGE = 100
BACKOFF_SECONDS = (60.0, 300.0, 900.0, 3600.0)
MOST_ATTEMPTS = 26
"""With an hour between the last ones, a day."""
KEPT_SECONDS = 30 * 86400.0
NEARLY_FULL, REMIND_SECONDS = 0.9, 86400.0


def run() -> dict[str, int]:
    counts = {"low": one_of_many(_tell_of_pools, "pools could not be looked at"), "sent": 0, "failed": 0}
    for channel in _rested():
        waiting = _waiting(channel)
        if waiting:
            sent = one_of_many(partial(_send, channel, waiting), "a channel failed", channel=channel.name)
            counts["sent" if sent else "failed"] += len(waiting)
    Notice.objects.filter(pk__in=list(_old())).delete()
    return counts


def _rested() -> list[NoticeChannel]:
    """Channels whose last message is a pause ago."""
    rested = "sent_at IS NULL OR sent_at <= UTC_TIMESTAMP(6) - INTERVAL pause * %s SECOND"
    return list(NoticeChannel.objects.filter(enabled=True).extra(where=[rested], params=[settings.TIME_SCALE]))


def _waiting(channel: NoticeChannel) -> list[Delivery]:
    rows = Delivery.objects.filter(channel=channel, state=DeliveryState.WAITING)
    due = rows.filter(Q(not_before=None) | Q(not_before__lte=UtcNow()))
    return list(due.select_related("notice").order_by("pk")[:PAGE])


def _send(channel: NoticeChannel, waiting: list[Delivery]) -> int:
    try:
        messages.send(channel, [row.notice for row in waiting])
    except messages.Unsent as error:
        _put_off(waiting, str(error))
        return 0
    _mark(channel, waiting)
    return len(waiting)


@durable
def _mark(channel: NoticeChannel, sent: list[Delivery]) -> None:
    NoticeChannel.objects.filter(pk=channel.pk).update(sent_at=UtcNow())
    rows = Delivery.objects.filter(pk__in=[row.pk for row in sent])
    rows.update(state=DeliveryState.SENT, attempts=F("attempts") + 1, problem="")


@durable
def _put_off(waiting: list[Delivery], problem: str) -> None:
    for row in waiting:
        last = row.attempts + 1 >= MOST_ATTEMPTS
        pause = BACKOFF_SECONDS[min(row.attempts, len(BACKOFF_SECONDS) - 1)] * settings.TIME_SCALE
        Delivery.objects.filter(pk=row.pk).update(
            attempts=F("attempts") + 1,
            problem=problem[:255],
            not_before=FromNow(pause),
            state=DeliveryState.FAILED if last else DeliveryState.WAITING,
        )


def _old() -> list[UUID]:
    rows = Notice.objects.filter(created_at__lt=FromNow(-KEPT_SECONDS)).order_by("created_at")
    return list(rows.values_list("pk", flat=True)[:PAGE])


def _tell_of_pools() -> int:
    told = 0
    for name, used, size in pool_levels.levels():
        if used < NEARLY_FULL * size or notices.told_lately("pool.low", f"pool:{name}", REMIND_SECONDS):
            continue
        notices.tell("pool.low", f"pool:{name}", f"{used} of {size} of {name} are used", used=used, size=size)
        told += 1
    return told
