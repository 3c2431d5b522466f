"""The journal forgets what no copy can ask for any more."""

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 600.0


def run(around: Surroundings) -> None:
    around.journal.trim()


DUTY = Duty(name="journal", period=PERIOD_SECONDS, run=run)
