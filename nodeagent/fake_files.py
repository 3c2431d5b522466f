"""The files of a FakeHost: blobs, disks, and what is captured of them, in memory or in one file that processes share."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nodeagent.fake_faults import Faults
from nodeagent.fake_guests import FakeGuests, captured, made_of
from nodeagent.fake_store import FakeStore
from nodeagent.host import BlobCheck, BlobFacts, Call, Refused, Retry, Snapshot
from nodeagent.specs import BlobSource, BlobSpec, CapturedDisk, DiskSpec

IMAGE_BYTES = 16 * 2**20


class FakeFiles:
    """The part of a FakeHost that holds files; every verb sees the whole machine's state by itself."""

    def __init__(self, seed: int, path: Path | None) -> None:
        self._lock = threading.RLock()
        self._store = FakeStore(path)
        self._sources: dict[str, bytes | Exception] = {}
        self._verified: dict[str, tuple[str, str]] = {}
        self.faults = Faults(seed)
        self.guests = FakeGuests()

    @property
    def effects(self) -> list[tuple[str, str]]:
        """Every change so far, oldest first, over all processes that share the path."""
        with self._lock:
            return self._store.effects()

    @contextmanager
    def _held(self, verb: str) -> Iterator[dict[str, Any]]:
        """The machine's state for one verb; nobody else changes it meanwhile."""
        self.faults.before(verb)
        with self._lock, self._store.exclusive() as held:
            yield held
        self.faults.after(verb)

    def _change(self, verb: str, thing: str, act: Callable[[dict[str, Any]], str]) -> str:
        with self._held(verb) as held:
            change = act(held)
            if change != "unchanged":
                self._store.commit(verb, thing)
        return change

    def _put(self, verb: str, part: str, key: str, value: Any) -> str:
        def act(held: dict[str, Any]) -> str:
            before = held[part].get(key)
            held[part][key] = value
            return "created" if before is None else "unchanged" if before == value else "repaired"

        return self._change(verb, key, act)

    def _drop(self, verb: str, part: str, key: str) -> str:
        return self._change(verb, key, lambda held: "unchanged" if held[part].pop(key, None) is None else "removed")

    def serve(self, url: str, content: bytes | Exception) -> None:
        """Decide what a URL gives; an unknown URL gives an image that its own text decides."""
        self._sources[url] = content

    def blob(self, blob: str) -> BlobFacts | None:
        with self._held("blob") as held:
            found = held["blobs"].get(blob)
        return BlobFacts(**{name: value for name, value in found.items() if name != "rotten"}) if found else None

    def fetch_blob(self, spec: BlobSpec, source: BlobSource, call: Call) -> BlobFacts:
        if source.peer:
            call.blob_ticket(source.archive or spec.blob, source.peer)
        return self._store_blob("fetch_blob", spec, self._facts(spec, source, self._content(source, spec.blob)), call)

    def _content(self, source: BlobSource, otherwise: str = "") -> bytes:
        content = self._sources.get(source.url, (source.url or otherwise).encode())
        if isinstance(content, Exception):
            raise content
        return content

    def is_changed(self, url: str, validators: Mapping[str, str]) -> bool:
        with self._held("is_changed"):
            return _validators(self._content(BlobSource(url=url))) != dict(validators)

    def adopt_upload(self, upload: str, size: int, spec: BlobSpec, call: Call) -> BlobFacts:
        facts = self._facts(spec, BlobSource(url=f"upload:{upload}"), upload.encode())
        return self._store_blob("adopt_upload", spec, facts, call)

    def _facts(self, spec: BlobSpec, source: BlobSource, content: bytes) -> BlobFacts:
        sha512 = hashlib.sha512(content).hexdigest()
        if source.peer and (known := spec.sha512 or spec.source_sha512):
            sha512 = known
        if spec.sha512 not in (None, sha512) or spec.source_sha512 not in (None, sha512):
            raise Refused("fetch.checksum", f"blob {spec.blob}: other content than is known of it")
        return BlobFacts(
            size=spec.size or IMAGE_BYTES,
            sha512=sha512,
            format="other" if spec.verbatim else "qcow2",
            virtual_size=2**30,
            hashes=_hashes(sha512),
            validators=_validators(content) if source.url.startswith("http") else {},
        )

    def _store_blob(self, verb: str, spec: BlobSpec, facts: BlobFacts, call: Call) -> BlobFacts:
        call.progress(50)
        self._put(verb, "blobs", spec.blob, asdict(facts))
        return facts

    def remove_blob(self, blob: str) -> str:
        def act(held: dict[str, Any]) -> str:
            users = [instance for instance, disks in held["disks"].items() if blob in disks.values()]
            if users:
                raise Refused("blob.in_use", f"blob {blob} carries a disk of instance {users[0]}")
            return "unchanged" if held["blobs"].pop(blob, None) is None else "removed"

        return self._change("remove_blob", blob, act)

    def rot(self, blob: str, reason: str) -> None:
        """The blob's file is not what it was; the next verification finds out."""

        def act(held: dict[str, Any]) -> str:
            held["blobs"][blob]["rotten"] = reason
            return "repaired"

        self._change("rot", blob, act)

    def verify_blobs(self, budget: int) -> list[BlobCheck]:
        """Every blob at once, but each only when it is not as it was at the last look."""
        with self._held("verify_blobs") as held:
            found = {blob: (facts["sha512"], facts.get("rotten", "")) for blob, facts in held["blobs"].items()}
            news = [blob for blob, state in found.items() if self._verified.get(blob) != state]
            self._verified = found
        return [BlobCheck(blob=blob, sha512=found[blob][0], reason=found[blob][1]) for blob in news]

    def disks(self, instance: str) -> Mapping[str, str | None]:
        with self._held("disks") as held:
            return dict(held["disks"].get(instance, {}))

    def create_disk(self, instance: str, disk: DiskSpec, call: Call) -> None:
        def act(held: dict[str, Any]) -> str:
            if disk.blob is not None and disk.blob not in held["blobs"]:
                raise Retry("blob.missing", f"blob {disk.blob} is not on this node")
            held["disks"].setdefault(instance, {})[disk.file] = disk.blob
            held["sizes"].setdefault(instance, {})[disk.file] = disk.size_gb
            return "created"

        self._change("create_disk", f"{instance}/{disk.file}", act)

    def snapshot_disks(self, instance: str, disks: Sequence[CapturedDisk], quiesce: bool, call: Call) -> Snapshot:
        def act(held: dict[str, Any]) -> str:
            present = held["disks"].get(instance, {})
            if missing := [disk for disk in disks if disk.file not in present]:
                raise Refused("disk.missing", f"{missing[0].device} has no file on this node")
            new = {disk.blob: asdict(captured(disk.blob)) for disk in disks if disk.blob not in held["blobs"]}
            held["blobs"].update(new)
            return "created" if new else "unchanged"

        call.progress(50)
        self._change("snapshot_disks", instance, act)
        talks = instance not in self.guests.silent
        return Snapshot(blobs={disk.device: captured(disk.blob) for disk in disks}, quiesced=quiesce and talks)

    def disk_sizes(self, instance: str) -> Mapping[str, int]:
        """{file: GiB}, for tests."""
        with self._held("disk_sizes") as held:
            return dict(held["sizes"].get(instance, {}))

    def grow_disk(self, instance: str, disk: DiskSpec) -> str:
        def act(held: dict[str, Any]) -> str:
            if held["sizes"][instance][disk.file] >= disk.size_gb:
                return "unchanged"
            held["sizes"][instance][disk.file] = disk.size_gb
            return "repaired"

        return self._change("grow_disk", f"{instance}/{disk.device}", act)

    def remove_disk(self, instance: str, file: str) -> str:
        def act(held: dict[str, Any]) -> str:
            if file in held["domains"].get(instance, {}).get("disks", ()):
                raise RuntimeError(f"{file} is in use by the domain of {instance}")
            held["sizes"].get(instance, {}).pop(file, None)
            found = held["disks"].get(instance, {})
            if file not in found:
                return "unchanged"
            del found[file]
            return "removed"

        return self._change("remove_disk", f"{instance}/{file}", act)

    def keep_blob(self, blob: str, content: bytes, call: Call) -> BlobFacts:
        facts = made_of(content)
        self._put("keep_blob", "blobs", blob, asdict(facts))
        return facts


def _hashes(sha512: str) -> dict[str, str]:
    """As many hashes as a real node has; of copies too, whose content is known here only by its sha512."""
    hashes = {name: hashlib.new(name, sha512.encode()).hexdigest() for name in ("sha1", "sha256")}
    return {**hashes, "sha512": sha512, "xxh128": sha512[:32]}


def _validators(content: bytes) -> dict[str, str]:
    return {"etag": hashlib.sha1(content).hexdigest()}
