"""The node's way to its control plane: a list of addresses, a dead one left out at once (BY-10, BY-11)."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from nodeagent import control
from nodeagent.config import Identity
from nodeagent.control import Control, ControlUnavailable, NodeDeleted, Refusal
from nodeagent.wire import ReportAnswer, dump


class Plane:
    """One control-plane instance that answers as it is told."""

    def __init__(self, status=200, body=None):
        self.calls = []
        plane = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                plane.calls.append((self.path, self.headers["Authorization"], json.loads(self.rfile.read(length))))
                text = json.dumps(dump(ReportAnswer()) if body is None else body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def plane():
    made = []

    def make(**more):
        made.append(Plane(**more))
        return made[-1]

    yield make
    for each in made:
        each.close()


def dead_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def a_control(*addresses):
    return Control(
        Identity(node="n", name="n1", secret="s", signing_key="k", broker_url="redis://", control=tuple(addresses))
    )


def closing(made):
    for pool in made._pools.values():
        pool.close()


def test_by_10_a_dead_address_is_left_out_at_once_and_stays_so(plane):
    alive, dead = plane(), dead_address()
    made = a_control(dead, alive.address)
    for _ in range(10):
        assert made.outcomes("i", []) == ReportAnswer()
    assert len(alive.calls) == 10
    assert list(made._left_out) in ([], [dead])
    assert alive.calls[0][1] == "Node n:s"
    closing(made)


def test_calls_are_spread_over_all(plane):
    both = plane(), plane()
    made = a_control(*(each.address for each in both))
    for _ in range(40):
        made.outcomes("i", [])
    assert all(len(each.calls) >= 5 for each in both)
    closing(made)


def test_by_11_an_instance_in_trouble_is_passed_over_and_all_in_trouble_is_said(plane):
    broken, alive = plane(status=503, body={"error": "database"}), plane()
    made = a_control(broken.address, alive.address)
    assert made.outcomes("i", []) == ReportAnswer()
    closing(made)
    alone = a_control(broken.address)
    with pytest.raises(ControlUnavailable, match="503"):
        alone.outcomes("i", [])
    closing(alone)


def test_en_12_a_deleted_node_and_a_refused_one_are_told_apart(plane):
    gone, refused = a_control(plane(status=410, body={}).address), a_control(plane(status=401, body={}).address)
    with pytest.raises(NodeDeleted):
        gone.outcomes("i", [])
    with pytest.raises(Refusal, match="401"):
        refused.outcomes("i", [])
    closing(gone)
    closing(refused)


def test_en_12_an_enrolment_line_is_exchanged_and_a_wrong_one_is_refused(plane):
    answering = plane(body={"node": "x"})
    assert control.enrol(f"sf1:{dead_address()},{answering.address}:node:secret\n") == {"node": "x"}
    assert answering.calls[0][2] == {"node": "node", "secret": "secret"}
    for wrong in ("", "sf2:a:b:c", "sf1:a", "nonsense"):
        with pytest.raises(ValueError, match="enrolment line"):
            control.enrol(wrong)
