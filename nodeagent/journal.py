"""The node's memory: which requests it has, which it has begun, how they ended, and what generation each object is at.

One SQLite file (WAL, synchronous FULL) that the node's processes share. Its random `incarnation` is made with it: a node
that lost its journal is another node to the control plane (EN-2). A request is *received*, then *started*, then has its
*outcome*, which stays until the control plane has acknowledged it (EN-3). The received ones are the inbox.
"""

import fcntl
import json
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nodeagent.wire import NodeEvent, Outcome, StepMessage, dump, load

log = logging.getLogger(__name__)
REMEMBER_REMOVED_SECONDS = 7 * 86400
MAX_EVENTS = 100_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    token TEXT PRIMARY KEY, object_key TEXT NOT NULL, action TEXT NOT NULL, bulk INTEGER NOT NULL, message TEXT NOT NULL,
    state TEXT NOT NULL, waits_for TEXT, progress INTEGER, cancel INTEGER NOT NULL DEFAULT 0, outcome TEXT,
    arrived REAL NOT NULL, tried REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS entries_by_state ON entries (state, bulk, arrived);
CREATE TABLE IF NOT EXISTS objects (
    object_key TEXT PRIMARY KEY, generation INTEGER NOT NULL, wanted TEXT NOT NULL, seq INTEGER NOT NULL, changed REAL NOT NULL);
