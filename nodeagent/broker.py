"""Celery's way to Redis, without what a node has no use for: half of a worker's time went into that.

Celery writes every message that it took into Redis again until the task begins, so that another worker can take over what
a dead one had. Nobody takes over what a node was told: its report shows the loss, and the control plane says it again
(EN-3). Celery also makes a client for each command, and sends the events of a task one by one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery.bootsteps import StartStopStep
from kombu.transport import redis, virtual

EVENTS_SECONDS = 0.5
"""So long events for flower gather; two dozen are sent at once."""


class TakenMessages(redis.QoS):
    """What was taken and has not begun: only counted, and only here."""

    restore_at_shutdown = False
    append = virtual.QoS.append
    ack = virtual.QoS.ack
    reject = virtual.QoS.reject

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Nothing was written down that could be put back."""


class Channel(redis.Channel):
    QoS = TakenMessages
    _kept: Any = None

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """One client for all commands that do not wait; it takes a connection of the pool for each."""
        if client is None:
            if self._kept is None or self._kept.connection_pool is not self.pool:
                with super().conn_or_acquire() as made:
                    self._kept = made
            client = self._kept
        yield client


class Transport(redis.Transport):
    Channel = Channel


class GatheredEvents(StartStopStep):
    """Lets the events of tasks wait for each other a moment."""

    requires = ("celery.worker.consumer.events:Events",)

    def start(self, consumer: Any) -> None:
        self._is_due = False
        consumer.event_dispatcher.on_send_buffered = partial(self._noticed, consumer)

    def _noticed(self, consumer: Any) -> None:
        """Called by the pool's threads. One that is free again must wake the loop each time: else the next message waits."""
        consumer.hub.call_soon(self._plan, consumer)

    def _plan(self, consumer: Any) -> None:
        if not self._is_due:
            self._is_due = True
            consumer.hub.call_later(EVENTS_SECONDS, self._send, consumer)

    def _send(self, consumer: Any) -> None:
        self._is_due = False
        consumer.event_dispatcher.flush()
