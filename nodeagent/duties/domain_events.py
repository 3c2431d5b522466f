"""What domains did by themselves since the last look (EN-13).

A guest that shut itself down tells its owner's wish. One that crashed is shown by a fresh inventory in the same report, so
that it is started again at once.
"""

import queue

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 1.0


def run(around: Surroundings) -> None:
    while True:
        try:
            event = around.events.get_nowait()
        except queue.Empty:
            return
        if event.cause == "guest":
            around.findings.powered_off.add(event.instance)
        elif event.cause == "crashed":
            around.notice("status", "guest crashed", "instance", event.instance)
            around.findings.again.add("inventory")


DUTY = Duty(name="domain_events", period=PERIOD_SECONDS, run=run)