CREATE TABLE IF NOT EXISTS events (uuid TEXT PRIMARY KEY, noticed REAL NOT NULL, event TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Known:
    """What the journal knows of an object: the newest generation applied to it, and whether that was presence."""

    generation: int
    wanted: str


class Journal:
    """Thread-safe by one connection per thread; process-safe by SQLite."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._writer = threading.Lock()  # SQLite's own wait for a writer is a sleep of up to 100 ms
        self._open: list[sqlite3.Connection] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_suffix(".making"), "w") as making:
            # SQLite refuses all but one of those who switch a fresh file to write-ahead logging, without waiting
            fcntl.flock(making, fcntl.LOCK_EX)
            connection = self._connection()
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("INSERT OR IGNORE INTO facts VALUES ('incarnation', ?)", [str(uuid.uuid4())])
        for name in ("seq", "answers", "dropped"):
            connection.execute("INSERT OR IGNORE INTO facts VALUES (?, '0')", [name])
        connection.execute("COMMIT")

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()

    @property
    def incarnation(self) -> str:
        return self._fact("incarnation")

    @property
    def seq(self) -> int:
        """The position of the newest outcome."""
        return int(self._fact("seq"))

    @property
    def answers(self) -> int:
        """How many reports were answered since the journal was made; a restarted worker waits for the next (EN-15)."""
        return int(self._fact("answers"))

    def count_answer(self) -> None:
        self._run("UPDATE facts SET value = value + 1 WHERE name = 'answers'")

    def receive(self, message: StepMessage, bulk: bool) -> Outcome | None:
        """Keep a request that is new. A copy changes nothing; if its token has an outcome, that is answered again (EN-3)."""
        row = self._connection().execute("SELECT outcome FROM entries WHERE token = ?", [message.token]).fetchone()
        if row is not None:
            return load(Outcome, json.loads(row[0])) if row[0] else None
        with self._transaction() as connection:
            _insert(connection, message, bulk, "received")
        return None

    def begin(self, message: StepMessage, bulk: bool) -> Outcome | bool:
        """Durably mark a request as started, received before or not; for the holder of its object's lock.

        True when it is to be done now, its outcome if it has one already, False when it was begun or withdrawn.
        """
        with self._transaction() as connection:
            if _insert(connection, message, bulk, "started"):
                return True
            sql = "SELECT state, outcome FROM entries WHERE token = ?"
            state, outcome = connection.execute(sql, [message.token]).fetchone()
            if state == "received":
                connection.execute(
                    "UPDATE entries SET state = 'started', waits_for = NULL WHERE token = ?", [message.token]
                )
                return True
        return load(Outcome, json.loads(outcome)) if outcome else False

    def has_received(self, bulk: bool) -> bool:
        """Whether any request waits in the inbox."""
        rows = self._connection().execute(
            "SELECT 1 FROM entries WHERE state = 'received' AND bulk = ? LIMIT 1", [int(bulk)]
        )
        return rows.fetchone() is not None

    def wait_for(self, token: str, object_key: str) -> None:
        """The object is being worked on: the request stays received and says which token it waits for (EN-9 busy)."""
        self._run(
            "UPDATE entries SET tried = ?, waits_for = (SELECT other.token FROM entries other WHERE other.object_key = ?"
            " AND other.state = 'started' LIMIT 1) WHERE token = ? AND state = 'received'",
            [time.time(), object_key, token],
        )

    def give_back(self, token: str) -> None:
        """A started request that may be repeated becomes received again."""
        self._run("UPDATE entries SET state = 'received', tried = 0 WHERE token = ? AND state = 'started'", [token])

    def finish(self, message: StepMessage, outcome: Outcome, wanted: str | None) -> Outcome:
        """Store the outcome with the next position; `wanted` is what was made true of the object, None when nothing was."""
        with self._transaction() as connection:
            counted = "UPDATE facts SET value = value + 1 WHERE name = 'seq' RETURNING value"
            seq = int(connection.execute(counted).fetchone()[0])
            placed = replace(outcome, seq=seq)
            connection.execute(
                "UPDATE entries SET state = 'done', outcome = ? WHERE token = ?",
                [json.dumps(dump(placed)), message.token],
            )
            if wanted is not None:
                connection.execute(
                    "INSERT INTO objects VALUES (?, ?, ?, ?, ?) ON CONFLICT (object_key) DO UPDATE SET"
                    " generation = excluded.generation, wanted = excluded.wanted, seq = excluded.seq, changed = excluded.changed",
                    [message.object_key, message.generation, wanted, seq, time.time()],
                )
        return placed

    def known(self, object_key: str) -> Known | None:
        row = (
            self._connection()
            .execute("SELECT generation, wanted FROM objects WHERE object_key = ?", [object_key])
            .fetchone()
        )
        return Known(*row) if row else None

    def inbox(self, bulk: bool, retry_after: float) -> list[StepMessage]:
        """Received requests, oldest first, without those that found their object busy a moment ago."""
        rows = self._connection().execute(
            "SELECT message FROM entries WHERE state = 'received' AND bulk = ? AND tried < ? ORDER BY arrived",
            [int(bulk), time.time() - retry_after],
        )
        return [load(StepMessage, json.loads(row[0])) for row in rows]

    def started(self, bulk: bool) -> list[StepMessage]:
        """What a worker had begun when it ended."""
        rows = self._connection().execute(
            "SELECT message FROM entries WHERE state = 'started' AND bulk = ?", [int(bulk)]
        )
        return [load(StepMessage, json.loads(row[0])) for row in rows]

    def held(self) -> list[str]:
        """Tokens received or started and not ended."""
        return [
            row[0]
            for row in self._connection().execute("SELECT token FROM entries WHERE state IN ('received', 'started')")
        ]

    def waiting(self) -> dict[str, str]:
        rows = self._connection().execute(
            "SELECT token, waits_for FROM entries WHERE state = 'received' AND waits_for IS NOT NULL"
        )
        return dict(rows.fetchall())

    def progress(self) -> dict[str, int]:
        rows = self._connection().execute(
            "SELECT token, progress FROM entries WHERE state = 'started' AND progress IS NOT NULL"
        )
        return dict(rows.fetchall())

    def note_progress(self, token: str, percent: int) -> None:
        self._run("UPDATE entries SET progress = ? WHERE token = ? AND state = 'started'", [percent, token])

    def outcomes(self) -> list[Outcome]:
        """Outcomes that the control plane has not acknowledged, in order."""
        rows = self._connection().execute("SELECT outcome FROM entries WHERE state = 'done' AND outcome IS NOT NULL")
        return sorted((load(Outcome, json.loads(row[0])) for row in rows), key=lambda outcome: outcome.seq)

    def acknowledge(self, tokens: Iterable[str]) -> None:
        """Keep the entry, so that a late copy is recognised, but never send its outcome again by itself."""
        self._run_many("UPDATE entries SET state = 'told' WHERE token = ? AND state = 'done'", tokens)

    def withdraw(self, tokens: Iterable[str]) -> None:
        """Requests that are no longer wanted and not started are dropped (EN-4)."""
        self._run_many("DELETE FROM entries WHERE token = ? AND state = 'received'", tokens)

    def cancel(self, tokens: Iterable[str]) -> None:
        self._run_many("UPDATE entries SET cancel = 1 WHERE token = ?", tokens)

    def is_cancelled(self, token: str) -> bool:
        row = self._connection().execute("SELECT cancel FROM entries WHERE token = ?", [token]).fetchone()
        return bool(row and row[0])

    def notice(self, event: NodeEvent) -> None:
        """Spool an event; beyond the cap the newest are dropped and counted rather than the disk filled (EV-4)."""
        row = [event.uuid, time.time(), json.dumps(dump(event))]
        with self._transaction() as connection:
            if _spooled(connection) < MAX_EVENTS:
                connection.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", row)
            else:
                connection.execute("UPDATE facts SET value = value + 1 WHERE name = 'dropped'")

    def spool(self) -> tuple[int, int]:
        """(events that wait, events dropped since the journal was made)"""
        return _spooled(self._connection()), int(self._fact("dropped"))

    def events(self, most: int = 100) -> list[NodeEvent]:
        """The oldest that were not taken yet. One that cannot be read, by whatever wrote it, is dropped and logged (EV-5)."""
        sql = "SELECT uuid, noticed, event FROM events ORDER BY noticed LIMIT ?"
        found, poison = [], []
        for identity, noticed, event in self._connection().execute(sql, [most]).fetchall():
            try:
                found.append(load(NodeEvent, {**json.loads(event), "age": max(0.0, time.time() - noticed)}))
            except (ValueError, TypeError):
                poison.append(identity)
        if poison:
            log.error("events that cannot be read are dropped", extra={"events": poison})
            self.forget_events(poison)
        return found

    def forget_events(self, uuids: Iterable[str]) -> None:
        self._run_many("DELETE FROM events WHERE uuid = ?", uuids)

    def trim(self, keep_told_seconds: float = 86400.0) -> None:
        """Forget what no copy can ask for any more, and removed objects after seven days."""
        self._run("DELETE FROM entries WHERE state = 'told' AND arrived < ?", [time.time() - keep_told_seconds])
        self._run(
            "DELETE FROM objects WHERE wanted = 'absent' AND changed < ?", [time.time() - REMEMBER_REMOVED_SECONDS]
        )

    def generations(self) -> dict[str, int]:
        return dict(
            self._connection().execute("SELECT object_key, generation FROM objects WHERE wanted = 'present'").fetchall()
        )

    def _fact(self, name: str) -> str:
        return str(self._connection().execute("SELECT value FROM facts WHERE name = ?", [name]).fetchone()[0])

    def _run(self, sql: str, values: list[Any] | None = None) -> int:
        with self._transaction() as connection:
            return connection.execute(sql, values or []).rowcount

    def _run_many(self, sql: str, values: Iterable[str]) -> None:
        rows = [[value] for value in values]
        if rows:
            with self._transaction() as connection:
                connection.executemany(sql, rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        with self._writer:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._local.process != os.getpid():
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA synchronous=FULL")
            self._local.connection, self._local.process = connection, os.getpid()
            self._open.append(connection)
        return connection


def _spooled(connection: sqlite3.Connection) -> int:
    """How many events wait. They come and go in order, so none needs to be counted."""
    ends = "SELECT COALESCE((SELECT MAX(rowid) FROM events) - (SELECT MIN(rowid) FROM events) + 1, 0)"
    return int(connection.execute(ends).fetchone()[0])


def _insert(connection: sqlite3.Connection, message: StepMessage, bulk: bool, state: str) -> bool:
    """False when the token is there."""
    inserted = connection.execute(
        "INSERT OR IGNORE INTO entries (token, object_key, action, bulk, message, state, arrived)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [message.token, message.object_key, message.action, int(bulk), json.dumps(dump(message)), state, time.time()],
    )
    return inserted.rowcount == 1
