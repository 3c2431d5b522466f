"""Console logs are held to their limit (SE-10), on hosts that have any."""

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 30.0


def run(around: Surroundings) -> None:
    around.host.trim_console_logs()


DUTY = Duty(name="console_logs", period=PERIOD_SECONDS, run=run)
