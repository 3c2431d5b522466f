"""The duty that tells how much of a CPU the node's own programs take."""

from types import SimpleNamespace

from nodeagent.duties import cpu_fractions
from nodeagent.fake_host import FakeHost
from nodeagent.reporter import Findings, duties


def test_what_the_machine_says_becomes_a_fact():
    around = SimpleNamespace(host=FakeHost(), findings=Findings())
    cpu_fractions.run(around)  # type: ignore[arg-type]
    assert around.findings.facts == {"cpu_fractions": {"report": 0.01, "work": 0.02}}
    assert "cpu_fractions" in {duty.name for duty in duties()}
