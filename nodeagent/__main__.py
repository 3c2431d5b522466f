"""The agent's command line: `python -m nodeagent ROLE --config FILE`. One process a role, see docs/operators.md.

enrol     exchange the line on standard input for this node's identity
nethelper the privileged hand on the network; starts first, as root, and keeps only the capabilities it needs
report, work, work-bulk, serve   as the agent's own user
"""

import argparse
import logging
import os
import pwd
import sys

from nodeagent import control
from nodeagent.config import Config, read_config, read_identity, write_identity
from nodeagent.logs import configure

log = logging.getLogger("nodeagent")
ROLES = ("enrol", "nethelper", "report", "work", "work-bulk", "serve")


def main() -> int:
    parser = argparse.ArgumentParser(prog="nodeagent", description="The Steadyfist node agent.")
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--config", default="/etc/steadyfist/agent.toml")
    options = parser.parse_args()
    config = read_config(options.config)
    configure(options.role)
    if options.role == "nethelper":
        from nodeagent.nethelper.server import run as run_helper

        run_helper(config)
        return 0
    become(config.user)
    if options.role == "enrol":
        write_identity(config, control.enrol(sys.stdin.readline()))
        return 0
    _run(options.role, config)
    return 0


def become(user: str) -> None:
    """Give up root for the agent's user and its groups; libvirt's group is strong, but it holds no network capability."""
    if os.getuid() != 0:
        return
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir


def _run(role: str, config: Config) -> None:
    from nodeagent.drivers import cpu_time

    identity = read_identity(config)
    cpu_time.note(config, role)
    if role == "serve":
        from nodeagent.byte_server import run as serve

        serve(config, identity)
        return
    from nodeagent.drivers.real_host import RealHost
    from nodeagent.nethelper.client import NetHelper

    helper = NetHelper(config.helper_socket)
    host = RealHost(config, helper)
    if role == "report":
        from nodeagent.reporter import run as report

        host.watch()
        report(config, identity, host, helper)
    else:
        from nodeagent.worker import run as work

        work(config, identity, host, bulk=role == "work-bulk")


if __name__ == "__main__":
    sys.exit(main())
