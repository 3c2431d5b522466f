"""The capacity duty: what it tells of the node, and what it warns of."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from nodeagent.config import Config
from nodeagent.duties import capacity
from nodeagent.fake_host import FakeHost
from nodeagent.reporter import Findings


class Around:
    """Surroundings that keep what is noticed."""

    def __init__(self, mtu: int) -> None:
        offered = FakeHost().capacity()
        extra = {**offered.extra, "mesh_mtu": mtu}
        self.host = SimpleNamespace(
            capacity=lambda: SimpleNamespace(cpus=1, memory_mb=1, disk_gb=1, extra=extra),
        )
        self.config = Config(name="n1", mesh_address="127.0.0.1", run_dir=str(Path("/nonexistent")))
        self.findings = Findings()
        self.noticed: list[dict[str, object]] = []

    def notice(self, kind: str, message: str, **extra: object) -> None:
        self.noticed.append(extra)


@pytest.mark.parametrize(("mtu", "warnings"), [(1500, 1), (1400, 1), (1501, 0), (9000, 0)])
def test_hp_5_a_small_mtu_is_warned_of_once_and_not_with_every_look(mtu: int, warnings: int) -> None:
    around = Around(mtu)
    for _ in range(3):
        capacity.run(around)  # type: ignore[arg-type]
    assert around.noticed == [{"mtu": mtu}] * warnings
    assert around.findings.facts["mesh_mtu"] == mtu
