"""Which guests' agents answer, since when, and when those guests were started."""

import dataclasses

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 10.0


def run(around: Surroundings) -> None:
    around.findings.facts["guests"] = {
        instance: dataclasses.asdict(state) for instance, state in around.host.guest_states().items()
    }


DUTY = Duty(name="guest_agents", period=PERIOD_SECONDS, run=run)
