"""A cluster of many nodes under load and faults: `python -m lab.simulate --nodes 1000 --instances 20000 …`, `make simulate`.

Real MariaDB, Redis, HTTP processes, control workers and beat, all its own; the nodes are those of `lab/simulated_nodes.py`,
several hundred in a process. Clients create instances, delete some and switch others off and on while the faults strike, each
at a moment drawn from the seed. In the end every operation must have ended, and what the rows say, what the machines hold and
what the machines did must agree. It writes `report.html` and `report.json` to `--out` and ends with 1 when they do not.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import requests

from lab import simulation_report
from lab.child import CODE
from lab.plane import Client, Plane, Size, new_instance, until
from lab.simulation_report import Run, Sample

CLIENTS = 6
NODES_OF_A_PROCESS = 250
INSTANCES_OF_A_NETWORK = 20
PATIENCE_SECONDS = 120.0
MESSAGES = {"lost": 0.01, "doubled": 0.01, "late": 0.05}
SLOW_NODES = 0.02
FAULTS = ("messages", "deaths", "flush", "mariadb", "workers")


class Crowd:
    """The processes that hold the nodes."""

    def __init__(self, plane: Plane, options: argparse.Namespace) -> None:
        self._plane, self._options = plane, options
        self._running: list[subprocess.Popen[str]] = []
        self._listeners: list[threading.Thread] = []
        self.said: list[dict[str, Any]] = []
        self.effects = plane.directory / "effects"

    def start(self) -> None:
        options = self._options
        lines = self._plane.enrol([f"sim{number}" for number in range(1, options.nodes + 1)])
        self.effects.mkdir()
        for first in range(0, len(lines), NODES_OF_A_PROCESS):
            self._running.append(self._start(first, lines[first : first + NODES_OF_A_PROCESS]))
        for process in self._running:
            self._listeners.append(threading.Thread(target=self._hear, args=[process], daemon=True))
            self._listeners[-1].start()
        until(lambda: self._plane.nodes_here() == options.nodes, 60 + options.nodes, "every node is here", pause=1.0)

    def _start(self, first: int, lines: list[str]) -> "subprocess.Popen[str]":
        options, directory = self._options, self._plane.directory
        file = directory / f"lines-{first}"
        file.write_text("\n".join(lines))
        odds = {"slow_nodes": SLOW_NODES, **(MESSAGES if "messages" in options.faults else {})}
        words: dict[str, Any] = {
            "--lines": file,
            "--first": first + 1,
            "--directory": directory,
            "--effects": self.effects / f"{first}",
            "--broker": self._plane.broker(),
            "--seed": options.seed + first,
            "--time-scale": options.time_scale,
            "--odds": json.dumps(odds),
        }
        command = [sys.executable, "-m", "lab.simulated_nodes", *(str(word) for pair in words.items() for word in pair)]
        with (directory / f"nodes-{first}.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--room", *(str(size) for size in self._plane.size.room)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=CODE,
                text=True,
            )

    def _hear(self, process: "subprocess.Popen[str]") -> None:
        with process:
            for line in process.stdout or ():
                self.said.append(json.loads(line))

    def die(self, number: int) -> None:
        """So many nodes die and return, spread over the processes."""
        for index in range(number):
            self._say(self._running[index % len(self._running)], "die 1")

    def _say(self, process: "subprocess.Popen[str]", words: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{words}\n")
        process.stdin.flush()

    def close(self) -> None:
        """End them; what their machines did is then in `effects`."""
        for process in self._running:
            with suppress(OSError):  # it is dead already
                self._say(process, "end")
        for process, listener in zip(self._running, self._listeners, strict=True):
            listener.join(60)
            process.kill()  # of one that has ended, nothing
        self._running.clear()
        self._listeners.clear()


class Users:
    """Clients that share a list of things to ask for; what fails is asked again with the same key until it is answered.

    Guests of one network are asked for one after the other, as their owner would.
    """

    def __init__(self, plane: Plane, options: argparse.Namespace, networks: list[str]) -> None:
        chance = random.Random(options.seed)
        self._plane, self._networks, self._chance = plane, networks, chance
        self._lock = threading.Lock()
        creates: list[Callable[[Client], None]] = [
            self._creation(
                f"guest{number}", networks[number * len(networks) // options.instances], f"{options.seed}-{number}"
            )
            for number in range(options.instances)
        ]
        spread: dict[int, list[Callable[[Client], None]]] = {}
        for count, call in ((options.deletes, self._delete), (options.powers, self._power)):
            for _ in range(count):
                spread.setdefault(chance.randrange(options.instances // 10, options.instances), []).append(call)
        self._work = [call for number, create in enumerate(creates) for call in (create, *spread.get(number, []))]
        self._work.reverse()
        self.alive: dict[str, bool] = {}
        self.gone: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.errors: list[str] = []

    @property
    def left(self) -> int:
        return len(self._work)

    def run(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._one, args=[number], daemon=True) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        return threads

    def _one(self, number: int) -> None:
        client = self._plane.api(number % len(self._plane.api_ports))
        while True:
            with self._lock:
                if not self._work:
                    return
                call = self._work.pop()
            try:
                call(client)
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}"[:300])

    def _creation(self, name: str, network: str, key: str) -> Callable[[Client], None]:
        def create(client: Client) -> None:
            made = self._insist(client, "POST", "/instances", new_instance(name, network), {200}, key)
            with self._lock:
                self.alive[made["uuid"]] = True

        return create

    def _delete(self, client: Client) -> None:
        with self._lock:
            if not self.alive:  # the first ones are still being asked for
                self._work.insert(0, self._delete)
                return
            ref = self._chance.choice(sorted(self.alive))
            del self.alive[ref]
            self.gone.add(ref)
        self._insist(client, "DELETE", f"/instances/{ref}", None, {200, 404})

    def _power(self, client: Client) -> None:
        """Off, and on again; one that is not there yet, or going, is left alone."""
        with self._lock:
            ref = self._chance.choice(sorted(self.alive)) if self.alive else ""
        for verb in ("poweroff", "poweron") if ref else ():
            self._insist(client, "POST", f"/instances/{ref}/{verb}", None, {200, 404, 406, 409})

    def _insist(self, client: Client, method: str, path: str, body: Any, good: set[int], key: str = "") -> Any:
        headers = {"Idempotency-Key": key} if key else {}
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            begin = time.monotonic()
            try:
                answer = client.call(method, path, body, **headers)
            except requests.RequestException as error:
                self.answers[type(error).__name__] += 1
            else:
                word = path.rpartition("/")[2] if path.count("/") > 2 else path.split("/")[1]
                self.answers[f"{method} {word} {answer.status_code}"] += 1
                if answer.status_code in good:
                    self.seconds.append(time.monotonic() - begin)
                    return answer.json()
                if answer.status_code == 401:
                    client.session.headers.pop("Authorization", None)
            if time.monotonic() > end:
                raise TimeoutError(f"{method} {path}: not answered in {PATIENCE_SECONDS:g} s")
            time.sleep(0.3)


def strike(plane: Plane, crowd: Crowd, users: Users, options: argparse.Namespace, run: Run) -> None:
    """Each fault once, in an order and after a share of the work that are drawn from the seed."""
    chance = random.Random(options.seed + 1)
    faults: dict[str, Callable[[], object]] = {
        "deaths": lambda: crowd.die(options.deaths),
        "flush": lambda: plane.redis_command("FLUSHALL"),
        "mariadb": partial(_restart_database, plane),
        "workers": partial(_kill_workers, plane),
    }
    chosen = [name for name in faults if name in options.faults]
    chance.shuffle(chosen)
    total = users.left
    for number, name in enumerate(chosen, start=1):
        share = (number - chance.random() * 0.5) / (len(chosen) + 1)
        while users.left > total * (1 - share):
            time.sleep(0.2)
        run.marks.append((time.time() - run.began, name))
        print(f"{time.time() - run.began:6.1f} s  {name}", flush=True)
        faults[name]()


def _restart_database(plane: Plane) -> None:
    plane.mariadb.stop()
    plane.mariadb.start()


def _kill_workers(plane: Plane) -> None:
    """The control worker twice, the second time as soon as it runs again."""
    for name in ("control", "beat", "control"):
        plane.kill(name)
        plane.restart(name)


def watch(plane: Plane, users: Users, run: Run, over: threading.Event) -> None:
    """A sample a second; a database that is away gives none."""
    while not over.wait(1.0):
        try:
            rows = plane.sql("SELECT state, COUNT(*) FROM operations GROUP BY state")
        except (AssertionError, OSError):
            continue
        counts = {state: int(count) for state, count in rows}
        run.samples.append(Sample(at=time.time() - run.began, operations=counts, left=users.left))
        if len(run.samples) % 10 == 0:
            done = sum(counts.get(state, 0) for state in ("succeeded", "failed", "cancelled"))
            waiting = sum(counts.values()) - done
            print(f"{time.time() - run.began:6.1f} s  {users.left} to ask, {waiting} open, {done} ended", flush=True)


def make_networks(client: Client, number: int) -> list[str]:
    """All have the same addresses, as networks of tenants may."""
    made = [
        client.ok("POST", "/networks", {"name": f"net{index}", "netblock": "10.0.0.0/20"})["uuid"]
        for index in range(number)
    ]
    for network in made:
        until(partial(_is_created, client, network), 60, "a network")
    return made


def _is_created(client: Client, network: str) -> bool:
    return bool(client.ok("GET", f"/networks/{network}")["state"] == "created")


def storm(plane: Plane, crowd: Crowd, users: Users, options: argparse.Namespace, run: Run) -> None:
    """From the first request until every operation has ended."""
    run.began = time.time()
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=[plane, users, run, over], daemon=True)
    watcher.start()
    try:
        threads = users.run()
        strike(plane, crowd, users, options, run)
        for thread in threads:
            thread.join()
        run.asked_seconds = time.time() - run.began
        until(lambda: not plane.open_operations(), options.settle, "every operation ends", pause=0.5)
        run.settled_seconds = time.time() - run.began
    finally:
        over.set()
        watcher.join()
        run.answers, run.answer_seconds = dict(users.answers), users.seconds
        run.wrong += users.errors


def simulate(options: argparse.Namespace) -> Run:
    each = 4 * options.instances // options.nodes + 16
    room = (each, 64 * each, 4 * each)
    outside = {"FLOATING_NETWORK": "198.18.0.0/15"}  # each network takes an address of it
    size = Size(nodes=0, apis=2, internals=2, room=room, time_scale=options.time_scale, more=outside)
    plane = Plane(size)
    run = Run(options=vars(options) | {"out": str(options.out)})
    crowd = Crowd(plane, options)
    try:
        plane.start()
        crowd.start()
        print(f"{options.nodes} nodes are here", flush=True)
        with plane.api() as client:
            users = Users(plane, options, make_networks(client, options.networks))
        storm(plane, crowd, users, options, run)
        with plane.api() as client:
            run.wrong += simulation_report.disagreements(plane, client, set(users.alive), users.gone)
        run.wrong += plane.audit()
        simulation_report.measure(plane, run)
        crowd.close()
        run.nodes_said = crowd.said
        run.wrong += simulation_report.happened_twice(simulation_report.effects_in(crowd.effects))
    except AssertionError as error:
        run.wrong.append(str(error)[:2000])
    finally:
        crowd.close()
        if os.environ.get("KEEP_LOGS"):
            print(f"logs are in {plane.directory}")
        plane.close()
    return run


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.simulate", description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--deletes", type=int, help="a quarter of the instances unless said otherwise")
    parser.add_argument("--powers", type=int, help="switched off and on; a twentieth unless said otherwise")
    parser.add_argument("--networks", type=int, help="one for every twenty instances unless said otherwise")
    parser.add_argument("--deaths", type=int, help="nodes that die and return; a fiftieth, at least 2")
    parser.add_argument("--faults", nargs="*", choices=FAULTS, default=FAULTS)
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument(
        "--time-scale", type=float, default=0.2, help="factor on every period; 1 for more than 200 nodes"
    )
    parser.add_argument(
        "--settle", type=float, default=300.0, help="seconds that open operations have after the last request"
    )
    parser.add_argument("--out", type=Path, default=Path("var/simulation"))
    options = parser.parse_args(words)
    options.deletes = options.instances // 4 if options.deletes is None else options.deletes
    options.powers = options.instances // 20 if options.powers is None else options.powers
    options.networks = options.networks or max(1, options.instances // INSTANCES_OF_A_NETWORK)
    options.deaths = max(2, options.nodes // 50) if options.deaths is None else options.deaths
    return options


def main(words: list[str] | None = None) -> int:
    options = parse(words)
    run = simulate(options)
    simulation_report.write(run, options.out)
    print(json.dumps(run.figures(), indent=1))
    print(f"{options.out}/report.html")
    for line in run.wrong[:20]:
        print(f"WRONG {line}")
    return 1 if run.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
