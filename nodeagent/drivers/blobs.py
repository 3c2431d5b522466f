"""Cached blobs: immutable files, named by UUID, each with a sidecar of the facts that were verified when it came.

The sidecar is renamed into place first and the file last; a blob is there when both are. Files are 0444 and nothing in
the agent opens one for writing (SE-9); disks are overlays.
"""

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from io import FileIO
from pathlib import Path

from nodeagent import wire
from nodeagent.drivers import disks, fetch, uploads
from nodeagent.drivers.image_header import Header, UnsafeImage, read_header
from nodeagent.drivers.layout import Layout, appearing, remove
from nodeagent.host import BlobFacts, Call, Refused, Retry
from nodeagent.specs import BlobSource, BlobSpec

CHUNK = 2**20
PROGRESS_SECONDS = 0.5
GIB = 2**30


class Blobs:
    def __init__(self, layout: Layout, policy: Callable[[], fetch.Policy]) -> None:
        self._layout = layout
        self._policy = policy

    def facts(self, blob: str) -> BlobFacts | None:
        """None when the blob, or a part of it, is known to be missing."""
        try:
            facts = wire.load(BlobFacts, json.loads(self._layout.blob_facts(blob).read_text()))
            size = self._layout.blob(blob).stat().st_size
        except FileNotFoundError:
            return None
        return facts if facts.size == size else None

    def fetch(self, spec: BlobSpec, source: BlobSource, call: Call) -> BlobFacts:
        """Copy the bytes from the URL or the peer. Codes are those of actions/ensure_blob.py."""
        if source.peer:
            opening = fetch.opened_from_peer(*call.blob_ticket(spec.blob, source.peer))
        else:
            opening = fetch.opened(source.url, self._policy())
        with _telling_a_full_disk(), appearing(self._layout.blob(spec.blob), call.token) as temporary:
            with opening as opened:
                size, sha512 = _copy(opened, temporary, spec, call)
            if opened.length is None and not size:
                raise Refused("blob.not_an_image", "the body is empty")
            return self._settle(temporary, spec, call.token, (size, sha512), any_content=bool(source.peer))

    def adopt(self, upload: str, spec: BlobSpec, call: Call) -> BlobFacts:
        """Make an upload the blob. Its bytes are read once, for size and sha512, and never copied."""
        path = self._layout.upload(upload)
        if not path.exists():
            raise Refused("upload.missing", f"upload {upload} is not on this node")
        with uploads.held(path) as file:
            size = os.fstat(file.fileno()).st_size
            if spec.size is not None and size < spec.size:
                raise Retry("upload.incomplete", f"upload {upload} has {size} of {spec.size} bytes")
            sha512 = _sha512(file, size, call)
            with _telling_a_full_disk(), appearing(self._layout.blob(spec.blob), call.token) as temporary:
                # A second name, so that a crash in between leaves the upload to be adopted again.
                temporary.hardlink_to(path)
                facts = self._settle(temporary, spec, call.token, (size, sha512), any_content=True)
            remove(path)
        return facts

    def put(self, blob: str, content: bytes, token: str) -> BlobFacts:
        """Keep bytes that this node made itself."""
        with _telling_a_full_disk(), appearing(self._layout.blob(blob), token) as temporary:
            temporary.write_bytes(content)
            temporary.chmod(0o444)
            facts = BlobFacts(
                size=len(content), sha512=hashlib.sha512(content).hexdigest(), format="other", virtual_size=0
            )
            with appearing(self._layout.blob_facts(blob), token) as sidecar:
                sidecar.write_text(json.dumps(asdict(facts)))
        return facts

    def remove(self, blob: str) -> str:
        file, sidecar = self._layout.blob(blob), self._layout.blob_facts(blob)
        gone = [remove(path) for path in (file, sidecar)]
        return "removed" if any(gone) else "unchanged"

    def _settle(
        self, path: Path, spec: BlobSpec, token: str, content: tuple[int, str], *, any_content: bool
    ) -> BlobFacts:
        """Verify against what is known of the blob, judge the image, and put the sidecar in place."""
        size, sha512 = content
        if spec.size not in (None, size) or spec.sha512 not in (None, sha512):
            raise Refused("fetch.checksum", f"{size} bytes with sha512 {sha512[:16]}… came instead of what is known")
        header = judge(path, spec.max_virtual_gb)
        if header.format == "other" and not any_content:
            raise Refused("blob.not_an_image", f"the content is {header.kind}")
        path.chmod(0o444)
        facts = BlobFacts(size=size, sha512=sha512, format=header.format, virtual_size=header.virtual_size)
        with appearing(self._layout.blob_facts(spec.blob), token) as sidecar:
            sidecar.write_text(json.dumps(asdict(facts)))
        return facts


def judge(path: Path, max_virtual_gb: int) -> Header:
    """The image's header once nothing speaks against it (SE-9). Raises Refused("blob.unsafe" or "blob.not_an_image")."""
    try:
        header = read_header(path)
    except UnsafeImage as error:
        raise Refused("blob.unsafe", str(error)) from error
    if header.backing:
        raise Refused("blob.unsafe", "the image lies on another file")
    if header.virtual_size > max_virtual_gb * GIB:
        raise Refused("blob.unsafe", f"a disk of {header.virtual_size} bytes is above {max_virtual_gb} GiB")
    if header.format == "qcow2":
        disks.inspect(str(path), header)
    return header


def _copy(opened: fetch.Opened, target: Path, spec: BlobSpec, call: Call) -> tuple[int, str]:
    """(bytes, sha512) of what was written. Raises Retry for a body that ends early."""
    expected = spec.size or opened.length
    ceiling = spec.size or spec.max_virtual_gb * GIB
    tell = _Teller(call, expected)
    digest, size = hashlib.sha512(), 0
    with target.open("xb") as file:
        while chunk := opened.read(CHUNK):
            size += len(chunk)
            if size > ceiling:
                raise Refused("fetch.size", f"more than {ceiling} bytes came")
            digest.update(chunk)
            file.write(chunk)
            tell(size)
    if opened.length is not None and size < opened.length:
        raise Retry("fetch.short_body", f"the body ended after {size} of {opened.length} bytes")
    return size, digest.hexdigest()


def _sha512(file: FileIO, size: int, call: Call) -> str:
    tell, digest, done = _Teller(call, size), hashlib.sha512(), 0
    while chunk := file.read(CHUNK):
        done += len(chunk)
        digest.update(chunk)
        tell(done)
    return digest.hexdigest()


class _Teller:
    """Passes progress on, at most twice a second: that is also how a cancel request is noticed (EN-14)."""

    def __init__(self, call: Call, whole: int | None) -> None:
        self._call = call
        self._whole = whole
        self._next = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            self._call.progress(min(99, done * 100 // self._whole) if self._whole else 0)


@contextlib.contextmanager
def _telling_a_full_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Refused("disk.full", os.strerror(error.errno)) from error
        raise
