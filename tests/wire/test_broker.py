"""The agent's way to Redis: events of tasks gather, and whoever is free again wakes the loop."""

from collections.abc import Callable
from types import SimpleNamespace

from nodeagent.broker import EVENTS_SECONDS, GatheredEvents


class Hub:
    """Of Celery's loop, what wakes it and what it does later."""

    def __init__(self) -> None:
        self.woken: list[Callable[[], None]] = []
        self.later: list[tuple[float, Callable[[], None]]] = []

    def call_soon(self, act, *args) -> None:
        self.woken.append(lambda: act(*args))

    def call_later(self, seconds, act, *args) -> None:
        self.later.append((seconds, lambda: act(*args)))

    def turn(self) -> None:
        for act in self.woken:
            act()
        self.woken.clear()


def test_every_event_wakes_the_loop_and_all_of_a_moment_are_sent_together():
    sent = []
    dispatcher = SimpleNamespace(on_send_buffered=None, flush=lambda: sent.append("sent"))
    consumer = SimpleNamespace(hub=Hub(), event_dispatcher=dispatcher)
    GatheredEvents(consumer).start(consumer)
    for _ in range(3):
        dispatcher.on_send_buffered()
        assert len(consumer.hub.woken) == 1  # a thread is free: the loop asks for the next message now
        consumer.hub.turn()
    assert [seconds for seconds, _ in consumer.hub.later] == [EVENTS_SECONDS] and sent == []
    consumer.hub.later.pop()[1]()
    assert sent == ["sent"]
    dispatcher.on_send_buffered()
    consumer.hub.turn()
    assert len(consumer.hub.later) == 1
