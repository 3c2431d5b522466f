"""Runs what docker-compose.yml describes as plain processes in a network of their own, where every name is loopback.

Named volumes are directories, mounted files lie where they are; the images' own servers are those of this machine.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.child import CODE
from lab.servers import MariaDb

PROFILES = ("--profile", "db", "--profile", "fake-nodes")
TO_JSON = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


def configuration(env_file: Path) -> dict[str, Any]:
    """The file as docker-compose understands it; fails with what docker-compose says."""
    command = ["docker-compose", "--env-file", str(env_file), *PROFILES, "config"]
    bare = {"PATH": os.environ["PATH"]}  # what is set in the shell would win over the file
    done = subprocess.run(command, cwd=CODE, env=bare, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    parsed = subprocess.run(
        ["/usr/bin/python3", "-c", TO_JSON], input=done.stdout, capture_output=True, text=True, check=True
    )
    return json.loads(parsed.stdout)


class Composed:
    """The services of one configuration; `directory` takes volumes and logs."""

    def __init__(self, config: dict[str, Any], directory: Path) -> None:
        self.services: dict[str, Any] = config["services"]
        self.directory = directory
        self.space = f"sfc{os.getpid()}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.database = MariaDb(directory / "mariadb")

    def open(self) -> None:
        """The network: nothing but loopback, on which every name and every fixed address of the file is."""
        hosts = Path("/etc/netns") / self.space / "hosts"
        hosts.parent.mkdir(parents=True)
        hosts.write_text("127.0.0.1 localhost " + " ".join(self.services) + "\n")
        self._root("ip", "netns", "add", self.space)
        self._root("ip", "-n", self.space, "link", "set", "lo", "up")
        for service in self.services.values():
            for network in (service.get("networks") or {}).values():
                if network and "ipv4_address" in network:
                    self._root("ip", "-n", self.space, "address", "add", f"{network['ipv4_address']}/32", "dev", "lo")

    def close(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        end = time.monotonic() + 8
        for process in self.running.values():
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.database.stop()
        subprocess.run(["ip", "netns", "delete", self.space], check=False)
        shutil.rmtree(Path("/etc/netns") / self.space, ignore_errors=True)

    def start_database(self, passwords: tuple[str, str]) -> None:
        """What the MariaDB image does: a server with our settings and deploy/bootstrap.sql; on the same socket for both sides."""
        self.database.install()
        command = [*self.database.command(), "--skip-networking=0", "--bind-address=127.0.0.1", "--port=3306"]
        self.running["db"] = self._spawn("db", command, dict(os.environ))
        end = time.monotonic() + 60
        while not self.database.answers():
            assert time.monotonic() < end, self.log("db")
            time.sleep(0.1)
        self.database.bootstrap("steadyfist", *passwords)

    def start(self, name: str) -> None:
        """The service once everything that it depends on has come as far as it says."""
        service = self.services[name]
        for needed, condition in service.get("depends_on", {}).items():
            if needed not in self.running:
                self.start(needed)
            self._await(needed, condition["condition"])
        directory = CODE if "build" in service else self._volume(f"{name}-home")
        self.running[name] = self._spawn(
            name, self._command(service, service["command"]), self._environment(service), directory
        )

    def is_healthy(self, name: str) -> bool:
        """The service's own healthcheck, run where the service runs."""
        service = self.services[name]
        kind, *words = service["healthcheck"]["test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        command = self._enter(self._command(service, command))
        done = subprocess.run(command, cwd=CODE, env=self._environment(service), capture_output=True, check=False)
        return done.returncode == 0

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()[-1500:]

    def inside(self, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """A command of somebody who can reach the published ports."""
        full = {**os.environ, **environment}
        return subprocess.run(
            self._enter(list(command)), env=full, capture_output=True, text=True, timeout=60, check=False
        )

    def _await(self, name: str, condition: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while True:
            ended = self.running[name].poll()
            if condition == "service_completed_successfully":
                if ended == 0:
                    return
                assert ended is None, f"{name}: {self.log(name)}"
            else:
                assert ended is None, f"{name}: {self.log(name)}"
                if self.is_healthy(name):
                    return
            if time.monotonic() > end:
                raise AssertionError(f"{name} never was {condition}: {self.log(name)}")
            time.sleep(0.2)

    def _environment(self, service: dict[str, Any]) -> dict[str, str]:
        given = {name: self._mapped(service, str(value)) for name, value in (service.get("environment") or {}).items()}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "PYTHONPATH": str(CODE), "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8", **given}

    def _command(self, service: dict[str, Any], words: list[str]) -> list[str]:
        return [self._mapped(service, word).replace("$$", "$") for word in words]

    def _mapped(self, service: dict[str, Any], text: str) -> str:
        """`text` with every path of a volume replaced by where that volume is here."""
        for volume in service.get("volumes") or []:
            source, target, *_ = volume.split(":")
            place = self._file(service, Path(source)) if source.startswith("/") else self._volume(source)
            text = text.replace(target, str(place))
        return text

    def _file(self, service: dict[str, Any], source: Path) -> Path:
        """A copy of a mounted file, with the volumes' paths in it replaced too."""
        copy = self.directory / source.name
        others = {**service, "volumes": [volume for volume in service["volumes"] if not volume.startswith("/")]}
        copy.write_text(self._mapped(others, source.read_text()))
        return copy

    def _volume(self, name: str) -> Path:
        place = self.directory / "volumes" / name
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _enter(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self.space, *command]

    def _spawn(
        self, name: str, command: list[str], environment: dict[str, str], directory: Path = CODE
    ) -> "subprocess.Popen[bytes]":
        with (self.directory / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                self._enter(command), cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip

    def _root(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)
