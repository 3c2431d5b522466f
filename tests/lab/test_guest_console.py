"""The console driver against a shell on the other end of a socket."""

import os
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from lab.guest_console import GuestConsole


@pytest.fixture
def shell() -> Iterator[GuestConsole]:
    """A shell whose input and output are a socket, as a guest's are its serial line."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(["sh"], stdin=theirs, stdout=theirs, stderr=theirs, env=dict(os.environ))
    theirs.close()
    with GuestConsole(ours) as console:
        yield console
    process.wait(10)


def test_status_and_output_of_a_command(shell: GuestConsole) -> None:
    assert shell.run("echo one; echo two >&2; exit 3") == (3, "one\ntwo\n")
    assert shell.run("true") == (0, "")
    assert shell.run("printf 'no newline'")[0] == 0


def test_waiting_takes_what_it_found(shell: GuestConsole) -> None:
    shell.send("echo GUEST-READY up=1; echo later\n")
    assert shell.wait(r"GUEST-READY up=(\d+)")[1] == "1"
    shell.wait("later")
    with pytest.raises(TimeoutError, match="was not heard"):
        shell.wait("GUEST-READY", seconds=0.1)


def test_an_end_is_told_from_silence(shell: GuestConsole) -> None:
    shell.send("exit\n")
    with pytest.raises(EOFError):
        shell.wait("never", seconds=10)


def test_a_guest_that_does_not_listen_yet_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    def listen_later() -> None:
        with socket.create_server(("127.0.0.1", port)) as listener:
            accepted, _ = listener.accept()
            with accepted:
                accepted.sendall(b"hello")

    thread = threading.Timer(0.2, listen_later)
    thread.start()
    with GuestConsole(("127.0.0.1", port)) as console:
        console.wait("hello", seconds=5)
    thread.join()
