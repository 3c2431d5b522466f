"""What domains did by themselves since the last look: a guest that shut itself down tells its owner's wish (EN-13)."""

import queue

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 1.0


def run(around: Surroundings) -> None:
    while True:
        try:
            event = around.host.events.get_nowait()
        except queue.Empty:
            return
        if event.cause == "guest":
            around.findings.powered_off.add(event.instance)
        elif event.cause == "crashed":
            around.notice("status", "guest crashed", "instance", event.instance)


DUTY = Duty(name="domain_events", period=PERIOD_SECONDS, run=run)
