"""Many nodes in one process: `python -m lab.simulated_nodes --lines FILE --seed N …`, for the simulation and dry runs.

Of each node journal, performer, reporter and wire are the agent's own; only its machine is a FakeHost, and instead of three
processes a node all share one consumer of their queues and a pool of threads. What goes wrong is drawn from the seed: a
message is lost, comes twice or late; some nodes are slow; a node dies in the middle of a verb and comes back after a while
with what its journal and its machine kept.

On standard input `die N` lets N nodes die, `end` ends the process, which then writes what each machine did to `--effects`.
"""

import argparse
import base64
import heapq
import itertools
import json
import logging
import random
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis
import urllib3

from lab.fake_node import exchange
from nodeagent import control
from nodeagent.config import Config, Identity, Share, write_identity
from nodeagent.fake_host import Crash, FakeHost
from nodeagent.journal import Journal
from nodeagent.logs import configure
from nodeagent.performer import Performer
from nodeagent.reporter import Reporter
from nodeagent.wire import Malformed, Outcome, ReportAnswer, StepMessage, load
from nodeagent.worker import take_answer

log = logging.getLogger("lab.simulated_nodes")
THREADS = 10
DEADLY_VERBS = ("create_disk", "start_domain", "ensure_network", "stop_domain", "remove_instance_files")
MISERY_SECONDS = 5.0
"""A node that is to die does so in its next verb, or after so long."""


