"""Instances that come from another node, and domains that go to one.

A running domain goes by libvirt, from its source to the libvirtd of the other node, together with what its disks have above
their blobs. Files of a guest that is off are fetched by the node that gets them, from the byte server of the other.
"""

import contextlib
import json
import queue
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import libvirt

from nodeagent.config import Config
from nodeagent.drivers import console_log, disks, domain_xml, fetch
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.domains import Domains
from nodeagent.drivers.image_header import read_header
from nodeagent.drivers.layout import DISK_SUFFIX, Layout, appearing, telling_a_full_disk
from nodeagent.host import Call, Movement, Refused, Retry
from nodeagent.specs import DiskSpec, InstanceSpec

CHUNK = 2**20
LOOK_SECONDS = 0.3
MIGRATION_SECONDS = 6 * 3600.0
LISTING_BYTES = 2**20
CERTIFICATES = ("CA/cacert.pem", "libvirt/clientcert.pem", "libvirt/private/clientkey.pem", "qemu/server-cert.pem")
"""What of `pki` a migration by TLS reads on the node that it starts from: libvirt's own, and QEMU's for what it sends."""
_CPU = frozenset({libvirt.VIR_ERR_CPU_INCOMPATIBLE})
_UNSUPPORTED = frozenset(
    {
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_MIGRATE_UNSAFE,
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    }
)


