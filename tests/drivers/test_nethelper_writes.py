"""What the privileged process writes, counted where it writes: in this process, against the real kernel."""

import errno
import math
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nodeagent.config import Config
from nodeagent.nethelper import firewall, names
from nodeagent.nethelper.announce import gratuitous
from nodeagent.nethelper.firewall import Gate, gate_for
from nodeagent.nethelper.node import Node
from nodeagent.nethelper.protocol import EnsureNetwork, EnsureRouter, NetworkError, RemoveNetwork, RemoveRouter, now
from nodeagent.nethelper.questions import answered, offered
from tests.drivers.netlab import Lab, Network, inside, sh

real = pytest.mark.real


@pytest.fixture
def made(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Network]]:
    """A network with a router that needs no resolver, made by a Node of this process in the second node's namespace."""
    host = lab.nodes[1]
    directory = tmp_path_factory.mktemp("writes")
    values = {**host.config, "run_dir": str(directory)}
    config = Config(**values)  # type: ignore[arg-type]
    node = inside(f"/run/netns/{host.namespace}", lambda: Node(config, directory / "netns"))
    network = Network()
    try:
        yield node, network
    finally:
        node.answer(RemoveRouter(network=network.uuid, vni=network.vni), now())
        node.answer(RemoveNetwork(network=network.uuid, vni=network.vni), now())
        left = node.namespaces.names()
        for name in left:
            node.namespaces.remove(name)
        node.close()
        assert left == []


@real
def test_second_time_writes_nothing(made: tuple[Node, Network]) -> None:
    """NL-4, NL-5: no netlink change, no nftables transaction, when all is as it should be; no socket per request."""
    node, network = made
    requests = [
        EnsureNetwork(spec=network.spec()),
        EnsureRouter(spec=network.router(dhcp=False, dns=False)),
        EnsureRouter(spec=network.router(dhcp=False, dns=False, rivals=True)),
    ]
    for request in requests:
        node.answer(request, now())
    router = node.namespaces.find(names.router(network.uuid, network.vni))
    assert router is not None
    before = (node.namespaces.node.writes, router.writes, len(list(Path("/proc/self/fd").iterdir())))
    for request in (requests[0], requests[2]):
        assert node.answer(request, now()).change == "unchanged"
    assert (node.namespaces.node.writes, router.writes, len(list(Path("/proc/self/fd").iterdir()))) == before


@real
def test_mesh_is_written_in_one_send(made: tuple[Node, Network], monkeypatch: pytest.MonkeyPatch) -> None:
    """NL-5: two hundred peers are one dump and one batch."""
    node, network = made
    node.answer(EnsureNetwork(spec=network.spec()), now())
    kernel = node.namespaces.node.netlink
    sent: list[int] = []
    monkeypatch.setattr(kernel, "_socket", _Counting(kernel._socket, sent))
    peers = tuple(f"198.18.0.{number}" for number in range(3, 203))
    request = EnsureNetwork(spec=replace(network.spec(), peers=peers))
    assert node.answer(request, now()).change == "repaired"
    monkeypatch.undo()
    assert max(sent) > 100 * 40 and len(sent) < 20


class _Counting:
    """A socket that notes how many bytes each send had."""

    def __init__(self, inner: socket.socket, sent: list[int]) -> None:
        self._inner, self._sent = inner, sent

    def send(self, data: bytes) -> int:
        self._sent.append(len(data))
        return self._inner.send(data)

    def recv(self, size: int) -> bytes:
        return self._inner.recv(size)


@real
def test_bad_element_leaves_nothing_half_applied(made: tuple[Node, Network]) -> None:
    """NL-3: a transaction with one bad part has no effect at all."""
    node, network = made
    node.answer(EnsureNetwork(spec=network.spec()), now())
    node.answer(EnsureRouter(spec=network.router(dhcp=False, dns=False)), now())
    router = node.namespaces.find(names.router(network.uuid, network.vni))
    assert router is not None
    before = router.nft(lambda rules: rules.table("inet", firewall.TABLE))
    closing = firewall.lease_commands(network.vni, Gate(epoch=9, remaining=None))
    bad = {"add": {"element": {"family": "inet", "table": firewall.TABLE, "name": "nosuch", "elem": ["lo"]}}}
    with pytest.raises(NetworkError) as refused:
        router.nft(lambda rules: rules.apply([*closing, bad], "lease"))
    assert refused.value.errno == errno.ENOENT
    assert router.nft(lambda rules: rules.table("inet", firewall.TABLE)) == before


