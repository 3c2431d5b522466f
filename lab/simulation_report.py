"""What a simulation has shown: whether everything agrees, its figures, and a page to look at."""

import base64
import html
import io
import json
import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.plane import Client, Plane

ONCE_A_LIFE = ("create_disk", "write_config_drive", "remove_instance_files")
"""Verbs that may change something once for each instance, however often its power was switched."""
NEVER_AFTER = ("create_disk", "start_domain")
"""Verbs that may not follow the removal of the instance's files."""
Effect = tuple[str, str, str]
"""Node, verb, thing."""
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One look. Seconds since the beginning; operations by state; requests that are still to be made."""

    at: float
    operations: dict[str, int]
    left: int


@dataclass
class Run:
    """Everything that one simulation has seen. `wrong` is empty when all agrees."""

    options: dict[str, Any]
    began: float = 0.0
    asked_seconds: float = 0.0
    settled_seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    answer_seconds: list[float] = field(default_factory=list)
    kinds: dict[str, dict[str, Any]] = field(default_factory=dict)
    nodes_said: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        steps = sum(kind["steps"] for kind in self.kinds.values())
        operations = sum(kind["operations"] for kind in self.kinds.values())
        took = self.settled_seconds or 1.0
        return {
            "options": self.options,
            "asked_for_s": round(self.asked_seconds, 1),
            "settled_s": round(self.settled_seconds, 1),
            "operations": operations,
            "operations_per_s": round(operations / took, 1),
            "steps": steps,
            "steps_per_s": round(steps / took, 1),
            "answer_ms": {name: round(1000 * value, 1) for name, value in spread(self.answer_seconds).items()},
            "kinds": self.kinds,
            "answers": self.answers,
            "faults": [[round(at, 1), name] for at, name in self.marks],
            "nodes_said": dict(Counter(line["what"] for line in self.nodes_said)),
            "wrong": self.wrong,
        }


def spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "p50": statistics.median(ordered),
        "p90": ordered[int(len(ordered) * 0.9)],
        "p99": ordered[int(len(ordered) * 0.99)],
        "max": ordered[-1],
    }


def disagreements(plane: Plane, client: Client, alive: set[str], gone: set[str]) -> list[str]:
    """What clients were told, the rows, and the counters against each other."""
    found = []
    shown: dict[str, Any] = {}
    page: list[Any] = client.ok("GET", "/instances?all=true&limit=10000")
    offset = 0
    while page:
        shown |= {row["uuid"]: row for row in page}
        offset += len(page)
        page = client.ok("GET", f"/instances?all=true&limit=10000&offset={offset}") if len(page) == 10000 else []
    states = {ref: row["state"] for ref, row in shown.items()}
    found += [f"instance {ref} is {states.get(ref, 'lost')}" for ref in alive if states.get(ref) != "created"]
    # what was deleted more than an hour ago has no row any more
    found += [
        f"instance {ref} is {states[ref]}, not deleted" for ref in gone if states.get(ref, "deleted") != "deleted"
    ]
    names = Counter(row["name"] for row in shown.values())
    found += [f"{name} was made {count} times" for name, count in names.items() if count > 1]
    sums = "SUM(cpus) AS cpus, SUM(memory_mb) AS memory_mb, SUM(disk_gb) AS disk_gb"
    drift = plane.sql(
        "SELECT c.node_id, c.used_cpus, r.cpus FROM node_capacity c LEFT JOIN"
        f" (SELECT node_id, {sums} FROM placement_reservations WHERE state IN ('claimed', 'consumed') GROUP BY node_id) r"
        " ON r.node_id = c.node_id WHERE c.used_cpus <> COALESCE(r.cpus, 0)"
        " OR c.used_memory_mb <> COALESCE(r.memory_mb, 0) OR c.used_disk_gb <> COALESCE(r.disk_gb, 0)"
    )
    found += [f"counters of node {row[0]}: {row[1]} CPUs, reserved {row[2]}" for row in drift]
    leaked = plane.sql(
        "SELECT r.instance_id FROM placement_reservations r JOIN instances i ON i.uuid = r.instance_id"
        " WHERE r.state IN ('claimed', 'consumed') AND i.state = 'deleted'"
    )
    found += [f"instance {row[0]} is deleted and holds room" for row in leaked]
    over = plane.sql(
        "SELECT node_id FROM node_capacity WHERE used_cpus > limit_cpus OR used_memory_mb > limit_memory_mb"
        " OR used_disk_gb > limit_disk_gb"
    )
    found += [f"node {row[0]} is over its limit" for row in over]
    twice = plane.sql(
        "SELECT network_id, address, COUNT(*) FROM interfaces WHERE state <> 'deleted' AND address IS NOT NULL"
        " GROUP BY network_id, address HAVING COUNT(*) > 1"
    )
    return found + [f"address {row[1]} of network {row[0]} is used {row[2]} times" for row in twice]


def effects_in(directory: Path) -> Iterator[Effect]:
    """What the simulated nodes wrote down, node after node."""
    for file in sorted(directory.iterdir()):
        for line in file.read_text().splitlines():
            node, verb, thing = line.split(" ", 2)
            yield node, verb, thing


def happened_twice(
    effects: Iterable[Effect], once: Collection[str] = ONCE_A_LIFE, never_after: Collection[str] = NEVER_AFTER
) -> list[str]:
    """Effects on the machines that a life allows `once`, and those that may not come after its end."""
    found = []
    seen: Counter[tuple[str, str]] = Counter()
    removed: set[str] = set()
    for node, verb, thing in effects:
        instance = thing.partition("/")[0]
        if verb in never_after and instance in removed:
            found.append(f"{node}: {verb} {thing} after its files were removed")
        if verb not in once:
            continue
        seen[verb, thing] += 1
        if seen[verb, thing] > 1:
            found.append(f"{node}: {verb} {thing} for the {seen[verb, thing]}. time")
        if verb == "remove_instance_files":
            removed.add(instance)
    return found


def measure(plane: Plane, run: Run) -> None:
    """How long operations waited and ran, by kind, from their rows."""
    rows = plane.sql(
        "SELECT o.kind, o.state, TIMESTAMPDIFF(MICROSECOND, o.created_at, COALESCE(o.started_at, o.finished_at)) / 1e6,"
        " TIMESTAMPDIFF(MICROSECOND, o.created_at, o.finished_at) / 1e6,"
        " (SELECT COUNT(*) FROM steps s WHERE s.operation_id = o.uuid), o.joined FROM operations o"
        " WHERE o.finished_at IS NOT NULL"
    )
    by_kind: dict[str, list[list[str]]] = {}
    for row in rows:
        by_kind.setdefault(row[0], []).append(row)
    for kind, those in sorted(by_kind.items()):
        run.kinds[kind] = {
            "operations": len(those),
            "states": dict(Counter(row[1] for row in those)),
            "steps": sum(int(row[4]) for row in those),
            "joined": sum(int(row[5]) for row in those),
            "wait_s": {name: round(value, 2) for name, value in spread([float(row[2]) for row in those]).items()},
            "whole_s": {name: round(value, 2) for name, value in spread([float(row[3]) for row in those]).items()},
        }


def write(run: Run, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    figures = run.figures()
    (out / "report.json").write_text(json.dumps(figures, indent=1))
    verdict = "everything agrees" if not run.wrong else f"{len(run.wrong)} things are wrong"
    pictures = "".join(f'<img alt="" src="data:image/png;base64,{picture}">' for picture in _pictures(run))
    (out / "report.html").write_text(
        "<!doctype html><meta charset=utf-8><title>Simulation</title>"
        "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto}img{width:100%}pre{overflow:auto}</style>"
        f"<h1>{figures['options']['nodes']} nodes, {figures['options']['instances']} instances: {verdict}</h1>"
        f"<p>{figures['operations']} operations and {figures['steps']} steps in {figures['settled_s']} s: "
        f"{figures['operations_per_s']} operations and {figures['steps_per_s']} steps a second.</p>"
        f"{pictures}<h2>Figures</h2><pre>{html.escape(json.dumps(figures, indent=1))}</pre>"
    )


def _pictures(run: Run) -> list[str]:
    """PNG of what happened over time, and of how long operations took."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (upper, lower) = pyplot.subplots(2, 1, figsize=(10, 8), sharex=True)
    at = [sample.at for sample in run.samples]
    ended = [sum(sample.operations.get(state, 0) for state in ENDED) for sample in run.samples]
    upper.plot(at, [sum(sample.operations.values()) - end for sample, end in zip(run.samples, ended, strict=True)])
    upper.set_ylabel("open operations")
    rates = [
        (later - earlier) / (end - begin)
        for begin, end, earlier, later in zip(at, at[1:], ended, ended[1:], strict=False)
    ]
    lower.plot(at[1:], rates)
    lower.set_ylabel("operations ended a second")
    lower.set_xlabel("seconds")
    for moment, name in run.marks:
        for axes in (upper, lower):
            axes.axvline(moment, linestyle=":", color="grey")
        upper.annotate(name, (moment, 1.0), xycoords=("data", "axes fraction"), rotation=90, va="top")
    times = _as_text(figure)
    pyplot.close(figure)
    figure, axes = pyplot.subplots(figsize=(10, 5))
    kinds = sorted(run.kinds, key=lambda kind: -run.kinds[kind]["operations"])[:12]
    for number, name in enumerate(("p50", "p99", "max")):
        values = [run.kinds[kind]["whole_s"].get(name, 0) for kind in kinds]
        axes.barh([position + 0.27 * number for position in range(len(kinds))], values, height=0.25, label=name)
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlabel("seconds from the request to the end")
    axes.legend()
    spans = _as_text(figure)
    pyplot.close(figure)
    return [times, spans]


def _as_text(figure: Any) -> str:
    with io.BytesIO() as file:
        figure.savefig(file, format="png", bbox_inches="tight", dpi=90)
        return base64.b64encode(file.getvalue()).decode()
