"""What the machine is busy with, whoever makes it so: shown beside what is committed, and never placed by (SC-12)."""

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 300.0
"""As often as facts are repeated anyway, so that it costs no report of its own."""


def run(around: Surroundings) -> None:
    around.findings.facts["measured"] = dict(around.host.measured())


DUTY = Duty(name="load", period=PERIOD_SECONDS, run=run)
