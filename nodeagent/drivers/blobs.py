"""Cached blobs: immutable files, named by UUID, each with a sidecar of the facts that were verified when it came.

The sidecar is renamed into place first and the file last; a blob is there when both are. Files are 0444 and nothing in
the agent opens one for writing (SE-9); disks are overlays.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from io import FileIO
from pathlib import Path

from nodeagent import wire
from nodeagent.drivers import checksum_list, digests, disks, fetch, foreign_images, uploads
from nodeagent.drivers.digests import Content, Digests
from nodeagent.drivers.image_header import CONVERTIBLE, Header
from nodeagent.drivers.layout import Layout, appearing, remove, telling_a_full_disk
from nodeagent.host import BlobFacts, Call, Refused, Retry
from nodeagent.specs import BlobSource, BlobSpec

CHUNK = 2**20
PROGRESS_SECONDS = 0.5
GIB = 2**30
ANY_SIZE_GB = 2**20
"""For what comes from a disk of this node, which had its limit when it was made."""


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
            url, ticket = call.blob_ticket(source.archive or spec.blob, source.peer)
            part = f"?offset={source.offset}&limit={spec.size}" if source.archive else ""
            opening = fetch.opened_from_peer(f"{url}{part}", ticket)
        else:
            opening = fetch.opened(source.url, self._policy())
        with telling_a_full_disk(), appearing(self._layout.blob(spec.blob), call.token) as temporary:
            with opening as opened:
                content = _copy(opened, temporary, spec, call)
            if opened.length is None and not content.size:
                raise Refused("image.not_an_image", "the body is empty")
            if source.checksums:
                checksum_list.require_listed(content, source.url, source.checksums, self._policy())
            made = self._made_of(temporary, spec, content, call, any_content=bool(source.peer))
            return self._settle(temporary, spec, call.token, made, opened.validators)

    def adopt(self, upload: str, acknowledged: int, spec: BlobSpec, call: Call) -> BlobFacts:
        """Make the first `acknowledged` bytes of an upload the blob. A disk image that is kept as it came is never copied."""
        path = self._layout.upload(upload)
        if not path.exists():
            raise Refused("upload.missing", f"upload {upload} is not on this node")
        with uploads.held(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size < acknowledged:
                raise Retry("upload.incomplete", f"upload {upload} has {size} of {acknowledged} bytes")
            os.truncate(file.fileno(), acknowledged)
            content = digests.of_file(path, _Teller(call, acknowledged))
            with telling_a_full_disk(), appearing(self._layout.blob(spec.blob), call.token) as temporary:
                # A second name, so that a crash in between leaves the upload to be adopted again.
                temporary.hardlink_to(path)
                made = self._made_of(temporary, spec, content, call, any_content=True)
                facts = self._settle(temporary, spec, call.token, made, {})
            remove(path)
        return facts

    def open(self, blob: str) -> FileIO:
        """The blob's bytes. Raises Retry("blob.missing")."""
        try:
            return self._layout.blob(blob).open("rb", buffering=0)
        except FileNotFoundError:
            raise Retry("blob.missing", f"blob {blob} is not on this node") from None

    def make(self, blob: str, write: Callable[[Path], None], call: Call) -> BlobFacts:
        """A new blob of what `write` puts at the path that it is given, whatever content that is."""
        with self.several([blob], call) as (paths, settle):
            write(paths[0])
            return settle(blob, paths[0])

    def put(self, blob: str, content: bytes, token: str) -> BlobFacts:
        """Keep bytes that this node made itself, whatever they are."""
        with telling_a_full_disk(), appearing(self._layout.blob(blob), token) as temporary:
            temporary.write_bytes(content)
            seen = Digests()
            seen.update(content)
            header = Header(format="other", virtual_size=len(content))
            spec = BlobSpec(blob=blob, source=BlobSource(peer=blob))
            return self._settle(temporary, spec, token, (seen.content(), header), {})

    @contextlib.contextmanager
    def several(
        self, blobs: Sequence[str], call: Call
    ) -> Iterator[tuple[list[Path], Callable[[str, Path], BlobFacts]]]:
        """Paths for new blobs' bytes, and what settles each; all become visible at the end, or none does.

        A crash between two of them leaves some, which only their maker knows.
        """

        def settle(blob: str, path: Path) -> BlobFacts:
            content = digests.of_file(path, _Teller(call, path.stat().st_size))
            spec = BlobSpec(blob=blob, source=BlobSource(peer=blob), max_virtual_gb=ANY_SIZE_GB)
            return self._settle(path, spec, call.token, (content, _as_it_is(path)), {})

        with telling_a_full_disk(), contextlib.ExitStack() as stack:
            yield [stack.enter_context(appearing(self._layout.blob(blob), call.token)) for blob in blobs], settle

    def remove(self, blob: str) -> str:
        file, sidecar = self._layout.blob(blob), self._layout.blob_facts(blob)
        gone = [remove(path) for path in (file, sidecar)]
        return "removed" if any(gone) else "unchanged"

    def _made_of(
        self, path: Path, spec: BlobSpec, content: Content, call: Call, *, any_content: bool
    ) -> tuple[Content, Header]:
        """What arrived, verified, judged, and converted when guests cannot use it as it is."""
        if spec.source_sha512 not in (None, content.sha512):
            raise Refused("fetch.checksum", f"sha512 {content.sha512[:16]}… came instead of {spec.source_sha512[:16]}…")
        if spec.verbatim:
            return content, Header(format="other", virtual_size=content.size)
        header = judge(path, spec.max_virtual_gb)
        if header.format in CONVERTIBLE:
            foreign_images.convert(path, header, spec.max_virtual_gb, call)
            header = judge(path, spec.max_virtual_gb)
            content = digests.of_file(path, _Teller(call, path.stat().st_size))
        if header.format == "other" and not any_content:
            raise Refused("image.not_an_image", f"the content is {header.kind}")
        return content, header

    def _settle(
        self, path: Path, spec: BlobSpec, token: str, made: tuple[Content, Header], validators: dict[str, str]
    ) -> BlobFacts:
        """Verify against what is known of the blob, and put the sidecar in place."""
        content, header = made
        if spec.size not in (None, content.size) or spec.sha512 not in (None, content.sha512):
            came = f"{content.size} bytes with sha512 {content.sha512[:16]}…"
            raise Refused("fetch.checksum", f"{came} came instead of what is known")
        path.chmod(0o444)
        facts = BlobFacts(
            size=content.size,
            sha512=content.sha512,
            format=header.format,
            virtual_size=header.virtual_size,
            hashes=content.hashes,
            validators=validators,
        )
        with appearing(self._layout.blob_facts(spec.blob), token) as sidecar:
            sidecar.write_text(json.dumps(asdict(facts)))
        return facts


