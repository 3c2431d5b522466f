"""The duty that tells what the machine is busy with."""

from types import SimpleNamespace

from nodeagent.duties import load
from nodeagent.fake_host import FakeHost
from nodeagent.reporter import Findings, duties


def test_sc_26_what_the_machine_measures_becomes_a_fact():
    around = SimpleNamespace(host=FakeHost(), findings=Findings())
    load.run(around)  # type: ignore[arg-type]
    assert around.findings.facts == {"measured": {"cpus": 0.5, "memory_mb": 1024, "disk_gb": 10}}
    assert "load" in {duty.name for duty in duties()}
