"""The duty that tells how much of a CPU the node's own programs take."""

from types import SimpleNamespace

from nodeagent.duties import cpu_fractions
from nodeagent.fake_host import FakeHost
from nodeagent.host import PROGRAMS
from nodeagent.reporter import Findings, duties


def test_what_the_machine_says_becomes_a_fact():
    around = SimpleNamespace(host=FakeHost(), findings=Findings())
    cpu_fractions.run(around)  # type: ignore[arg-type]
    assert around.findings.facts == {"cpu_fractions": dict.fromkeys(PROGRAMS, 0.01)}
    assert "cpu_fractions" in {duty.name for duty in duties()}


def test_it_looks_again_until_all_programs_are_there_and_none_comes_or_goes():
    """At the first look after a start the other programs are not up yet; five minutes of half an answer would be a lie."""
    all_of_them = dict.fromkeys(PROGRAMS, 0.2)
    seen = iter(({"report": 0.9}, {"report": 0.1}, all_of_them, all_of_them))
    machine = SimpleNamespace(cpu_fractions=lambda: next(seen))
    around = SimpleNamespace(host=machine, findings=Findings())
    asked_again = []
    for _ in range(4):
        around.findings.again.clear()
        cpu_fractions.run(around)  # type: ignore[arg-type]
        asked_again.append("cpu_fractions" in around.findings.again)
    assert asked_again == [True, True, True, False], "also when two looks in a row miss the same"
    assert around.findings.facts == {"cpu_fractions": all_of_them}
