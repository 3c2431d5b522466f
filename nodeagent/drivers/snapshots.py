"""Disks captured as blobs, all of one instance at one moment.

A running guest's disks are copied by QEMU's backup job, which leaves the disks' chains alone: a job that is interrupted
leaves nothing but a temporary file. The guest's file systems are frozen by its agent while the job begins, where the
agent answers. The disks of a guest that is off are copied by qemu-img. A captured disk is one whole qcow2 file.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import libvirt

from nodeagent.drivers import command, disks
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.domains import Domains
from nodeagent.drivers.layout import Layout
from nodeagent.host import Call, Refused, Retry, Snapshot
from nodeagent.specs import CapturedDisk

_LOG = logging.getLogger(__name__)
FREEZE_SECONDS = 20
THAW_SECONDS = 10
THAW_TRIES = 5
LOOK_SECONDS = 0.2
COPY_SECONDS = 6 * 3600.0
COPY_LIMITS = command.Limits(cpu_seconds=3600, address_space=2 * disks.GIB, file_size=64 * 1024 * disks.GIB)


class Snapshots:
    def __init__(self, layout: Layout, blobs: Blobs, domains: Domains) -> None:
        self._layout = layout
        self._blobs = blobs
        self._domains = domains

    def take(self, instance: str, captured: Sequence[CapturedDisk], quiesce: bool, call: Call) -> Snapshot:
        """Make a blob of each disk. A repeat finds all of them, or makes all of them again: they belong to one moment."""
        present = {disk.device: self._blobs.facts(disk.blob) for disk in captured}
        if all(present.values()):
            return Snapshot(blobs={device: facts for device, facts in present.items() if facts}, quiesced=False)
        for disk in captured:
            self._blobs.remove(disk.blob)
        files = {disk.device: self._layout.disk(instance, disk.file) for disk in captured}
        for device, path in files.items():
            if not path.exists():
                raise Refused("disk.missing", f"{device} has no file on this node")
        runs, facts = self._domains.state(instance) is not None, {}
        with self._blobs.several([disk.blob for disk in captured], call) as (paths, settle):
            targets = {disk.device: path for disk, path in zip(captured, paths, strict=True)}
            quiesced = not runs or self._back_up(instance, targets, quiesce, call)
            if not runs:
                _copy(files, targets, call)
            for disk in captured:
                facts[disk.device] = settle(disk.blob, targets[disk.device])
        return Snapshot(blobs=facts, quiesced=quiesced)

    def thaw_forgotten(self, instance: str) -> None:
        """After an attempt that ended with its process: let a guest go on that it may have left frozen."""
        with contextlib.suppress(Refused, Retry):
            if self._domains.ask_guest(instance, {"execute": "guest-fsfreeze-status"}, THAW_SECONDS) == "frozen":
                self._thaw(instance)

    def _back_up(self, instance: str, targets: Mapping[str, Path], quiesce: bool, call: Call) -> bool:
        self._domains.on(instance, _end_forgotten_job)
        for device, path in targets.items():
            # Made here, so that it is the agent's: libvirt's own would be root's.
            disks.make_empty(path, self._domains.on(instance, partial(_size, device)), call)
        with self._frozen(instance, quiesce) as quiesced:
            self._domains.on(instance, lambda domain: _begin(domain, targets))
        try:
            while (done := self._domains.on(instance, _percent)) is not None:
                call.progress(done)
                time.sleep(LOOK_SECONDS)
        except BaseException:
            with contextlib.suppress(Exception):
                self._domains.on(instance, _end_forgotten_job)
            raise
        self._domains.on(instance, _require_success)
        return quiesced

    @contextlib.contextmanager
    def _frozen(self, instance: str, quiesce: bool) -> Iterator[bool]:
        """The guest's file systems stand still meanwhile, if its agent can do that; whether they do."""
        frozen = quiesce and self._freeze(instance)
        try:
            yield frozen
        finally:
            if quiesce:
                self._thaw(instance)

    def _freeze(self, instance: str) -> bool:
        """Whether any file system stands still now; some kinds cannot."""
        try:
            return bool(self._domains.ask_guest(instance, {"execute": "guest-fsfreeze-freeze"}, FREEZE_SECONDS))
        except (Refused, Retry) as error:
            _LOG.info("guest not frozen", extra={"instance": instance, "error": str(error)})
            return False

    def _thaw(self, instance: str) -> None:
        """A guest that stays frozen hangs: tried again and again, also where freezing seemed to fail."""
        for _ in range(THAW_TRIES):
            try:
                self._domains.ask_guest(instance, {"execute": "guest-fsfreeze-thaw"}, THAW_SECONDS)
            except Refused:
                return  # it is off, or has no such command
            except Retry:
                continue
            return
        _LOG.error("guest may be frozen: its agent does not answer", extra={"instance": instance})


def _copy(files: Mapping[str, Path], targets: Mapping[str, Path], call: Call) -> None:
    """The disks of a guest that is off, which are consistent by that alone."""
    for device, source in files.items():
        words = ["convert", "-q", "-f", "qcow2", "-O", "qcow2", f"file:{source}", f"file:{targets[device]}"]
        disks.write(words, call, COPY_SECONDS, COPY_LIMITS)


def _begin(domain: Any, targets: Mapping[str, Path]) -> None:
    domain.backupBegin(_document(domain, targets), None, libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)


def _size(device: str, domain: Any) -> int:
    """Bytes that the guest sees."""
    return int(domain.blockInfo(device)[0])


def _document(domain: Any, targets: Mapping[str, Path]) -> str:
    root = Element("domainbackup", mode="push")
    listed = SubElement(root, "disks")
    for found in ElementTree.fromstring(domain.XMLDesc(0)).iterfind("devices/disk/target"):
        device = found.get("dev", "")
        if device not in targets:
            SubElement(listed, "disk", name=device, backup="no")
            continue
        disk = SubElement(listed, "disk", name=device, backup="yes", type="file")
        SubElement(disk, "target", file=str(targets[device]))
        SubElement(disk, "driver", type="qcow2")
    return ElementTree.tostring(root, encoding="unicode")


def _percent(domain: Any) -> int | None:
    """How far the job is; None once there is none."""
    stats = domain.jobStats(0)
    if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) == libvirt.VIR_DOMAIN_JOB_NONE:
        return None
    return min(99, int(stats.get("disk_processed", 0)) * 100 // max(1, int(stats.get("disk_total", 0))))


def _require_success(domain: Any) -> None:
    stats = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if stats.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED:
        raise Retry("snapshot.interrupted", str(stats.get("errmsg") or "the copy ended early"))


def _end_forgotten_job(domain: Any) -> None:
    """A job that nobody waits for any more: one action an instance at a time, so it can be no other's."""
    with contextlib.suppress(libvirt.libvirtError):
        domain.backupGetXMLDesc(0)
        domain.abortJob()
