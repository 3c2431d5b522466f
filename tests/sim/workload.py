"""Clients that create and delete while processes die: each repeats what failed, as a program of a user would.

A create carries an Idempotency-Key and is sent again with it until it is answered; so is a delete until the instance is
going. What each client believes in the end must be what the cluster has.
"""

import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

import requests

from lab.plane import Client, new_instance

PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.3
KEPT = 6
"""How many instances each client keeps; beyond that it deletes one for each that it creates."""


class GaveUp(Exception):
    """A call was not answered in `PATIENCE_SECONDS`, however often it was repeated."""


class User(threading.Thread):
    """`alive` are the instances that it was told of and did not delete, `gone` those it deleted."""

    def __init__(self, urls: Sequence[str], networks: Sequence[str], seed: int, creates: int, pause: float) -> None:
        super().__init__(name=f"user-{uuid.uuid4().hex[:8]}", daemon=True)
        self._clients = [Client(url) for url in urls]
        self._random = random.Random(seed)
        self._networks = list(networks)
        self._creates = creates
        self._pause = pause
        self.alive: list[str] = []
        self.gone: list[str] = []
        self.answers: Counter[str] = Counter()
        self.error: Exception | None = None
        self.stopped = threading.Event()

    def run(self) -> None:
        try:
            for number in range(self._creates):
                if self.stopped.is_set():
                    return
                self._add(f"{self.name}-{number}")
                time.sleep(self._random.uniform(0.0, 2.0) * self._pause)
                if len(self.alive) > KEPT:
                    self._remove(self.alive[self._random.randrange(len(self.alive))])
        except Exception as error:
            self.error = error
        finally:
            for client in self._clients:
                client.close()

    def _add(self, name: str) -> None:
        body = new_instance(name, self._random.choice(self._networks), user_data="cGxhbnRlZA==")
        key = str(uuid.uuid4())
        answer = self._insist("POST", "/instances", body, {200}, {"Idempotency-Key": key})
        self.alive.append(answer["uuid"])

    def _remove(self, instance: str) -> None:
        self._insist("DELETE", f"/instances/{instance}", None, {200, 404}, {})
        self.alive.remove(instance)
        self.gone.append(instance)

    def _insist(self, method: str, path: str, body: Any, good: set[int], headers: dict[str, str]) -> Any:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self._try(method, path, body, headers)
            if answer is not None and answer.status_code in good:
                return answer.json()
            if time.monotonic() > end:
                raise GaveUp(f"{method} {path}: {answer.text[:300] if answer is not None else 'no answer'}")
            time.sleep(self._random.uniform(0.5, 1.5) * PAUSE_SECONDS)

    def _try(self, method: str, path: str, body: Any, headers: dict[str, str]) -> requests.Response | None:
        client = self._random.choice(self._clients)
        try:
            answer = client.call(method, path, body, **headers)
        except requests.RequestException as error:
            self.answers[type(error).__name__] += 1
            return None
        self.answers[f"{method} {answer.status_code}"] += 1
        if answer.status_code == 401:
            client.session.headers.pop("Authorization", None)
        return answer
