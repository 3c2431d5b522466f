"""The Celery application, and `ring`: the one place that sends a task to a node.

A message is a doorbell (DESIGN: rule 4): acknowledged early, without ETA, result or retry of its own. What it says
stands in the step's row, and the node's next report shows what was lost. So `ring` swallows every broker error and then
leaves the broker alone for five seconds, and a request never fails or waits because Redis is down.
"""

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.signals import worker_init
from kombu import Queue

from nodeagent.wire import Json, StepMessage, dump

log = logging.getLogger(__name__)
QUIET_SECONDS = 5.0

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sfweb.settings")

app = Celery("steadyfist", set_as_current=False)


def broker_options(polling: float = 5.0, timeout: float = 15.0) -> Json:
    """Transport options; `timeout` must exceed `polling`, or an idle wait would look like a dead connection."""
    return {
        "visibility_timeout": 3600,
        "socket_timeout": timeout,
        "socket_connect_timeout": min(5.0, timeout),
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        "polling_interval": polling,
        "sep": ":",
    }


def configure(broker_url: str, *, publisher: bool = False) -> None:
    """Settings of the application; a publisher (an HTTP process) must fail fast."""
    app.conf.update(
        broker_url=broker_url,
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_eta_task_limit=100,
        worker_enable_remote_control=False,
        worker_send_task_events=True,
        task_send_sent_event=True,
        task_create_missing_queues=False,
        task_default_queue="control",
        task_queues=[Queue("control")],
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=10,
        broker_transport_options=broker_options(2.0, 3.0) if publisher else broker_options(),
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_max": 0.2},
        worker_soft_shutdown_timeout=20,
        timezone="UTC",
        enable_utc=True,
        beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler",
        beat_cron_starting_deadline=300,
        beat_max_loop_interval=5,
        worker_hijack_root_logger=False,
    )


class _Quiet:
    """Remembers that the broker failed a moment ago, so that nobody waits for it again at once."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def now(self) -> bool:
        return time.monotonic() < self._until

    def begin(self) -> None:
        with self._lock:
            self._until = time.monotonic() + QUIET_SECONDS


_quiet = _Quiet()


def queue_name(node: str, bulk: bool) -> str:
    return f"node.{node}.bulk" if bulk else f"node.{node}"


def ring(messages: Sequence[tuple[StepMessage, bool]]) -> int:
    """Send each message as a task named after its action to its node's queue; (message, bulk). Returns how many went out."""
    if not messages or _quiet.now():
        return 0
    try:
        with app.pool.acquire(block=True, timeout=2) as connection:
            push = connection.ensure(  # type: ignore[attr-defined]  # its stubs take the pool for one of producers
                connection, _push, max_retries=1, interval_start=0, interval_max=0.2
            )
            push(connection, messages)
    except Exception as error:  # whatever the broker does, the row is the truth
        _quiet.begin()
        log.warning(
            "broker unreachable, messages wait for the next report",
            extra={"error": str(error), "unsent": len(messages)},
        )
        return 0
    return len(messages)


def _push(connection: Any, messages: Sequence[tuple[StepMessage, bool]]) -> None:
    """All of them in one round trip, each a Celery message like any other: what `send_task` writes, without its detours."""
    channel = connection.default_channel
    pipeline = channel.client.pipeline(transaction=False)
    for message, bulk in messages:
        queue = queue_name(message.node, bulk)
        pipeline.lpush(queue, _letter(channel, message, queue))
    pipeline.execute()


def _letter(channel: Any, message: StepMessage, queue: str) -> str:
    task = app.amqp.as_task_v2(
        message.token,
        message.action,
        args=(dump(message),),
        argsrepr=f"({message.object_key!r}, generation={message.generation})",
        kwargsrepr="{}",
        ignore_result=True,
    )
    body, encoding = channel.encode_body(json.dumps(task.body), channel.body_encoding)
    properties = {
        **task.properties,
        "body_encoding": encoding,
        "delivery_tag": str(uuid.uuid4()),
        "delivery_mode": 1,
        "delivery_info": {"exchange": "", "routing_key": queue},
    }
    letter = channel.prepare_message(body, 0, "application/json", "utf-8", task.headers, properties)
    return json.dumps(letter)


@worker_init.connect
def _check_schema(**_: object) -> None:
    from sfweb.schema import require_current_schema

    require_current_schema()


def _configure_from_settings() -> None:
    from django.conf import settings

    configure(settings.BROKER_URL, publisher=os.environ.get("SF_ROLE", "api") not in ("control", "beat", "flower"))


_configure_from_settings()