def _as_it_is(path: Path) -> Header:
    """Of what this node made, which is kept whatever it is: a disk image only when nothing speaks against it (SE-9)."""
    try:
        header = judge(path, ANY_SIZE_GB)
    except Refused:
        header = None
    if header is None or header.format in CONVERTIBLE:
        return Header(format="other", virtual_size=path.stat().st_size)
    return header


def judge(path: Path, max_virtual_gb: int) -> Header:
    """The image's header once nothing speaks against it (SE-9). Raises Refused with a code `image.*`."""
    header = foreign_images.header_of(path)
    if header.backing:
        raise Refused("image.backing_file", "the image lies on another file")
    if header.format == "ova" and not foreign_images.is_appliance(path):
        return Header(format="other", virtual_size=header.virtual_size, kind=header.kind)
    if header.virtual_size > max_virtual_gb * GIB:
        raise Refused("image.too_large", f"a disk of {header.virtual_size} bytes is above {max_virtual_gb} GiB")
    if header.format == "qcow2":
        disks.inspect(str(path), header)
    return header


def _copy(opened: fetch.Opened, target: Path, spec: BlobSpec, call: Call) -> Content:
    """What was written. Raises Retry for a body that ends early."""
    expected = spec.size or opened.length
    ceiling = spec.size or spec.max_virtual_gb * GIB
    tell = _Teller(call, expected)
    seen, size = Digests(), 0
    with target.open("xb") as file:
        while chunk := opened.read(CHUNK):
            size += len(chunk)
            if size > ceiling:
                raise Refused("fetch.size", f"more than {ceiling} bytes came")
            seen.update(chunk)
            file.write(chunk)
            tell(size)
    if opened.length is not None and size < opened.length:
        raise Retry("fetch.short_body", f"the body ended after {size} of {opened.length} bytes")
    return seen.content()


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
