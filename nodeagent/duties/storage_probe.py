"""Is what is written to this node's storage really there (NH-1)? Told as a fact: the parts that failed, with the reason."""

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 30.0


def run(around: Surroundings) -> None:
    failed = dict(around.host.probe_storage())
    if failed and failed != around.findings.facts.get("storage"):
        around.notice("health", "storage failed its probe", parts=failed)
    around.findings.facts["storage"] = failed


DUTY = Duty(name="storage_probe", period=PERIOD_SECONDS, run=run)
