"""The privileged process: takes typed requests on a unix socket from the agent's user and root, from nobody else.

It is told who calls by the kernel (SO_PEERCRED), gives up all power that it does not need before it takes the first
request, and answers every request, also a malformed one, with a line of its own.
"""

import errno
import logging
import os
import pwd
import resource
import signal
import socket
import struct
import threading
from contextlib import suppress

from nodeagent.config import Config
from nodeagent.nethelper import capabilities
from nodeagent.nethelper.node import Node
from nodeagent.nethelper.protocol import MAX_LINE, NetworkError, decode_request, encode_answer, encode_error

_CREDENTIALS = struct.Struct("3i")
_BACKLOG = 64
log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Serve until SIGTERM or SIGINT. What was made stays: guests keep their networks while this process restarts."""
    listener = listen(config)
    # Each router takes three descriptors, and the usual limit is that of a process with few files.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    capabilities.drop()
    node = Node(config)
    server = Server(node, listener, allowed_users(config))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    try:
        server.serve()
    finally:
        config.helper_socket.unlink(missing_ok=True)


def listen(config: Config) -> socket.socket:
    """The listening socket, its file and the agent's own folder owned by the agent's user.

    Needs the power to give files away: call it first. The folder above stays root's, or the agent could put something
    else in the place of what this process writes there.
    """
    config.run.mkdir(mode=0o755, parents=True, exist_ok=True)
    (config.run / "resolvers").mkdir(mode=0o755, exist_ok=True)
    config.agent_run.mkdir(mode=0o755, exist_ok=True)
    path = config.helper_socket
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    for user in allowed_users(config) - {0}:
        os.chown(path, user, -1)
        os.chown(config.agent_run, user, -1)
    listener.listen(_BACKLOG)
    return listener


def allowed_users(config: Config) -> frozenset[int]:
    """Root and the agent's user; root alone where there is no such user."""
    try:
        return frozenset({0, pwd.getpwnam(config.user).pw_uid})
    except KeyError:
        log.warning("no user %s: only root may ask", config.user)
        return frozenset({0})


class Server:
    """One thread for each connection; an idle one costs nothing but its thread."""

    def __init__(self, node: Node, listener: socket.socket, allowed: frozenset[int]) -> None:
        self._node = node
        self._listener = listener
        self._allowed = allowed
        self._stopped = threading.Event()

    def serve(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                if self._stopped.is_set():
                    break
                raise
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()
        self._listener.close()

    def stop(self) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)

    def _converse(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines, suppress(OSError):
            user = _peer(connection)
            if user not in self._allowed:
                log.warning("user %d may not ask", user)
                connection.sendall(encode_error(NetworkError(errno.EPERM, f"user {user}", "may not ask")))
                return
            while line := lines.readline(MAX_LINE):
                if not line.endswith(b"\n"):
                    # The rest of it would be read as further requests, and answered.
                    connection.sendall(encode_error(NetworkError(errno.EMSGSIZE, "request", "not a whole line")))
                    return
                connection.sendall(self._answer(line))

    def _answer(self, line: bytes) -> bytes:
        try:
            request, sent = decode_request(line)
            return encode_answer(self._node.answer(request, sent))
        except NetworkError as error:
            log.info("%s", error)
            return encode_error(error)
        except OSError as error:
            log.exception("request failed")
            return encode_error(NetworkError(error.errno or errno.EIO, str(error.filename or "node"), str(error)))
        except Exception as error:
            # The thread must answer whatever happens: a caller that waits for ever is worse than a vague answer.
            log.exception("request failed")
            return encode_error(NetworkError(errno.EIO, type(error).__name__, str(error)))


def _peer(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])