class Moves:
    def __init__(self, config: Config, layout: Layout, blobs: Blobs, domains: Domains) -> None:
        self._config = config
        self._layout = layout
        self._blobs = blobs
        self._domains = domains

    def copy(self, spec: InstanceSpec, peer: str, call: Call, wanted: Sequence[DiskSpec]) -> str:
        """Fetch the small files and the wanted disks that are not here; "unchanged" when all are."""
        self._layout.instance(spec.instance).mkdir(parents=True, exist_ok=True, mode=0o711)
        url, ticket = call.instance_ticket(spec.instance, peer)
        listed = _listing(url, ticket)
        of_disks = {f"{disk.file}{DISK_SUFFIX}": disk for disk in wanted}
        for name in of_disks:
            if name not in listed:
                raise Refused("disk.missing", f"{name} is not on node {peer}")
        others = [name for name in listed if not name.endswith(DISK_SUFFIX)]
        missing = [name for name in (*others, *of_disks) if not self._path(spec.instance, name).exists()]
        whole, done = max(1, sum(listed[name] for name in missing)), 0

        def tell(size: int) -> None:
            nonlocal done
            done += size
            call.progress(min(99, done * 100 // whole))

        for name in missing:
            with telling_a_full_disk(), appearing(self._path(spec.instance, name), call.token) as temporary:
                _download(f"{url}?{urlencode({'name': name})}", ticket, temporary, tell)
                temporary.chmod(0o600)
                if name in of_disks:
                    self._settle(temporary, of_disks[name], call)
        console_log.prepare(self._layout.console_log(spec.instance))
        return "created" if missing else "unchanged"

    def _path(self, instance: str, name: str) -> Path:
        """Where a file of that name belongs. Raises Refused for one that no instance has."""
        path = self._layout.instance(instance) / name
        known = (self._layout.config_drive(instance), self._layout.console_log(instance), self._layout.nvram(instance))
        if name.endswith(DISK_SUFFIX):
            return self._layout.disk(instance, name.removesuffix(DISK_SUFFIX))
        if path not in known:
            raise Refused("disk.conflict", "the other node sends a file that no instance has")
        return path

    def _settle(self, path: Path, disk: DiskSpec, call: Call) -> None:
        """A disk that came lies on the blob of its spec or on nothing, whatever the other node wrote into it (SE-9)."""
        header = read_header(path)
        name = PurePath(header.backing).name if header.backing else None
        if header.format != "qcow2" or name != disk.blob:
            raise Refused("disk.conflict", f"{disk.device} came on {header.backing or 'nothing'}, not on {disk.blob}")
        if disk.blob is None or header.backing == str(self._layout.blob(disk.blob)):
            return
        facts = self._blobs.facts(disk.blob)
        if facts is None:
            raise Retry("blob.missing", f"blob {disk.blob} is not on this node")
        base = ["-b", str(self._layout.blob(disk.blob)), "-F", facts.format]
        disks.write(["rebase", "-u", "-q", "-f", "qcow2", *base, f"file:{path}"], call)

    def migrate(self, move: Movement, call: Call) -> None:
        """Send the domain away and follow it. Raises Refused with what libvirt said, when it said no."""
        uri, instance = self._config.migration_uri.format(address=move.address), move.spec.instance
        is_safe = "+tls:" in uri
        if is_safe:
            self._require_certificates()
        document = self._domains.on(instance, lambda domain: domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE))
        parameters = {
            libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{move.address}",
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: as_there(document, move),
            libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: [disk.device for disk in move.spec.disks if disk.kind == "disk"],
        }
        flags = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_NON_SHARED_INC
        flags |= libvirt.VIR_MIGRATE_ABORT_ON_ERROR | (libvirt.VIR_MIGRATE_TLS if is_safe else 0)

        def send(domain: Any) -> None:
            if domain is None:
                raise Refused("instance.off", f"instance {instance} does not run")
            domain.migrateToURI3(uri, parameters, flags)

        try:
            self._follow(instance, send, call)
        except libvirt.libvirtError as error:
            code = error.get_error_code()
            kind = "cpu" if code in _CPU else "unsupported" if code in _UNSUPPORTED else "failed"
            raise Refused(f"migration.{kind}", str(error)) from error

    def _follow(self, instance: str, send: Any, call: Call) -> None:
        """Tell how far it is until it has ended; when asked to stop, stop it, and see how that ends."""
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def work() -> None:
            try:
                self._domains.migrate(instance, MIGRATION_SECONDS, send)
            except BaseException as error:
                ended.put(error)
            else:
                ended.put(None)

        stop: Refused | None = None
        threading.Thread(target=work, name=f"migrate-{instance}", daemon=True).start()
        while True:
            with contextlib.suppress(queue.Empty):
                error = ended.get(timeout=LOOK_SECONDS)
                break
            try:
                call.progress(self._percent(instance))
            except Refused as asked:
                stop = asked
                with contextlib.suppress(Exception):
                    self._domains.on(instance, lambda domain: domain.abortJob())
        if error is not None:
            raise stop or error

    def _percent(self, instance: str) -> int:
        """0 where nobody can say just now."""
        try:
            stats = self._domains.on(instance, lambda domain: domain.jobStats(0))
        except Exception:
            return 0
        total = int(stats.get("data_total", 0))
        return min(99, int(stats.get("data_processed", 0)) * 100 // total) if total else 0

    def _require_certificates(self) -> None:
        for name in CERTIFICATES:
            if not (Path(self._config.pki) / name).exists():
                raise Refused(
                    "migration.no_tls", f"{self._config.pki}/{name} is not there: nothing is sent unencrypted"
                )


def as_there(document: str, move: Movement) -> str:
    """The domain's document as it is on the other node: other ports and addresses, and a password that nobody knows."""
    root = ElementTree.fromstring(document)
    for source in root.iterfind("devices/*/source[@service]"):
        source.set("service", str(move.spec.console_port))
    devices = root.find("devices")
    assert devices is not None, "every domain has devices"
    for place, device in enumerate(list(devices)):
        if device.tag == "graphics":
            devices[place] = domain_xml.graphics(device.get("type", ""), move.spec.vdi_port, move.address)
    told = root.find(f"metadata/{{{domain_xml.METADATA}}}spec")
    assert isinstance(told, Element), "every domain of ours says what it was made from"
    told.text = move.digest
    return ElementTree.tostring(root, encoding="unicode")


def _listing(url: str, ticket: str) -> dict[str, int]:
    with fetch.opened_from_peer(url, ticket) as opened:
        document = json.loads(opened.read(LISTING_BYTES))
    return {str(name): int(size) for name, size in document["files"].items()}


def _download(url: str, ticket: str, target: Path, tell: Callable[[int], None]) -> None:
    """Write the file, telling the size of each piece. Raises Retry for a body that ends early."""
    size = 0
    with fetch.opened_from_peer(url, ticket) as opened, target.open("xb") as file:
        while chunk := opened.read(CHUNK):
            file.write(chunk)
            size += len(chunk)
            tell(len(chunk))
        if opened.length != size:
            raise Retry("fetch.short_body", f"the body ended after {size} of {opened.length} bytes")
