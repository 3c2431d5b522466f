"""What domains did by themselves since the last look (EN-13).

A guest that shut itself down tells its owner's wish, as of the wish that the node had followed then: what the owner asked
for since is newer and stands. One that crashed is shown by a fresh inventory in the same report, so that it is started
again at once. One that a failing disk has paused stays as it is. Where an agent has come or gone, the guests are asked.
"""

import queue

from nodeagent.host import DomainEvent
from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 1.0


def run(around: Surroundings) -> None:
    while True:
        try:
            event = around.events.get_nowait()
        except queue.Empty:
            return
        if event.cause == "guest":
            _note_shutdown(around, event)
        elif event.cause == "disk_error":
            around.findings.disk_errors.add(event.instance)
        elif event.cause == "crashed":
            around.notice("status", "guest crashed", "instance", event.instance)
            around.findings.again.add("inventory")
        elif event.cause == "agent":
            around.findings.again.add("guest_agents")


def _note_shutdown(around: Surroundings, event: DomainEvent) -> None:
    """One that runs again meanwhile has been started by a newer wish."""
    try:
        runs = around.host.domain(event.instance) is not None
    except Exception:
        around.events.put(event)
        raise
    known = around.journal.known(f"instance:{event.instance}")
    if known is not None and not runs:
        around.findings.powered_off[event.instance] = known.generation


DUTY = Duty(name="domain_events", period=PERIOD_SECONDS, run=run)
