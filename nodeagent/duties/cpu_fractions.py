"""How much of a CPU the node's own programs take: for whoever looks for one that spins."""

from nodeagent.host import PROGRAMS
from nodeagent.reporter import Duty, Surroundings

NAME = "cpu_fractions"
PERIOD_SECONDS = 300.0
"""As often as facts are repeated anyway, so that it costs no report of its own."""


def run(around: Surroundings) -> None:
    """Again with the next report while one is missing, or programs come and go: after a start the others are not up yet."""
    found = dict(around.host.cpu_fractions())
    if found.keys() != around.findings.facts.get(NAME, {}).keys() or not found.keys() >= set(PROGRAMS):
        around.findings.again.add(NAME)
    around.findings.facts[NAME] = found


DUTY = Duty(name=NAME, period=PERIOD_SECONDS, run=run)