@real
def test_handle_is_dropped_with_its_namespace(made: tuple[Node, Network]) -> None:
    """NL-8: a namespace of the same name with another inode is another one; its descriptors are not kept."""
    node, _ = made
    spaces = node.namespaces
    first, created = spaces.ensure("sfr-test")
    assert created and spaces.find("sfr-test") is first
    path = spaces.directory / "sfr-test"
    sh(f"umount -l {path}")
    path.unlink()
    spaces.door.create(path)
    second, created = spaces.ensure("sfr-test")
    assert not created and second.inode != first.inode
    assert first.netlink._socket.fileno() == -1
    assert spaces.remove("sfr-test") and not spaces.remove("sfr-test")
    (spaces.directory / "sfr-left").touch()
    assert spaces.find("sfr-left") is None
    assert spaces.names() == []


@real
def test_threads_stay_where_they_are(made: tuple[Node, Network]) -> None:
    """NL-8: work inside a namespace never moves the caller, and one that fails leaves the door at home."""
    node, _ = made
    space, _ = node.namespaces.ensure("sfr-door")
    here = Path("/proc/thread-self/ns/net").readlink()

    def fail() -> None:
        raise RuntimeError(str(Path("/proc/thread-self/ns/net").readlink()))

    with pytest.raises(RuntimeError, match=str(space.inode)):
        space.inside(fail)
    assert Path("/proc/thread-self/ns/net").readlink() == here
    assert (
        node.namespaces.node.inside(lambda: Path("/proc/thread-self/ns/net").readlink().name) != f"net:[{space.inode}]"
    )
    node.namespaces.remove("sfr-door")


@pytest.mark.parametrize(
    ("held", "epoch", "seconds", "expected"),
    [
        (None, 1, 50.0, Gate(1, 50.0)),
        (None, 1, 0.5, Gate(1, None)),
        (Gate(1, 20.0), 1, 50.0, Gate(1, 50.0)),
        (Gate(1, 48.5), 1, 50.0, Gate(1, 48.5)),
        (Gate(1, 20.0), 1, 0.0, Gate(1, 20.0)),
        (Gate(1, None), 1, 0.0, Gate(1, None)),
        (Gate(1, 20.0), 2, 5.0, Gate(2, 5.0)),
        (Gate(1, math.inf), 1, 5.0, Gate(1, 5.0)),
        (Gate(1, math.inf), 1, 0.0, Gate(1, None)),
        (Gate(1, 5.0), 1, math.inf, Gate(1, math.inf)),
    ],
)
def test_gate_that_a_spec_leaves_behind(held: Gate | None, epoch: int, seconds: float, expected: Gate) -> None:
    """EN-11: a term is only ever prolonged, but for a newer one's or a rival's sake."""
    assert gate_for(held, epoch, seconds) == expected


def test_gratuitous_frames() -> None:
    """NL-6: a request and a reply, both to everybody, sender and target the same address."""
    request, reply = gratuitous("02:00:00:00:00:07", "10.0.0.9")
    assert len(request) == len(reply) == 42
    assert request[:6] == reply[:6] == b"\xff" * 6
    assert (request[20:22], reply[20:22]) == (b"\0\1", b"\0\2")
    for frame in (request, reply):
        assert frame[22:28] == frame[6:12] == bytes.fromhex("020000000007")
        assert frame[28:32] == frame[38:42] == socket.inet_aton("10.0.0.9")


@pytest.mark.parametrize("junk", [b"", b"\0" * 20, b"\xff" * 600])
def test_junk_is_no_answer(junk: bytes) -> None:
    """DN-6: only a reply to the very question counts."""
    assert offered(junk, 7) == ""
    assert not answered(7, "10.0.0.1", junk)
