"""Private MariaDB and Redis servers for the lab and the tests: own directory, own sockets, ended by their process id."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
_children: list[subprocess.Popen[bytes]] = []
"""What this process started, kept so that each is reaped when it has ended."""


def keep(process: "subprocess.Popen[bytes]") -> None:
    """Have it reaped when it has ended; it goes on when this process ends."""
    _children.append(process)


class ServerFailed(RuntimeError):
    """A private server did not start; the text ends with its log."""


def alive(pid: int) -> bool:
    """True while the process runs; a zombie that nobody has reaped is dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def end(pid: int, seconds: float = 20.0, first: int = signal.SIGTERM) -> None:
    """Ask the process to end, wait, and kill it when it does not."""
    for number, patience in ((first, seconds), (signal.SIGKILL, 5.0)):
        if not alive(pid):
            break
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.02)
    reap()


def reap() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class MariaDb:
    """One mariadbd with `deploy/mariadb.cnf`. `address` and `port` are optional; the socket is always there.

    sockets  where its socket lies, when not in `directory`: the kernel takes no path above 107 bytes
    more     what its environment has besides
    """

    directory: Path
    address: str = "127.0.0.1"
    port: int = 0
    fast: bool = False
    sockets: Path | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def socket(self) -> Path:
        return (self.sockets or self.directory) / "mariadb.sock"

    @property
    def pid_path(self) -> Path:
        return self.directory / "mariadb.pid"

    def start(self) -> None:
        """Make the data directory when it is new, start the server, wait until it answers."""
        pid = read_pid(self.pid_path)
        if pid and alive(pid):
            return
        self.install()
        log = self.directory / "mariadb.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.more},
                start_new_session=True,
            )
        keep(process)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise ServerFailed(f"mariadbd did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        pid = read_pid(self.pid_path)
        if pid:
            end(pid, 30.0)

    def execute(self, sql: str) -> str:
        """Run SQL as the server's root over its socket; passwords travel on standard input only."""
        command = ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch"]
        return subprocess.run(command, input=sql, text=True, capture_output=True, check=True).stdout

    def bootstrap(self, database: str, app_password: str, schema_password: str) -> None:
        """Run `deploy/bootstrap.sql`, the same that an operator runs."""
        # Nameless users of a new server would be taken for anybody who comes by the socket.
        self.execute("DELETE FROM mysql.global_priv WHERE User = ''; FLUSH PRIVILEGES;")
        variables = (
            f"SET @database='{database}', @app_password='{app_password}', @schema_password='{schema_password}';\n"
        )
        self.execute(variables + (REPOSITORY / "deploy" / "bootstrap.sql").read_text())

    def install(self) -> None:
        """Make the data directory when there is none that is whole."""
        if (self.data / "mysql").is_dir():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)
        command = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={self.data}",
            f"--tmpdir={self.directory}",
            "--auth-root-authentication-method=normal",
        ]
        command += ["--skip-test-db", f"--user={_owner()}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerFailed(f"mariadb-install-db failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")

    def command(self) -> list[str]:
        command = [
            "mariadbd",
            f"--defaults-file={REPOSITORY / 'deploy' / 'mariadb.cnf'}",
            f"--datadir={self.data}",
            # a server that starts deletes left-over tables in its directory for them: no two may share one
            f"--tmpdir={self.directory}",
        ]
        command += [f"--socket={self.socket}", f"--pid-file={self.pid_path}", f"--user={_owner()}"]
        command += [f"--bind-address={self.address}", f"--port={self.port}"] if self.port else ["--skip-networking"]
        if self.fast:
            command += ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0", "--sync-binlog=0"]
        return command

    def answers(self) -> bool:
        if not self.socket.exists():
            return False
        command = ["mariadb-admin", "--no-defaults", f"--socket={self.socket}", "--user=root", "ping"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Redis:
    """One redis-server on `address`:`port` and on a unix socket; append-only, so that a restart loses at most a second.

    users  access rules of users other than the default one, as in redis.conf
    """

    directory: Path
    address: str = "127.0.0.1"
    port: int = 0
    password: str = ""
    sockets: Path | None = None
    users: tuple[str, ...] = ()

    @property
    def socket(self) -> Path:
        return (self.sockets or self.directory) / "redis.sock"

    @property
    def pid_path(self) -> Path:
        return self.directory / "redis.pid"

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        pid = read_pid(self.pid_path)
        if pid and alive(pid):
            return
        log = self.directory / "redis.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                ["redis-server", "-"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        keep(process)
        assert process.stdin
        process.stdin.write(self.configuration().encode())
        process.stdin.close()
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if time.monotonic() > deadline:
                raise ServerFailed(f"redis-server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        pid = read_pid(self.pid_path)
        if pid:
            end(pid)

    def configuration(self) -> str:
        lines = [
            f"dir {self.directory}",
            f"unixsocket {self.socket}",
            "unixsocketperm 700",
            f"pidfile {self.pid_path}",
            "daemonize no",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            f"port {self.port}",
        ]
        if self.port:
            lines.append(f"bind {self.address}")
        if self.password:
            lines.append(f"requirepass {self.password}")
        lines += [f"user {rules}" for rules in self.users]
        return "\n".join(lines) + "\n"

    def answers(self) -> bool:
        command = ["redis-cli", "-s", str(self.socket), "--no-auth-warning"]
        environment = dict(os.environ) | ({"REDISCLI_AUTH": self.password} if self.password else {})
        done = subprocess.run([*command, "ping"], capture_output=True, text=True, check=False, env=environment)
        return done.stdout.strip() == "PONG"


def _owner() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
