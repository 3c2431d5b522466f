"""An instance as one file: its settings and its captured disks in a tar, so that another cluster can make it again.

The first member is `instance.json`; the disks follow as they are, so a disk is a range of bytes of the file and is copied
out of it like any other blob, verified by its sha512. Nothing in a file that somebody sends is trusted: its settings are
checked like any request for an instance, and its members must lie where its own list says.
"""

import json
import tarfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from uuid import UUID

from django.db.models import prefetch_related_objects

from sfweb.domain.artifact_refs import ARCHIVE, USABLE, add_version, artifact_of, newest_version
from sfweb.domain.digests import is_digest
from sfweb.errors import Conflict, Invalid
from sfweb.models import (
    ArtifactKind,
    Blob,
    Instance,
    Interface,
    Metadata,
    Namespace,
    SnapshotSet,
)
from sfweb.models.state import State

FORMAT = "steadyfist-instance-1"
MANIFEST = "instance.json"
BLOCK = tarfile.BLOCKSIZE
LONGEST_MANIFEST = 4 * 2**20
MOST_DISKS = 16
Read = Callable[[int, int], bytes]
"""(offset, length) to exactly these bytes of the file."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One disk inside an archive: where its bytes lie, and what they must be."""

    device: str
    offset: int
    size: int
    sha512: str


def settings_of(instances: Sequence[Instance]) -> dict[UUID, dict[str, Any]]:
    """By instance, what a request for one like this would say; disks without their content."""
    prefetch_related_objects(instances, "disks")  # where nobody has read them already
    keys = {instance.pk for instance in instances}
    cards = Interface.objects.filter(instance__among=keys, state=State.CREATED).order_by("order")
    told = Metadata.objects.filter(object_type="instance", object_uuid__among=keys)
    networks: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    metadata: dict[UUID, dict[str, str]] = defaultdict(dict)
    for key, network, model in cards.values_list("instance", "network__name", "model"):
        networks[key].append({"network_uuid": network, "model": model})
    for key, name, value in told.values_list("object_uuid", "key", "value"):
        metadata[key][name] = value
    return {
        instance.pk: {
            "name": instance.name,
            "cpus": instance.cpus,
            "memory": instance.memory_mb,
            "ssh_key": instance.ssh_key,
            "user_data": instance.user_data,
            "video": instance.video,
            "configdrive": "openstack-disk" if instance.config_drive else "none",
            "metadata": metadata[instance.pk],
            "side_channels": instance.side_channels,
            "uefi": instance.uefi,
            "secure_boot": instance.secure_boot,
            "network": networks[instance.pk],
            "disk": [
                {"device": disk.device, "bus": disk.bus, "size": disk.size_gb}
                for disk in sorted(instance.disks.all(), key=attrgetter("position"))
                if disk.kind == "disk"
            ],
        }
        for instance in instances
    }


def pieces(snapshot: SnapshotSet) -> tuple[int, list[bytes | Blob]]:
    """(length, what the file consists of) for a set that was captured whole: bytes, and blobs to be put in their place."""
    if snapshot.state != State.CREATED or not snapshot.settings:
        raise Conflict(f"snapshot {snapshot.pk} is {snapshot.state}", code="snapshot.not_ready")
    versions = {row.device: row.blob for row in snapshot.versions.select_related("blob")}
    listed = [disk | _listed(versions.get(disk["device"])) for disk in snapshot.settings["disk"]]
    manifest = json.dumps({"format": FORMAT, "instance": snapshot.settings | {"disk": listed}}, indent=1).encode()
    parts: list[bytes | Blob] = [_header(MANIFEST, len(manifest)) + manifest + _padding(len(manifest))]
    for disk in listed:
        blob = versions[disk["device"]]
        parts += [_header(_member_name(disk["device"]), blob.size or 0), blob, _padding(blob.size or 0)]
    parts.append(bytes(2 * BLOCK))
    length = sum(len(part) if isinstance(part, bytes) else part.size or 0 for part in parts)
    return length, parts


