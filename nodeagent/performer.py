"""Doing one request: checked, journalled, one at a time for each object, its outcome kept until it was taken.

`perform` has two callers, the Celery worker and the inbox; both may be given the same message, at the same moment, in
two processes. The journal and a lock file per object decide who works (EN-3, EN-10).
"""

import fcntl
import hashlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodeagent.action import Action, actions
from nodeagent.config import Identity
from nodeagent.control import Control
from nodeagent.host import Machine, Refused, Retry
from nodeagent.journal import Journal
from nodeagent.specs import ConfigDrive
from nodeagent.wire import Kind, Malformed, NodeEvent, Outcome, StepMessage, load

log = logging.getLogger(__name__)
PROGRESS_EVERY_SECONDS = 1.0


class Performer:
    """Performs requests on a host. `tell` is given each outcome once it is durable."""

    def __init__(
        self,
        identity: Identity,
        journal: Journal,
        host: Machine,
        control: Control,
        locks: Path,
        tell: Callable[[Outcome], None],
    ) -> None:
        self._identity = identity
        self._journal = journal
        self._host = host
        self._control = control
        self._locks = locks
        self._tell = tell
        locks.mkdir(parents=True, exist_ok=True)

    def perform(self, message: StepMessage) -> None:
        """Do what the message asks, if it is ours, new and newest. Never raises for what an action does."""
        if message.node != self._identity.node or not message.is_signed_by(self._identity.signing_key):
            self._drop(message)
            return
        action = actions().get(message.action)
        bulk = bool(action and action.bulk)
        with self._lock(message.object_key) as locked:
            if locked:
                begun = self._journal.begin(message, bulk)
            else:
                begun = self._journal.receive(message, bulk) or False
                self._journal.wait_for(message.token, message.object_key)
            if isinstance(begun, Outcome):
                self._tell(begun)
            elif begun:
                self._end(message, self._attempt(message, action), action)

    def _drop(self, message: StepMessage) -> None:
        """Whoever sent this is not the control plane, or meant another node: that is told, with nothing of its content (SE-2)."""
        log.warning("message dropped: not signed for this node", extra={"action": message.action})
        self._journal.notice(
            NodeEvent(
                uuid=str(uuid.uuid4()), type="audit", message="message dropped: not signed for this node", age=0.0
            )
        )

    def recover(self, bulk: bool) -> None:
        """After a restart: what was done once and not ended is unknown, the rest may be repeated (EN-8, EN-15)."""
        for message in self._journal.started(bulk):
            self._host.forget_attempt(message.token, message.object_key)
            action = actions().get(message.action)
            if action is not None and action.once:
                interrupted = Outcome(
                    token=message.token, kind=Kind.UNKNOWN, code="interrupted", message="the agent was restarted"
                )
                self._end(message, interrupted, action)
            else:
                self._journal.give_back(message.token)

    def _end(self, message: StepMessage, outcome: Outcome, action: Action | None) -> None:
        wanted = action.wanted if action is not None and outcome.kind == Kind.DONE and not action.once else None
        self._tell(self._journal.finish(message, outcome, wanted))

    def _attempt(self, message: StepMessage, action: Action | None) -> Outcome:
        token = message.token
        if message.incarnation != self._journal.incarnation:
            return Outcome(token=token, kind=Kind.STALE, code="incarnation")
        if action is None or action.version != message.version:
            return Outcome(token=token, kind=Kind.UNSUPPORTED, code=f"{message.action} {message.version}")
        known = self._journal.known(message.object_key)
        if known is not None and message.generation < known.generation:
            return Outcome(token=token, kind=Kind.STALE, code="generation", generation=known.generation)
        return self._run(message, action)

    def _run(self, message: StepMessage, action: Action) -> Outcome:
        token, began = message.token, time.monotonic()
        try:
            request: Any = load(action.request, message.request)
            result = action.run(request, self._host, _Attempt(token, self._journal, self._control))
        except Refused as error:
            kind = Kind.REFUSED if error.code in action.refusals or error.code == "cancelled" else Kind.UNKNOWN
            return Outcome(token=token, kind=kind, code=error.code, message=str(error), result=error.facts)
        except Retry as error:
            return Outcome(token=token, kind=Kind.RETRY, code=error.code, message=str(error), after=error.after)
        except Malformed as error:
            return Outcome(token=token, kind=Kind.UNKNOWN, code="malformed", message=str(error))
        except Exception as error:
            log.exception("action failed", extra={"action": action.name, "object_key": message.object_key})
            return Outcome(token=token, kind=Kind.UNKNOWN, code=type(error).__name__, message=str(error)[:500])
        took = round(time.monotonic() - began, 4)
        return Outcome(token=token, kind=Kind.DONE, change=result.change, result={**result.facts, "seconds": took})

    @contextmanager
    def _lock(self, object_key: str) -> Iterator[bool]:
        """One action for each object at a time over all processes; the kernel drops the lock of a dead one (EN-10)."""
        path = self._locks / hashlib.sha256(object_key.encode()).hexdigest()[:32]
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)


class _Attempt:
    """What an action may ask of the attempt it runs in (`host.Call`)."""

    def __init__(self, token: str, journal: Journal, control: Control) -> None:
        self.token = token
        self._journal = journal
        self._control = control
        self._told = 0.0

    def progress(self, percent: int) -> None:
        if time.monotonic() - self._told < PROGRESS_EVERY_SECONDS:
            return
        self._told = time.monotonic()
        self._journal.note_progress(self.token, percent)
        if self._journal.is_cancelled(self.token):
            raise Refused("cancelled", "the control plane asked to stop")

    def config_drive(self) -> ConfigDrive:
        return load(ConfigDrive, self._control.secrets(self.token))

    def blob_ticket(self, blob: str, peer: str) -> tuple[str, str]:
        answer = self._control.ticket(self.token, blob, peer)
        return str(answer["url"]), str(answer["ticket"])

    def instance_ticket(self, instance: str, peer: str) -> tuple[str, str]:
        answer = self._control.instance_ticket(self.token, instance, peer)
        return str(answer["url"]), str(answer["ticket"])
