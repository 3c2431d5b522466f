"""The QEMU guest agent inside each guest, asked through libvirt.

Everything that comes back is the guest's word: it is bounded, never run, and an answer that makes no sense is an error
of the guest. Texts of commands are handed to `/bin/sh -c` inside the guest, nowhere else.
"""

import base64
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from nodeagent.drivers.blobs import Blobs
from nodeagent.host import BlobFacts, Call, CommandResult, GuestState, Refused, Retry, Transfer

_LOG = logging.getLogger(__name__)
CHUNK = 48 * 2**10
"""Bytes of a file in one message. The agent of QEMU 7.2 never answers a write of 256 KiB."""
ANSWER_SECONDS = 10
PING_SECONDS = 2
OWN_COMMAND_SECONDS = 15.0
BOOT_CLOCK = "/proc/stat"


class Channels(Protocol):
    """What this file needs of libvirt (`domains.Domains`)."""

    def guest_channels(self) -> Mapping[str, bool]: ...

    def ask_guest(self, instance: str, command: Mapping[str, Any], seconds: int) -> Any: ...


class GuestAgents:
    def __init__(self, channels: Channels, blobs: Blobs) -> None:
        self._channels = channels
        self._blobs = blobs
        self._known: dict[str, GuestState] = {}

    def states(self) -> Mapping[str, GuestState]:
        """The guests whose agent answers. One that is connected is asked once, and again after it was away."""
        connected = {instance for instance, is_up in self._channels.guest_channels().items() if is_up}
        self._known = {instance: state for instance, state in self._known.items() if instance in connected}
        for instance in sorted(connected - self._known.keys()):
            with contextlib.suppress(Refused, Retry):
                self._ask(instance, "guest-ping", {}, PING_SECONDS)
                self._known[instance] = GuestState(since=time.time(), booted=self._booted(instance))
        return dict(self._known)

    def start(self, instance: str, command_line: str) -> int:
        arguments = {"path": "/bin/sh", "arg": ["-c", command_line], "capture-output": True}
        return _number(self._ask(instance, "guest-exec", arguments), "pid")

    def result(self, instance: str, pid: int) -> CommandResult | None:
        """None while it runs. The agent tells a result once and then forgets it."""
        said = self._ask(instance, "guest-exec-status", {"pid": pid})
        if not said.get("exited"):
            return None
        # Ended by a signal: as a shell would tell it.
        code = _number(said, "exitcode") if "exitcode" in said else 128 + _number(said, "signal")
        return CommandResult(code=code, stdout=_bytes(said.get("out-data")), stderr=_bytes(said.get("err-data")))

    def kill(self, instance: str, pid: int) -> None:
        self._ask(instance, "guest-exec", {"path": "/bin/kill", "arg": ["-KILL", str(pid)]})

    def write(self, instance: str, blob: str, target: Transfer, call: Call) -> None:
        """Copy the blob's file into the guest, then set the mode bits."""
        source = self._blobs.open(blob)
        with source as file, self._opened(instance, target, "w") as handle:
            size, done = file.seek(0, 2), 0
            file.seek(0)
            while chunk := file.read(CHUNK):
                self._put(instance, handle, chunk, target.patience)
                done += len(chunk)
                call.progress(done * 99 // size)
        if target.mode is not None:
            self._run(instance, ["/bin/chmod", f"{target.mode & 0o7777:o}", target.path])

    def read(self, instance: str, blob: str, source: Transfer, call: Call) -> BlobFacts:
        """Copy a file of the guest into a new blob."""

        def copy(path: Path) -> None:
            done = 0
            with path.open("xb") as file, self._opened(instance, source, "r") as handle:
                while chunk := self._get(instance, handle, source.patience):
                    done += len(chunk)
                    if done > source.ceiling:
                        raise Refused("guest.too_large", f"{source.path} has more than {source.ceiling} bytes")
                    file.write(chunk)
                    call.progress(0)

        return self._blobs.make(blob, copy, call)

    def _booted(self, instance: str) -> float | None:
        """When the guest's kernel says that it was started, in seconds since 1970; None where it has no such file."""
        clock = Transfer(path=BOOT_CLOCK, patience=PING_SECONDS)
        with contextlib.suppress(Refused, Retry, ValueError, IndexError):
            with self._opened(instance, clock, "r") as handle:
                lines = self._get(instance, handle, PING_SECONDS).decode(errors="replace").splitlines()
            return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)
        return None

    @contextlib.contextmanager
    def _opened(self, instance: str, transfer: Transfer, mode: str) -> Iterator[int]:
        arguments = {"path": transfer.path, "mode": mode}
        handle = _number(self._ask(instance, "guest-file-open", arguments, transfer.patience), "return")
        try:
            yield handle
        finally:
            with contextlib.suppress(Refused, Retry):
                self._ask(instance, "guest-file-close", {"handle": handle})

    def _put(self, instance: str, handle: int, chunk: bytes, patience: int) -> None:
        while chunk:
            arguments = {"handle": handle, "buf-b64": base64.b64encode(chunk).decode()}
            said = self._ask(instance, "guest-file-write", arguments, patience)
            chunk = chunk[max(1, _number(said, "count")) :]

    def _get(self, instance: str, handle: int, patience: int) -> bytes:
        arguments = {"handle": handle, "count": CHUNK}
        return _bytes(self._ask(instance, "guest-file-read", arguments, patience).get("buf-b64"))

    def _run(self, instance: str, command: list[str]) -> None:
        arguments = {"path": command[0], "arg": command[1:]}
        pid = _number(self._ask(instance, "guest-exec", arguments), "pid")
        end = time.monotonic() + OWN_COMMAND_SECONDS
        while time.monotonic() < end:
            result = self.result(instance, pid)
            if result is not None and result.code == 0:
                return
            if result is not None:
                raise Refused("guest.refused", f"{command[0]} ended with {result.code} in the guest")
            time.sleep(0.1)
        raise Retry("guest.silent", f"{command[0]} does not end in the guest")

    def _ask(
        self, instance: str, command: str, arguments: Mapping[str, Any], seconds: int = ANSWER_SECONDS
    ) -> Mapping[str, Any]:
        document = {"execute": command, **({"arguments": dict(arguments)} if arguments else {})}
        answer = self._channels.ask_guest(instance, document, seconds)
        return answer if isinstance(answer, Mapping) else {"return": answer}


def _number(said: Mapping[str, Any], name: str) -> int:
    """Raises Refused where the guest's answer has no such number."""
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused("guest.refused", f"the answer of the guest's agent has no {name}")
    return value


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text) if isinstance(text, str) else b""
    except ValueError as error:
        raise Refused("guest.refused", "what the guest's agent sent is no base64") from error
