"""The process that performs requests: from its Celery queue, and from the inbox that reports fill (EN-4).

Two of these run on a node, `work` for what is quick and `work-bulk` for images and blobs. The Celery task is named after
the action, so that flower shows `ensure_instance`; its body only hands the message to the performer. Without Redis the
inbox alone carries the work.
"""

import logging
import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Queue

from nodeagent import doorbell
from nodeagent.action import actions
from nodeagent.broker import GatheredEvents
from nodeagent.config import Config, Identity
from nodeagent.control import Control, ControlUnavailable, NodeDeleted, Refusal
from nodeagent.host import Machine
from nodeagent.journal import Journal
from nodeagent.performer import Performer
from nodeagent.wire import Malformed, Outcome, ReportAnswer, StepMessage, load

log = logging.getLogger(__name__)
THREADS = {False: 8, True: 2}
INBOX_SECONDS = 2.0
POSTERS, MOST_TOGETHER = 2, 16
"""Threads that post, and outcomes in one post: as many as are in flight to a queue at most (EN-10)."""


def bell_path(config: Config, bulk: bool) -> Path:
    return config.agent_run / ("inbox-bulk.sock" if bulk else "inbox.sock")


def report_bell(config: Config) -> Path:
    return config.agent_run / "report.sock"


def take_answer(config: Config, journal: Journal, answer: ReportAnswer) -> None:
    """Do what an answer says: forget what was acknowledged, drop what is not wanted, take what is next (EN-4)."""
    journal.acknowledge(answer.acknowledged)
    journal.withdraw(answer.closed)
    journal.cancel(answer.cancel)
    journal.forget_events(answer.events)
    known = actions()
    wake = set()
    for message in answer.steps:
        bulk = message.action in known and known[message.action].bulk
        journal.receive(message, bulk)
        wake.add(bulk)
    for bulk in wake:
        doorbell.ring(bell_path(config, bulk))


class Poster:
    """Posts each outcome at once, those that came during the posts before it together; what fails waits for the report.

    Two post at a time: one outcome then waits for half of those before it, and the control plane settles on two cores.
    """

    def __init__(self, config: Config, journal: Journal, control: Control) -> None:
        self._config = config
        self._journal = journal
        self._control = control
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()

    def start(self) -> None:
        for number in range(POSTERS):
            threading.Thread(target=self._run, name=f"poster-{number}", daemon=True).start()

    def put(self, outcome: Outcome) -> None:
        self._outcomes.put(outcome)

    def _run(self) -> None:
        while True:
            batch = [self._outcomes.get()]
            with suppress(queue.Empty):
                while len(batch) < MOST_TOGETHER:
                    batch.append(self._outcomes.get_nowait())
            self.post(batch)

    def post(self, batch: list[Outcome]) -> None:
        """Whatever goes wrong is left to the next report; its thread must live as long as its process."""
        try:
            self._post(batch)
        except Exception:
            log.exception("outcomes wait for the next report", extra={"outcomes": len(batch)})

    def _post(self, batch: list[Outcome]) -> None:
        try:
            answer = self._control.outcomes(self._journal.incarnation, batch)
        except (ControlUnavailable, NodeDeleted, Refusal, Malformed) as error:
            log.warning("outcomes wait for the next report", extra={"error": str(error), "outcomes": len(batch)})
            doorbell.ring(report_bell(self._config))
            return
        take_answer(self._config, self._journal, answer)


class Inbox(threading.Thread):
    """Performs received requests that no Celery message brought, and those that found their object busy."""

    def __init__(self, config: Config, journal: Journal, performer: Performer, bulk: bool) -> None:
        super().__init__(name="inbox", daemon=True)
        self._config = config
        self._journal = journal
        self._performer = performer
        self._bulk = bulk
        self._bell = doorbell.Doorbell(bell_path(config, bulk))
        self._pool = ThreadPoolExecutor(THREADS[bulk], thread_name_prefix="inbox")
        self._flying: set[str] = set()
        self._lock = threading.Lock()

    def run(self) -> None:
        self._wait_for_an_answer()
        while True:
            try:
                self.look()
            except Exception:  # without this thread nothing is done while Redis is away, and nobody would notice
                log.exception("the inbox could not be looked at")
            self._bell.wait(INBOX_SECONDS * min(1.0, self._config.time_scale))

    def look(self) -> None:
        for message in self._journal.inbox(self._bulk, retry_after=0.05):
            with self._lock:
                if message.token in self._flying:
                    continue
                self._flying.add(message.token)
            self._pool.submit(self._perform, message)

    def _perform(self, message: StepMessage) -> None:
        try:
            self._performer.perform(message)
        except Exception:
            log.exception("request failed outside its action", extra={"token": message.token})
        finally:
            with self._lock:
                self._flying.discard(message.token)

    def _wait_for_an_answer(self) -> None:
        """Nothing that was received before a restart runs until a report was answered: it may be withdrawn (EN-15)."""
        before = self._journal.answers
        doorbell.ring(report_bell(self._config))
        while self._journal.answers == before:
            self._bell.wait(0.2)


def build_app(identity: Identity, performer: Performer) -> Celery:
    """A Celery application with one task an action, and nothing else: a node reads only its own queues (SE-1)."""
    app = Celery("nodeagent", set_as_current=False)
    app.conf.update(
        broker_url=identity.broker_url,
        broker_transport="nodeagent.broker:Transport",
        result_backend=None,
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=True,
        task_create_missing_queues=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        worker_hijack_root_logger=False,
        broker_transport_options=_transport(identity),
        timezone="UTC",
    )
    app.steps["consumer"].add(GatheredEvents)
    for name in actions():
        app.task(name=name, ignore_result=True)(_perform_with(performer))
    return app


def _transport(identity: Identity) -> dict[str, Any]:
    """Redis options: every wait has an end."""
    return {
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": True,
        "polling_interval": 5,
        "sep": ":",
        "client_name": identity.name,
    }


def _perform_with(performer: Performer) -> Any:
    def body(document: dict[str, Any]) -> None:
        try:
            message = load(StepMessage, document)
        except Malformed as error:
            log.warning("message dropped: malformed", extra={"error": str(error)})
            return
        performer.perform(message)

    return body


def run(config: Config, identity: Identity, host: Machine, bulk: bool) -> None:
    """Until the process is asked to end."""
    journal = Journal(config.state / "journal.sqlite")
    control = Control(identity)
    poster = Poster(config, journal, control)

    def tell(outcome: Outcome) -> None:
        poster.put(outcome)
        if journal.has_received(bulk):
            doorbell.ring(bell_path(config, bulk))

    performer = Performer(identity, journal, host, control, config.agent_run / "locks", tell)
    performer.recover(bulk)
    poster.start()
    Inbox(config, journal, performer, bulk).start()
    app = build_app(identity, performer)
    name = f"node.{identity.node}.bulk" if bulk else f"node.{identity.node}"
    app.conf.task_queues = [Queue(name)]
    app.conf.task_default_queue = name
    app.worker_main(_arguments(identity, name, bulk))


def _arguments(identity: Identity, queue_name: str, bulk: bool) -> list[str]:
    role = "work-bulk" if bulk else "work"
    return [
        "worker",
        "--pool=threads",
        f"--concurrency={THREADS[bulk]}",
        f"--queues={queue_name}",
        f"--hostname={role}@{identity.name}",
        "--without-gossip",
        "--without-mingle",
        "--task-events",
        "--loglevel=WARNING",
    ]
