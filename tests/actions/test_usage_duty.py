"""The duty that tells what guests and networks have used."""

from types import SimpleNamespace

from nodeagent.duties import usage
from nodeagent.host import Usage
from nodeagent.reporter import duties


def test_what_each_has_used_is_an_event_of_its_own():
    told = []
    host = SimpleNamespace(
        usage=lambda: Usage(instances={"one": {"cpu_seconds": 2.5}}, networks={"net": {"mesh": {"sent_bytes": 7}}})
    )
    around = SimpleNamespace(host=host, notice=lambda *words, **extra: told.append((words, extra)))
    usage.run(around)  # type: ignore[arg-type]
    assert told == [
        (("usage", "what it has used", "instance", "one"), {"cpu_seconds": 2.5}),
        (("usage", "what it has used", "network", "net"), {"mesh": {"sent_bytes": 7}}),
    ]
    assert "usage" in {duty.name for duty in duties()}