def read(read_bytes: Read, size: int) -> tuple[dict[str, Any], list[Member]]:
    """(settings, disks) of a file of `size` bytes. Raises Invalid, saying what is wrong with it."""
    length = _expect(read_bytes, size, 0, MANIFEST)
    if length > LONGEST_MANIFEST:
        raise Invalid(f"archive: {MANIFEST} has {length} bytes")
    try:
        document = json.loads(_bytes(read_bytes, size, BLOCK, length))
        settings = dict(document["instance"])
        disks = list(settings.pop("disk"))
        told = document["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Invalid(f"archive: {MANIFEST} is none of an exported instance") from error
    if told != FORMAT or not 0 < len(disks) <= MOST_DISKS:
        raise Invalid(f"archive: its format is not {FORMAT}")
    at, members, wanted = BLOCK + _padded(length), [], []
    for disk in disks:
        member = _member(read_bytes, size, at, disk)
        at = member.offset + _padded(member.size)
        members.append(member)
        wanted.append({name: disk[name] for name in ("bus", "size") if name in disk} | {"device": member.device})
    return settings | {"disk": wanted}, members


def base_of(archive: Blob, device: str) -> str:
    """How a disk inside an archive is called."""
    return f"{ARCHIVE}{archive.pk}/{device}"


def adopt(namespace: Namespace, archive: Blob, members: Sequence[Member]) -> None:
    """Make rows for the disks, each an image of its own that is still to be copied out; `base_of` is what means it.

    Repeated, it finds those that are there. Call inside a transaction.
    """
    for member in members:
        source = base_of(archive, member.device)
        artifact = artifact_of(namespace, ArtifactKind.IMAGE, source, name=f"{archive.pk}/{member.device}")
        if newest_version(artifact, *USABLE) is None:
            add_version(
                artifact,
                archive=archive,
                archive_offset=member.offset,
                size=member.size,
                expected_sha512=member.sha512,
            )


def _listed(blob: Blob | None) -> dict[str, Any]:
    if blob is None or blob.state != State.CREATED:
        raise Conflict(
            "the snapshot has not all disks of the instance: take one of all of them", code="snapshot.incomplete"
        )
    return {"bytes": blob.size, "sha512": blob.sha512}


def _member(read_bytes: Read, size: int, at: int, disk: Any) -> Member:
    if not isinstance(disk, Mapping):
        raise Invalid("archive: a disk is an object")
    device, sha512 = disk.get("device"), disk.get("sha512")
    if not isinstance(device, str) or not device.isalnum() or len(device) > BLOCK // 8:
        raise Invalid("archive: a disk has no device")
    if not is_digest(sha512, "sha512"):
        raise Invalid(f"archive: {device} has no sha512")
    length = _expect(read_bytes, size, at, _member_name(device))
    if length != disk.get("bytes") or at + BLOCK + length > size:
        raise Invalid(f"archive: {device} has not the length that is listed")
    return Member(device=device, offset=at + BLOCK, size=length, sha512=sha512)


def _member_name(device: str) -> str:
    return f"{device}.qcow2"


def _expect(read_bytes: Read, size: int, at: int, name: str) -> int:
    """The length of the member that begins there and must be called so."""
    try:
        found = tarfile.TarInfo.frombuf(_bytes(read_bytes, size, at, BLOCK), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError) as error:
        raise Invalid("archive: it is no exported instance") from error
    if found.name != name or not found.isreg() or found.size < 0:
        raise Invalid(f"archive: {name} is not where it should be")
    return found.size


def _bytes(read_bytes: Read, size: int, at: int, length: int) -> bytes:
    if at + length > size:
        raise Invalid("archive: it ends too early")
    return read_bytes(at, length)


def _header(name: str, size: int) -> bytes:
    described = tarfile.TarInfo(name)
    described.size, described.mode = size, 0o600
    return described.tobuf(tarfile.GNU_FORMAT)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _padding(size: int) -> bytes:
    return bytes(_padded(size) - size)
