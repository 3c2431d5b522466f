"""How much of a CPU the node's own programs take: for whoever looks for one that spins."""

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 300.0
"""As often as facts are repeated anyway, so that it costs no report of its own."""


def run(around: Surroundings) -> None:
    around.findings.facts["cpu_fractions"] = dict(around.host.cpu_fractions())


DUTY = Duty(name="cpu_fractions", period=PERIOD_SECONDS, run=run)
