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


def test_it_looks_again_until_no_program_came_or_went():
    """At the first look after a start the other programs are not up yet; five minutes of half an answer would be a lie."""
    seen = iter(({"report": 0.9}, {"report": 0.1, "work": 0.5}, {"report": 0.1, "work": 0.2}))
    machine = SimpleNamespace(cpu_fractions=lambda: next(seen))
    around = SimpleNamespace(host=machine, findings=Findings())
    asked_again = []
    for _ in range(3):
        around.findings.again.clear()
        cpu_fractions.run(around)  # type: ignore[arg-type]
        asked_again.append("cpu_fractions" in around.findings.again)
    assert asked_again == [True, True, False]
    assert around.findings.facts == {"cpu_fractions": {"report": 0.1, "work": 0.2}}
