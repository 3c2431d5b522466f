"""The socket of the privileged process: who may ask, what is understood, and what the process may do itself."""

import errno
import json
import os
import re
import signal
import socket
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from nodeagent.host import Retry
from nodeagent.nethelper import capabilities
from nodeagent.nethelper.client import NetHelper, NetworkError
from nodeagent.nethelper.protocol import MAX_LINE
from nodeagent.wire import dump
from tests.drivers.netlab import ROOT, Lab, Network, Node

real = pytest.mark.real


def ask(node: Node, line: bytes) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(node.directory / "nethelper.sock"))
        # Who may not ask is told so at once, perhaps before it has asked.
        with suppress(BrokenPipeError):
            connection.sendall(line + b"\n")
        answer: dict[str, object] = json.loads(connection.makefile().readline())
    return answer


@real
def test_only_the_agent_and_root_may_ask(node: Node, network: Network) -> None:
    """NL-7: a third user is turned away by what the kernel says of it, even where the file would let it in."""
    path = node.directory / "nethelper.sock"
    mode = path.stat()
    assert (stat.S_IMODE(mode.st_mode), mode.st_uid) == (0o600, 65534)
    path.chmod(0o666)
    assert _as_user(65534, node) == "Held"
    assert _as_user(12345, node) == f"{errno.EPERM}"
    path.chmod(0o600)


def _as_user(user: int, node: Node) -> str:
    """The kind of answer that a process of that user is given, or the errno of the error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(user, user, user)
            document = ask(node, b'{"request":"Inventory","sent":0,"body":{}}')
            error = document.get("error")
            os.write(writer, str(error["errno"] if isinstance(error, dict) else document["answer"]).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        return answer.read()


@real
@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[1]",
        b"[" * 100000,
        b'{"request":"Reboot","sent":0,"body":{}}',
        b'{"request":"Inventory","body":{}}',
        b'{"request":"RemoveNetwork","sent":0,"body":{"network":"../etc","vni":1}}',
        b'{"request":"EnsureNetwork","sent":0,"body":{"spec":{"network":"%s","vni":1,"run":"sh"}}}',
        b'{"request":"EnsureNetwork","sent":0,"body":{"spec":{"network":"%s","vni":1,"peers":["-x"]}}}',
        b'{"request":"EnsureNetwork","sent":0,"body":{"spec":{"network":"%s","vni":"1"}}}',
        b'{"request":"Ping","sent":0,"body":{"network":"%s","vni":1,"address":"-f 10.0.0.1"}}',
    ],
)
def test_malformed_request_changes_nothing(node: Node, network: Network, line: bytes) -> None:
    """NL-7, SE-13: it is answered with an error, and the next one is served."""
    before = node.sh("ip -o link")
    answer = ask(node, line.replace(b"%s", network.uuid.encode()))
    assert answer["error"]["errno"] == errno.EINVAL  # type: ignore[index]
    assert node.sh("ip -o link") == before
    assert node.helper.inventory().networks == {}


@real
def test_endless_request_is_cut_off(node: Node) -> None:
    """NL-7: a line longer than any request is refused once, and its rest is not taken for more of them."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(node.directory / "nethelper.sock"))
        connection.sendall(b"x" * MAX_LINE)
        answers = connection.makefile().readlines()
    assert [json.loads(line)["error"]["errno"] for line in answers] == [errno.EMSGSIZE]


@real
def test_hostile_names_reach_no_file(node: Node, network: Network) -> None:
    """SE-13: a name with a line end in it never gets as far as the resolver's configuration."""
    node.helper.ensure_network(network.spec())
    spec = json.loads(json.dumps({"spec": dump(network.router())}).replace("guest11", "a\\ndhcp-script=/bin/sh"))
    answer = ask(node, json.dumps({"request": "EnsureRouter", "sent": 0, "body": spec}).encode())
    assert answer["error"]["errno"] == errno.EINVAL  # type: ignore[index]
    assert node.router_names() == []


@real
def test_process_keeps_few_powers(node: Node) -> None:
    """NL-7: the sets of the running process, and that what it starts can have no more."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    sets = {name: int(bits, 16) for name, bits in re.findall(r"Cap(\w+):\s*(\w+)", status)}
    kept = sum(1 << number for number in capabilities.KEPT)
    assert sets == {"Inh": 0, "Prm": kept, "Eff": kept, "Bnd": kept, "Amb": 0}


@real
def test_error_names_number_and_object(lab: Lab, node: Node, network: Network) -> None:
    """NL-4: an underlay device that is not there is told by name."""
    node.sh("ip link set eth0 name eth9 down")
    try:
        with pytest.raises(NetworkError) as refused:
            node.helper.ensure_network(network.spec())
        assert (refused.value.errno, refused.value.object) == (errno.ENODEV, "eth0")
    finally:
        node.sh("ip link set eth9 name eth0 up")


@real
def test_client_finds_the_process_again(lab: Lab, network: Network) -> None:
    """NL-7: gone is Retry, back is as if nothing had been."""
    node = lab.nodes[1]
    node.helper.inventory()
    keeps_its_connection = node.helper
    node.stop(signal.SIGKILL)
    with pytest.raises(Retry) as unavailable:
        node.helper.inventory()
    assert unavailable.value.code == "nethelper.unavailable"
    node.start()
    keeps_its_connection.inventory()
    connected = NetHelper(node.directory / "nethelper.sock", timeout=20)
    connected.inventory()
    os.kill(node.pid, signal.SIGTERM)
    node.process.wait(timeout=10)
    assert not (node.directory / "nethelper.sock").exists()
    node.start()
    assert connected.inventory().unreadable == ()
    connected.close()


def test_client_without_a_process(tmp_path: Path) -> None:
    """NL-7: no socket at all is a transient cause too."""
    with pytest.raises(Retry, match=r"No such file"):
        NetHelper(tmp_path / "none").inventory()


def test_no_other_program_is_run() -> None:
    """NL-1: nothing in the agent names a network program, and the privileged process starts its two from one place."""
    names = "ip|bridge|brctl|nft|iptables|sysctl|arping|route|dhcp_release"
    programs = re.compile(rf"""/s?bin/({names})\b|\[\s*["']({names})["'],|(run|call|Popen)\(\s*["']({names})\b""")
    starting = re.compile(r"\bsubprocess\b|\bos\.(system|exec|spawn|popen|posix_spawn)|\bPopen\b")
    sources = {path: path.read_text() for path in (ROOT / "nodeagent").rglob("*.py")}
    assert [path for path, text in sources.items() if programs.search(text)] == []
    own = {path.name for path, text in sources.items() if path.parent.name == "nethelper" and starting.search(text)}
    assert own == {"services.py"}
    assert sources[ROOT / "nodeagent/nethelper/services.py"].count("Popen(") == 1


def test_one_hand_on_the_net() -> None:
    """NF-1: only the privileged process's package imports pyroute2, and its client does not."""
    importing = re.compile(r"^\s*(import|from) pyroute2", re.MULTILINE)
    for path in (ROOT / "nodeagent").rglob("*.py"):
        if importing.search(path.read_text()):
            assert path.parent.name == "nethelper" and path.name not in ("client.py", "protocol.py", "names.py")
