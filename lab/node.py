"""A node: one process tree with its own network, mounts, process numbers and host name, and its own libvirtd and agent.

To what runs inside it is a host like any other: configuration, state and sockets are where an operator has them.
`python -m lab.node NUMBER` is its first process; killing that is a power cut, and `start` brings the node back.
"""

import os
import shutil
import socket
import sys
import uuid
from pathlib import Path

from lab import control, mounts, network
from lab.layout import (
    CODE,
    CONFIG,
    CONTROL_ADDRESS,
    EGRESS_BRIDGE,
    FIRST_NODE,
    PROXY_PORT,
    PYTHON,
    STATE,
    USER,
    NodeLayout,
    from_environment,
)
from lab.supervisor import Program, Supervisor
from lab.tree import Tree, announce

RUN = Path("/run/steadyfist")
LIBVIRT_SOCKET = Path("/run/libvirt/libvirt-sock")
MOST_NODES = 16
LIBVIRTD = """listen_tls = 0
listen_tcp = 1
listen_addr = "{address}"
auth_tcp = "none"
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "libvirt"
unix_sock_rw_perms = "0770"
host_uuid = "{uuid}"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
min_workers = 2
max_workers = 8
prio_workers = 2
"""
# QEMU runs as the agent's user: disks and console logs are files that both have open.
QEMU = """user = "{user}"
group = "{user}"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
migration_address = "{address}"
migration_host = "{address}"
"""

_SHARE = {"cpus": "4", "memory_mb": "4096", "disk_gb": "40"}
"""What of the machine a node offers unless NODE_CPUS, NODE_MEMORY_MB or NODE_DISK_GB say otherwise."""


def tree(node: NodeLayout) -> Tree:
    kinds = ("--mount", "--pid", "--uts", "--ipc", "--net")
    return Tree(node.directory, ("lab.node", str(node.number)), kinds)


def start(node: NodeLayout) -> bool:
    """Bring the node up if it is not, enrolling it the first time; whether that was needed."""
    grown = tree(node)
    if grown.pid:
        return False
    _prepare(node)
    if not node.identity.exists():
        node.enrolment.write_text(control.manage(node.lab, "enrol_node", "--replace", node.name))
    grown.start(node.lab.environment())
    assert grown.pid
    network.plug_in(node, grown.pid)
    return True


def _prepare(node: NodeLayout) -> None:
    """Folders and configuration as they are on a real host."""
    for name in ("log", "etc", "libvirt/lib", "libvirt/log", "libvirt/etc"):
        (node.directory / name).mkdir(parents=True, exist_ok=True)
    (node.lab.cache / "libvirt").mkdir(parents=True, exist_ok=True)
    node.state.mkdir(exist_ok=True)
    shutil.chown(node.state, USER, USER)
    node.enrolment.touch(mode=0o600)
    proxy = "" if node.lab.offline else f"http://{CONTROL_ADDRESS}:{PROXY_PORT}"
    allowed = ", ".join(f'"{block}"' for block in os.environ.get("FETCH_ALLOW", "").split(",") if block)
    share = [f"{name} = {os.environ.get(f'NODE_{name.upper()}') or default}" for name, default in _SHARE.items()]
    lines = [
        f'name = "{node.name}"',
        f'mesh_address = "{node.address}"',
        f'egress_bridge = "{EGRESS_BRIDGE}"',
        f'fetch_proxy = "{proxy}"',
        f"fetch_allow = [{allowed}]",
        'migration_uri = "qemu+tcp://{address}/system"',
        f"time_scale = {node.lab.time_scale}",
        "[share]",
        *share,
    ]
    (node.directory / "etc" / CONFIG.name).write_text("\n".join(lines) + "\n")
    identity = uuid.uuid5(uuid.NAMESPACE_URL, str(node.directory))
    etc = node.directory / "libvirt" / "etc"
    (etc / "libvirtd.conf").write_text(LIBVIRTD.format(address=node.address, uuid=identity))
    (etc / "qemu.conf").write_text(QEMU.format(address=node.address, user=USER))


def programs(node: NodeLayout) -> list[Program]:
    """In the order in which they start. The agent's own processes give up root by themselves."""
    found = [
        Program(name="nethelper", command=_agent("nethelper"), ready=RUN / "nethelper.sock"),
        Program(name="libvirtd", command=("/usr/sbin/libvirtd", "--listen"), ready=LIBVIRT_SOCKET),
    ]
    if not node.identity.exists():
        found.append(Program(name="enrol", command=_agent("enrol"), once=True, stdin=node.enrolment))
    return [*found, *(Program(name=role, command=_agent(role)) for role in ("report", "work", "work-bulk", "serve"))]


def _agent(role: str) -> tuple[str, ...]:
    return (str(PYTHON), "-m", "nodeagent", role, "--config", str(CONFIG))


def run(node: NodeLayout) -> None:
    """The tree's first process."""
    announce(node.directory)
    socket.sethostname(f"sf-{node.name}")
    _mount(node)
    os.chdir(CODE)
    network.configure_node(node)
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(CODE),
        "LANG": "C.UTF-8",
        "HOME": "/root",
    }
    Supervisor(node.directory, programs(node), environment).run()


def _mount(node: NodeLayout) -> None:
    """Everything that a host has one of and that nodes must not share."""
    mounts.mount_processes()
    mounts.mount("-t", "sysfs", "sysfs", "/sys")
    mounts.mount_code()
    names = node.directory / "hosts"
    others = (f"198.18.0.{FIRST_NODE + number} sf-n{number}\n" for number in range(1, MOST_NODES + 1))
    names.write_text("127.0.0.1 localhost\n" + "".join(others))
    libvirt = node.directory / "libvirt"
    for source, place in {
        names: Path("/etc/hosts"),
        Path(os.devnull): Path("/etc/resolv.conf"),
        node.directory / "etc": CONFIG.parent,
        node.state: STATE,
        libvirt / "etc": Path("/etc/libvirt"),
        libvirt / "lib": Path("/var/lib/libvirt"),
        libvirt / "log": Path("/var/log/libvirt"),
        node.lab.cache / "libvirt": Path("/var/cache/libvirt"),
    }.items():
        mounts.bind(source, place)
    mounts.temporary("/run", "64m")
    for name in ("netns", "libvirt", "lock"):
        Path("/run", name).mkdir()


if __name__ == "__main__":
    run(from_environment().node(int(sys.argv[1])))
