"""One process of a node whose machine is a FakeHost: `python -m lab.fake_node ROLE --config FILE --state FILE`.

The role `all` is the parent of one process of each other role, and ends when one of them does.

Reporter, workers and byte server are the agent's own; only the machine is made up. It is kept in the file `--state`,
which the node's processes share and which survives their death. A node without an identity enrols with the line in
SF_ENROL_LINE, or on standard input; whichever of its processes comes first does so for all.
"""

import argparse
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nodeagent import control
from nodeagent.config import Config, Identity, identity_path, read_config, read_identity, write_identity
from nodeagent.fake_host import FakeHost
from nodeagent.logs import configure

log = logging.getLogger("lab.fake_node")
ROLES = ("report", "work", "work-bulk", "serve")
SLOW_VERBS = ("create_disk", "start_domain", "stop_domain", "fetch_blob", "ensure_network", "ensure_router")
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.5
CONSOLE = b"steadyfist fake guest\nlogin: "


def identify(config: Config) -> Identity:
    """This node's identity, enrolled now when there is none."""
    path = identity_path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return read_identity(config)
        line = os.environ.get("SF_ENROL_LINE") or sys.stdin.readline()
        return write_identity(config, exchange(line))


def exchange(line: str) -> dict[str, object]:
    """The control plane may still be starting."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return control.enrol(line)
        except control.ControlUnavailable as error:
            if time.monotonic() > end:
                raise
            log.warning("waiting for the control plane", extra={"error": str(error)})
            time.sleep(RETRY_SECONDS)


def machine(config: Config, state: Path, slow: float) -> FakeHost:
    """The node's machine; `slow` seconds are what each verb that would take time on a real one takes."""
    state.parent.mkdir(parents=True, exist_ok=True)
    share = config.share
    host = FakeHost(share.cpus or 16, share.memory_mb or 65536, share.disk_gb or 1000, path=state)
    for verb in SLOW_VERBS:
        host.delay(verb, slow)
    return host


def serve(config: Config, identity: Identity, host: FakeHost) -> None:
    """Bytes of what the machine holds: uploads as they are, and one text as every console."""
    from nodeagent import byte_server

    class Service(byte_server.Service):
        def read_console(self, asked: byte_server.Asked) -> bytes:
            if asked.uuid not in host.inventory().instances:
                raise byte_server.HttpError(404, "no such instance on this node")
            return CONSOLE[-asked.number("length", len(CONSOLE)) :]

    with byte_server.ByteServer(config, identity) as server:
        server.service = Service(config, identity)
        server.serve_forever()


def run_all() -> int:
    """One child a role with this process's own arguments; the first that ends, and a SIGTERM, end the others."""
    at = sys.argv.index("all")
    commands = [[sys.executable, "-m", "lab.fake_node", *sys.argv[1:at], role, *sys.argv[at + 1 :]] for role in ROLES]
    children = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for command in commands]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        return 1
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab.fake_node", description=__doc__)
    parser.add_argument("role", choices=(*ROLES, "all"))
    parser.add_argument("--config", required=True)
    parser.add_argument("--state", required=True, type=Path)
    parser.add_argument("--slow", type=float, default=0.0, help="seconds that each slow verb takes")
    options = parser.parse_args()
    configure(options.role)
    config = read_config(options.config)
    identity = identify(config)
    if options.role == "all":
        return run_all()
    host = machine(config, options.state, options.slow)
    if options.role == "serve":
        serve(config, identity, host)
    elif options.role == "report":
        from nodeagent.reporter import run as report

        report(config, identity, host, None)
    else:
        from nodeagent.worker import run as work

        work(config, identity, host, bulk=options.role == "work-bulk")
    return 0


if __name__ == "__main__":
    sys.exit(main())
