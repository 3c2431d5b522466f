"""P20: what a cluster costs that has nothing to do: without nodes, with three, with a thousand, in one run.

    .venv/bin/python -m bench.idle [--nodes 0,3,1000] [--seconds 120]

Three are nodes as they are started, three processes each; more of them are simulated (`lab/simulated_nodes.py`): they say and
ask the same, but share one consumer of their queues, so what they ask of Redis is counted of the three. Everything has its
usual period.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

from bench import figures
from bench.beside import connect
from lab import simulate
from lab.child import Process
from lab.plane import Plane, Size

SIMULATED_FROM = 10
SETTLE_SECONDS = 90.0
OURS = ("api", "internal", "control", "beat")
WRITES = ("Com_insert", "Com_update", "Com_delete", "Com_replace")
TICKS = 100.0
"""The kernel's clock ticks a second, in /proc (USER_HZ)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", default="0,3,1000")
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    for nodes in map(int, options.nodes.split(",")):
        with ExitStack() as stack:
            plane = begin(nodes, stack)
            time.sleep(SETTLE_SECONDS)
            measure(plane, nodes, options.seconds)


def begin(nodes: int, stack: ExitStack) -> Plane:
    """A plane whose nodes have all reported."""
    simulated = nodes >= SIMULATED_FROM
    plane = Plane(Size(nodes=0 if simulated else nodes, time_scale=1.0))
    stack.callback(plane.close)
    plane.start()
    plane.kill("flower")
    if simulated:
        words = ["--nodes", str(nodes), "--instances", str(nodes), "--time-scale", "1", "--faults"]
        crowd = simulate.Crowd(plane, simulate.parse(words))
        stack.callback(crowd.close)
        crowd.start()
    return plane


def measure(plane: Plane, nodes: int, seconds: float) -> None:
    rows = connect(plane)
    before, begin = counts(plane, rows), time.monotonic()
    time.sleep(seconds)
    after, took = counts(plane, rows), time.monotonic() - begin
    each = {name: (after[name] - before[name]) / took for name in after}
    writes = sum(each[name] for name in WRITES)
    figures.say(
        what="P20",
        nodes=nodes,
        seconds=round(took),
        percent_of_a_core={name: round(100 * each[f"cpu {name}"], 1) for name in (*OURS, "mariadb", "redis")},
        ours_percent_of_a_core=round(100 * sum(each[f"cpu {name}"] for name in OURS), 1),
        a_second={
            "selects": round(each["Com_select"], 1),
            "writes": round(writes, 1),
            "redis commands": round(each["redis"], 1),
        },
        goal="at 1,000 nodes ours <= 20 % of a core, <= 100 writes and <= 200 statements a second",
    )


def counts(plane: Plane, rows) -> dict[str, float]:
    """Of everything since it began: statements by kind, Redis commands, seconds of CPU."""
    rows.execute("SHOW GLOBAL STATUS LIKE 'Com\\_%'")
    found = {name: float(value) for name, value in rows.fetchall() if name in (*WRITES, "Com_select")}
    stats = plane.redis_command("INFO", "stats")
    found["redis"] = float(stats.split("total_commands_processed:")[1].split()[0])
    for name in OURS:
        found[f"cpu {name}"] = cpu_of_group(plane.processes[name])
    found["cpu mariadb"], found["cpu redis"] = cpu_of_pid(plane.mariadb.pid_path), cpu_of_pid(plane.redis.pid_path)
    return found


def cpu_of_group(process: Process) -> float:
    """Seconds of CPU of the process and all that it has started, which share its group."""
    assert process.running is not None
    group = str(process.running.pid)
    return sum(cpu for name, cpu in (_stat(path) for path in Path("/proc").glob("[0-9]*/stat")) if name == group)


def cpu_of_pid(file: Path) -> float:
    return _stat(Path("/proc", file.read_text().strip(), "stat"))[1]


def _stat(path: Path) -> tuple[str, float]:
    """(process group, seconds of CPU); nothing of one that has just ended."""
    try:
        words = path.read_text().rpartition(") ")[2].split()
    except OSError:
        return "", 0.0
    return words[2], (int(words[11]) + int(words[12])) / TICKS


if __name__ == "__main__":
    main()
