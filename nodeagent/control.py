"""The way from a node to its control plane: a list of addresses, HTTP, the node's credential.

Calls are spread over the addresses. One that refuses is left out at once, one that hangs after its timeout, both for a
while; so a dead control-plane instance costs nothing and a hung one at most fifteen seconds (BY-10).
"""

import json
import random
import time
from typing import Any

import urllib3

from nodeagent.config import Identity
from nodeagent.wire import Json, Outcome, Report, ReportAnswer, dump, load

TIMEOUT = urllib3.Timeout(connect=3.0, read=12.0)
LEFT_OUT_SECONDS = 30.0


class ControlUnavailable(Exception):
    """No address answered. Nothing is lost: the journal keeps what was to be said."""


class NodeDeleted(Exception):
    """The control plane has deleted this node: take no work, touch nothing (EN-12)."""


class Refusal(Exception):
    """The control plane answered, and the answer is no; `status` is the HTTP one."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Control:
    """Thread-safe; connections are kept and shared by the threads, and by all that are given the same `http`."""

    def __init__(self, identity: Identity, http: urllib3.PoolManager | None = None) -> None:
        self._identity = identity
        self._left_out: dict[str, float] = {}
        http = http or urllib3.PoolManager(num_pools=32, maxsize=16, retries=False, timeout=TIMEOUT)
        self._pools = {address: http.connection_from_url(address) for address in identity.control}

    def report(self, report: Report) -> ReportAnswer:
        return load(ReportAnswer, self._call("/internal/report", dump(report)))

    def outcomes(self, incarnation: str, outcomes: list[Outcome]) -> ReportAnswer:
        body = {"incarnation": incarnation, "outcomes": [dump(outcome) for outcome in outcomes]}
        return load(ReportAnswer, self._call("/internal/outcomes", body))

    def secrets(self, token: str) -> Json:
        return self._call(f"/internal/steps/{token}/secrets", {})

    def ticket(self, token: str, blob: str, peer: str) -> Json:
        return self._call("/internal/tickets", {"token": token, "blob": blob, "peer": peer})

    def instance_ticket(self, token: str, instance: str, peer: str) -> Json:
        return self._call("/internal/tickets", {"token": token, "instance": instance, "peer": peer})

    def _call(self, path: str, body: Json) -> Json:
        headers = {
            "Authorization": f"Node {self._identity.node}:{self._identity.secret}",
            "Content-Type": "application/json",
        }
        text = json.dumps(body).encode()
        problems = []
        for address in self._addresses():
            try:
                answer = self._pools[address].urlopen("POST", path, text, headers, retries=False, redirect=False)
            except urllib3.exceptions.HTTPError as error:
                self._left_out[address] = time.monotonic() + LEFT_OUT_SECONDS
                problems.append(f"{address}: {type(error).__name__}")
                continue
            if answer.status >= 500:
                problems.append(f"{address}: {answer.status}")
                continue
            return self._read(answer)
        raise ControlUnavailable("; ".join(problems))

    def _read(self, answer: urllib3.BaseHTTPResponse) -> Json:
        if answer.status == 410:
            raise NodeDeleted(self._identity.name)
        if answer.status != 200:
            raise Refusal(answer.status, _text(answer))
        try:
            document: Json = answer.json()
        except ValueError as error:
            raise ControlUnavailable("the answer is not JSON") from error
        return document

    def _addresses(self) -> list[str]:
        """All addresses in random order, those that failed lately last."""
        now = time.monotonic()
        addresses = list(self._identity.control)
        random.shuffle(addresses)
        return sorted(addresses, key=lambda address: self._left_out.get(address, 0.0) > now)


def _text(answer: urllib3.BaseHTTPResponse) -> str:
    return answer.data.decode(errors="replace")[:200]


def enrol(line: str) -> dict[str, Any]:
    """Exchange the line that `manage.py enrol_node` printed for the identity document. Raises Refusal or ControlUnavailable."""
    form, _, rest = line.strip().partition(":")
    addresses, node, secret = [*rest.rsplit(":", 2), "", ""][:3]
    if form != "sf1" or not node or not secret:
        raise ValueError("an enrolment line looks like sf1:<control addresses>:<node uuid>:<secret>")
    http = urllib3.PoolManager(retries=False, timeout=TIMEOUT)
    problems = []
    for address in addresses.split(","):
        try:
            answer = http.request("POST", f"{address}/internal/enrol", json={"node": node, "secret": secret})
        except urllib3.exceptions.HTTPError as error:
            problems.append(f"{address}: {type(error).__name__}")
            continue
        if answer.status != 200:
            raise Refusal(answer.status, _text(answer))
        document: dict[str, Any] = answer.json()
        return document
    raise ControlUnavailable("; ".join(problems))
