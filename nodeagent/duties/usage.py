"""What guests and networks have used, as events of theirs: for whoever settles accounts, or looks for a busy neighbour."""

from nodeagent.reporter import Duty, Surroundings

PERIOD_SECONDS = 3600.0
"""A row for each guest and network each time: 10,000 guests make 240,000 a day, half of what `prune_events` can delete."""


def run(around: Surroundings) -> None:
    found = around.host.usage()
    for object_type, used in (("instance", found.instances), ("network", found.networks)):
        for identity, counters in used.items():
            around.notice("usage", "what it has used", object_type, identity, **counters)


DUTY = Duty(name="usage", period=PERIOD_SECONDS, run=run)
