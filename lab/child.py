"""A process that can be killed, stopped and started again by name."""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.servers import alive

CODE = Path(__file__).resolve().parent.parent


@dataclass
class Process:
    """One process group. `command` and `environment` are those of every start."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    log: Path
    running: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        assert not self.is_alive, f"{self.name} runs already"
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self.environment),
                cwd=CODE,
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def signal(self, number: int) -> None:
        if self.running is not None and alive(self.running.pid):
            try:
                os.killpg(self.running.pid, number)
            except ProcessLookupError:
                pass

    def kill(self) -> None:
        """The whole group at once, as the kernel would end it."""
        self.signal(signal.SIGKILL)
        if self.running is not None:
            self.running.wait(10)

    def stop(self, patience: float = 10.0) -> None:
        self.signal(signal.SIGTERM)
        try:
            if self.running is not None:
                self.running.wait(patience)
        except subprocess.TimeoutExpired:
            pass
        self.kill()