@dataclass(frozen=True, kw_only=True)
class Odds:
    """Shares of messages, 0 to 1, and seconds before `time_scale`."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    late_seconds: float = 10.0
    slow_nodes: float = 0.0
    slow_seconds: float = 2.0
    away_seconds: float = 60.0


class Clock(threading.Thread):
    """Calls things at their time, on the pool."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__(name="clock", daemon=True)
        self._pool = pool
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), call))
            self._changed.notify()

    def run(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                call = heapq.heappop(self._due)[2]
            self._pool.submit(_logged, call)


def _logged(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:
        log.exception("a node stumbled")


class Node:
    """One agent. `away` while it is dead: nothing is read, done or said."""

    def __init__(self, config: Config, identity: Identity, around: "Crowd", slow: float) -> None:
        self.identity, self.slow, self.away = identity, slow, False
        self._around, self._config = around, config
        share = config.share
        self.host = FakeHost(share.cpus, share.memory_mb, share.disk_gb)
        self.journal = Journal(config.state / "journal.sqlite")
        self._control = control.Control(identity, around.http)
        self.reporter = Reporter(config, identity, self.journal, self.host, None, self._control)
        locks = config.agent_run / "locks"
        self._performer = Performer(identity, self.journal, self.host, self._control, locks, self._tell)
        self._outcomes: list[Outcome] = []
        self._posting = False
        self._lock = threading.Lock()
        self._flying: set[str] = set()

    @property
    def queues(self) -> tuple[str, str]:
        return f"node.{self.identity.node}", f"node.{self.identity.node}.bulk"

    def report(self) -> None:
        """Now, and again when the answer says."""
        if self.away:
            return
        try:
            self.reporter.run_duties()
            self.reporter.report()
            self.look()
        finally:
            self._around.clock.after(self.reporter.interval, self.report)

    def look(self) -> None:
        """Perform what reports brought, and what found its object busy."""
        for bulk in (False, True):
            for message in self.journal.inbox(bulk, retry_after=0.05):
                with self._lock:
                    if message.token in self._flying:
                        continue
                    self._flying.add(message.token)
                self.take(message)

    def take(self, message: StepMessage) -> None:
        if self.slow:
            self._around.clock.after(self.slow, partial(self._perform, message))
        else:
            self._around.pool.submit(_logged, partial(self._perform, message))

    def _perform(self, message: StepMessage) -> None:
        try:
            if not self.away:
                self._performer.perform(message)
        except Crash:
            self._die()
        finally:
            with self._lock:
                self._flying.discard(message.token)

    def doom(self, chance: random.Random) -> None:
        """Let it die in one of its next verbs, before or after the effect."""
        verb = chance.choice(DEADLY_VERBS)
        (self.host.crash_after if chance.random() < 0.5 else self.host.crash_before)(verb)
        self._around.clock.after(MISERY_SECONDS * self._config.time_scale, self._die)

    def _die(self) -> None:
        with self._lock:
            if self.away:
                return
            self.away = True
        self._around.say("died", self.identity.name)
        self._around.clock.after(self._around.odds.away_seconds * self._config.time_scale, self._return)

    def _return(self) -> None:
        with self._lock:
            self._outcomes.clear()  # they are in the journal, which the next report reads
            self.away = False
        for bulk in (False, True):
            self._performer.recover(bulk)
        self._around.say("returned", self.identity.name)
        self.report()

    def _tell(self, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes.append(outcome)
            if self._posting or self.away:
                return
            self._posting = True
        self._around.pool.submit(_logged, self._post)

    def _post(self) -> None:
        while True:
            with self._lock:
                batch, self._outcomes = self._outcomes, []
                if not batch or self.away:
                    self._posting = False
                    return
            try:
                answer: ReportAnswer = self._control.outcomes(self.journal.incarnation, batch)
            except (control.ControlUnavailable, control.Refusal, Malformed):
                self._around.clock.after(1.0 * self._config.time_scale, self.report_once)
            else:
                take_answer(self._config, self.journal, answer)
                self.look()

    def report_once(self) -> None:
        if not self.away:
            self.reporter.report()
            self.look()


class Crowd:
    """The nodes of this process and what they share."""

    def __init__(self, odds: Odds, seed: int, time_scale: float) -> None:
        self.odds, self.time_scale = odds, time_scale
        self.chance = random.Random(seed)
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="node")
        self.clock = Clock(self.pool)
        self.http = urllib3.PoolManager(num_pools=8, maxsize=THREADS, retries=False, timeout=control.TIMEOUT)
        self.nodes: list[Node] = []
        self._by_queue: dict[str, Node] = {}

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        self._by_queue |= dict.fromkeys(node.queues, node)

    def say(self, what: str, name: str) -> None:
        sys.stdout.write(
            json.dumps({"at": time.time(), "what": what, "node": name}) + "\n"
        )  # whole, whoever else writes
        sys.stdout.flush()

    def listen(self, broker: str) -> None:
        """Take messages of all nodes that live, as Celery wrote them; those of dead ones stay in Redis."""
        link: Any = redis.Redis.from_url(broker, socket_timeout=10)
        while True:
            queues = [queue for node in self.nodes if not node.away for queue in node.queues]
            self.chance.shuffle(queues)
            try:
                found = link.brpop(queues, timeout=1)
            except redis.RedisError:
                time.sleep(0.5)
                continue
            if found is not None:
                self._receive(self._by_queue[found[0].decode()], json.loads(found[1]))

    def _receive(self, node: Node, letter: Any) -> None:
        body = json.loads(base64.b64decode(letter["body"]))
        try:
            message = load(StepMessage, body[0][0])
        except Malformed as error:
            log.warning("message dropped: malformed", extra={"error": str(error)})
            return
        draw, odds = self.chance.random(), self.odds
        if draw < odds.lost:
            self.say("lost", node.identity.name)
        elif draw < odds.lost + odds.doubled:
            self.say("doubled", node.identity.name)
            node.take(message)
            node.take(message)
        elif draw < odds.lost + odds.doubled + odds.late:
            self.clock.after(self.chance.uniform(0, odds.late_seconds) * self.time_scale, partial(node.take, message))
        else:
            node.take(message)

    def obey(self) -> None:
        """Commands on standard input, until it ends."""
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if word == "end":
                return
            if word == "die":
                living = [node for node in self.nodes if not node.away]
                for node in self.chance.sample(living, min(int(rest), len(living))):
                    node.doom(self.chance)


def enrol(line: str, number: int, options: argparse.Namespace, crowd: Crowd) -> Node:
    name = f"sim{number}"
    home = options.directory / name
    config = Config(
        name=name,
        mesh_address=f"127.{1 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}",
        state_dir=str(home),
        run_dir=str(home / "run"),
        time_scale=options.time_scale,
        share=Share(cpus=options.room[0], memory_mb=options.room[1], disk_gb=options.room[2]),
    )
    identity = write_identity(config, exchange(line))
    slow = crowd.odds.slow_seconds * options.time_scale if crowd.chance.random() < crowd.odds.slow_nodes else 0.0
    return Node(config, identity, crowd, slow)


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.simulated_nodes", description=__doc__)
    parser.add_argument("--lines", type=Path, required=True, help="enrolment lines, one a node")
    parser.add_argument("--first", type=int, required=True, help="number of the first node")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--effects", type=Path, required=True)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--time-scale", type=float, required=True)
    parser.add_argument("--room", type=int, nargs=3, required=True, help="cpus, memory MiB, disk GiB of each node")
    parser.add_argument("--odds", type=json.loads, default={})
    options = parser.parse_args()
    configure("simulation")
    crowd = Crowd(Odds(**options.odds), options.seed, options.time_scale)
    for number, line in enumerate(options.lines.read_text().splitlines(), start=options.first):
        crowd.add(enrol(line, number, options, crowd))
    crowd.clock.start()
    for node in crowd.nodes:
        crowd.clock.after(crowd.chance.uniform(0, 2), node.report)
    threading.Thread(target=crowd.listen, args=[options.broker], daemon=True).start()
    crowd.say("ready", f"{len(crowd.nodes)}")
    crowd.obey()
    with options.effects.open("w") as file:
        for node in crowd.nodes:
            for verb, thing in node.host.effects:
                file.write(f"{node.identity.name} {verb} {thing}\n")


if __name__ == "__main__":
    main()
