"""Fifty nodes and five hundred instances through every fault once: nothing is lost, doubled, leaked or forgotten."""

import os
from types import SimpleNamespace

import pytest

from lab import simulate, simulation_report
from lab.simulation_report import Run

pytestmark = pytest.mark.real
SIZE = ["--nodes", "50", "--instances", "500"]
if os.environ.get("PROVE"):
    SIZE = ["--nodes", "1000", "--instances", "20000", "--time-scale", "1", "--settle", "3600"]


@pytest.mark.timeout(4 * 3600 if os.environ.get("PROVE") else 300)
def test_a_crowd_of_nodes_settles_and_everything_agrees(tmp_path):
    options = simulate.parse([*SIZE, "--out", str(tmp_path)])
    run = simulate.simulate(options)
    simulation_report.write(run, tmp_path)
    figures = run.figures()
    print({name: figures[name] for name in ("settled_s", "operations_per_s", "steps_per_s", "answer_ms", "nodes_said")})
    assert run.wrong == []
    assert {name for _, name in run.marks} == {"deaths", "flush", "mariadb", "workers"}
    said = figures["nodes_said"]
    assert min(said["died"], said["returned"]) >= options.deaths
    assert said["lost"] > 0 and said["doubled"] > 0
    assert run.kinds["instance_create"]["operations"] == options.instances
    assert "<img" in (tmp_path / "report.html").read_text()


def test_an_instance_without_a_row_was_deleted_long_ago_or_is_lost():
    rows = [{"uuid": "a", "name": "a", "state": "created"}, {"uuid": "b", "name": "b", "state": "error"}]
    client = SimpleNamespace(ok=lambda method, path: rows)
    plane = SimpleNamespace(sql=lambda statement: [])
    assert simulation_report.disagreements(plane, client, {"a"}, {"c"}) == []
    assert simulation_report.disagreements(plane, client, {"a", "d"}, {"b"}) == [
        "instance d is lost",
        "instance b is error, not deleted",
    ]


def test_a_run_that_went_wrong_says_so(tmp_path):
    effects = tmp_path / "effects"
    effects.mkdir()
    (effects / "0").write_text(
        "sim1 create_disk a/vda\nsim2 create_disk a/vda\nsim1 remove_instance_files a\nsim1 start_domain a\n"
    )
    found = simulation_report.happened_twice(simulation_report.effects_in(effects))
    assert found == [
        "sim2: create_disk a/vda for the 2. time",
        "sim1: start_domain a after its files were removed",
    ]
    run = Run(options=vars(simulate.parse(["--out", str(tmp_path)])) | {"out": ""}, wrong=found)
    simulation_report.write(run, tmp_path)
    assert "2 things are wrong" in (tmp_path / "report.html").read_text()


def test_en_20_of_many_starts_on_one_network_its_carrier_hears_few_times(tmp_path):
    """At most a tenth as many times as there are starts: 120 here, 600 to prove it."""
    starts = 600 if os.environ.get("PROVE") else 120
    words = ["--nodes", "20", "--instances", str(starts), "--networks", "1", "--deletes", "0", "--powers", "0"]
    run = simulate.simulate(simulate.parse([*words, "--faults", "--time-scale", "1", "--out", str(tmp_path)]))
    assert run.wrong == []
    assert run.kinds["instance_create"]["operations"] == starts
    print({name: run.kinds[name]["operations"] for name in ("router_on_node", "network_on_node")})
    assert run.kinds["router_on_node"]["operations"] <= starts / 10
