"""`python -m lab run|stop|status|clean|ssh|outside`: what the Makefile's targets do. See `make help`."""

import os
import sys
import time
from typing import Any

from shakenfist_client import apiclient

from lab import cluster, first_boot
from lab.layout import OUTSIDE_ADDRESS, Layout, from_environment


def run(lab: Layout) -> int:
    begin = time.monotonic()
    nodes = int(os.environ.get("NODES") or 1)
    try:
        cluster.bring_up(lab, nodes)
        address = first_boot.boot(lab)
    except (RuntimeError, TimeoutError, OSError, apiclient.APIException) as error:
        print(f"make run failed: {error}", file=sys.stderr)
        return 1
    print(cluster.describe(lab, address))
    print(f"ready after {time.monotonic() - begin:.0f} s")
    return 0


def stop(lab: Layout) -> int:
    cluster.end(lab)
    return 0


def clean(lab: Layout) -> int:
    cluster.clean(lab)
    return 0


def status(lab: Layout) -> int:
    found = cluster.parts(lab)
    rows = [(part.place, part.name, part.state, part.detail) for part in found]
    if all(part.ok for part in found):
        cloud = first_boot.client(lab)
        rows += [("node", row["name"], row["state"], "") for row in cloud.get_nodes()]
        rows += [_instance_row(row) for row in cloud.get_instances()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    return 0 if all(part.ok for part in found) else 1


def _instance_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return "instance", row["name"], row["state"], f"{row.get('power_state')} on {row.get('node')}, {row['uuid']}"


def ssh(lab: Layout) -> int:
    """A shell in the guest that INSTANCE names (the first one), through the router namespace of its network's carrier."""
    name = os.environ.get("INSTANCE") or first_boot.INSTANCE
    cloud = first_boot.client(lab)
    instance = next((row for row in cloud.get_instances() if row["name"] == name), None)
    card = cloud.get_instance_interfaces(instance["uuid"])[0] if instance else None
    if card is None:
        print(f"there is no instance {name}: run `make run`", file=sys.stderr)
        return 1
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    words = ["ssh", *options, "-i", str(lab.ssh_key), f"root@{card['ipv4']}", *sys.argv[2:]]
    command = first_boot.from_router(lab, cloud.get_network(card["network_uuid"]), words)
    os.execvp(command[0], command)


def outside(lab: Layout) -> int:
    """A shell (or the command given) on the outside network, as a stranger to the cluster has it."""
    print(f"outside network, address {OUTSIDE_ADDRESS}", file=sys.stderr)
    os.execvp("ip", ["ip", "netns", "exec", lab.outside, *(sys.argv[2:] or [os.environ.get("SHELL", "/bin/sh")])])


VERBS = {each.__name__: each for each in (run, stop, status, clean, ssh, outside)}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in VERBS:
        print(f"usage: python -m lab {'|'.join(VERBS)}", file=sys.stderr)
        return 2
    if os.getuid() != 0:
        print("the lab needs root: it makes network namespaces", file=sys.stderr)
        return 1
    return VERBS[sys.argv[1]](from_environment())


if __name__ == "__main__":
    sys.exit(main())
