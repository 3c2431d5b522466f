"""IV-1: what the API refuses, how it says so, and that a refused request changes no row of any table."""

import re
from typing import Any

import pytest
from django.apps import apps

from sfweb.models import Instance
from tests.api.world import World

I = {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}  # noqa: E741
N = {"name": "new", "netblock": "10.9.0.0/24"}
HUGE = 10**30
AGENT = "/instances/INSTANCE/agent"
LONG = "x" * 64


def instance(**changes: Any) -> dict[str, Any]:
    return I | changes


def network(**changes: Any) -> dict[str, Any]:
    return N | changes


def disk(**changes: Any) -> dict[str, Any]:
    return instance(disk=[{"size": 1} | changes])


def card(**changes: Any) -> dict[str, Any]:
    return instance(network=[{"network_uuid": "net"} | changes])


def plugged(**changes: Any) -> dict[str, Any]:
    return {"network": {"network_uuid": "net"} | changes}


Row = tuple[str, str, str, Any, int, str]
ROWS: list[Row] = [
    # bodies
    ("owner", "POST", "/instances", b"{", 400, "body: not valid JSON"),
    ("owner", "POST", "/instances", b"\xff\xfe", 400, "body: not valid JSON"),
    ("owner", "POST", "/instances", b"[]", 400, "body: an object is needed"),
    ("owner", "POST", "/instances", b'"text"', 400, "body: an object is needed"),
    ("owner", "POST", "/instances", b"null", 400, "body: an object is needed"),
    ("owner", "POST", "/instances", b"[" * 100_000, 400, "body: not valid JSON"),
    ("owner", "POST", "/instances", b'{"cpus": Infinity}', 400, "body: not valid JSON"),
    ("owner", "POST", "/instances", b'{"cpus": NaN}', 400, "body: not valid JSON"),
    ("owner", "POST", "/instances", b'{"cpus": 1e999}', 400, "body: not valid JSON"),
    ("owner", "POST", "/instances", b'{"cpus": ' + b"9" * 5000 + b"}", 400, "body: not valid JSON"),
    ("owner", "POST", "/instances", b'{"name": "\\ud800"}', 400, "body: not valid JSON"),
    ("owner", "POST", "/instances", b" " * (2 * 1024 * 1024 + 1), 400, "body: larger than 2097152 bytes"),
    ("owner", "POST", "/upload/UPLOAD", b"x" * (8 * 1024 * 1024 + 1), 400, "body: larger than 8388608 bytes"),
    ("owner", "POST", "/upload/UPLOAD", b"", 400, "body: a chunk of at least one byte is needed"),
    # instances: types and ranges
    ("owner", "POST", "/instances", {}, 400, "name: This field is required."),
    ("owner", "POST", "/instances", instance(name=None), 400, "name: This field is required."),
    ("owner", "POST", "/instances", instance(name=5), 400, "name: Not a valid string."),
    ("owner", "POST", "/instances", instance(name=["a"]), 400, "name: Not a valid string."),
    ("owner", "POST", "/instances", instance(name="a.b"), 400, "name: must be letters"),
    ("owner", "POST", "/instances", instance(name="-a"), 400, "name: must be letters"),
    ("owner", "POST", "/instances", instance(name=LONG), 400, "name: must be letters"),
    ("owner", "POST", "/instances", instance(name="a\n"), 400, "name: must be letters"),
    ("owner", "POST", "/instances", instance(name="b\u00e4r"), 400, "name: must be letters"),
    ("owner", "POST", "/instances", instance(cpus=0), 400, "cpus: Ensure this value"),
    ("owner", "POST", "/instances", instance(cpus=-1), 400, "cpus: Ensure this value"),
    ("owner", "POST", "/instances", instance(cpus=HUGE), 400, "cpus: Ensure this value"),
    ("owner", "POST", "/instances", instance(cpus=1.5), 400, "cpus: A valid integer"),
    ("owner", "POST", "/instances", instance(cpus=True), 400, "cpus: A valid integer"),
    ("owner", "POST", "/instances", instance(cpus="many"), 400, "cpus: A valid integer"),
    ("owner", "POST", "/instances", instance(memory=1), 400, "memory: Ensure this value"),
    ("owner", "POST", "/instances", instance(memory=HUGE), 400, "memory: Ensure this value"),
    ("owner", "POST", "/instances", instance(uefi="perhaps"), 400, "uefi: Must be a valid boolean."),
    ("owner", "POST", "/instances", instance(uefi={}), 400, "uefi: Must be a valid boolean."),
    ("owner", "POST", "/instances", instance(secure_boot=True), 400, "secure_boot: needs uefi"),
    ("owner", "POST", "/instances", instance(secure_boot="true", uefi="false"), 400, "secure_boot: needs uefi"),
    ("owner", "POST", "/instances", instance(nvram_template="label:x"), 400, "nvram_template: needs uefi"),
    ("owner", "POST", "/instances", instance(nvram_template=7, uefi=True), 400, "nvram_template: Not a valid string."),
    ("owner", "POST", "/instances", instance(nvram_template="a b", uefi=True), 400, "nvram_template: a b is not"),
    ("owner", "POST", "/instances", instance(nvram_template="label:x", uefi=True), 404, "artifact not found"),
    ("owner", "POST", "/instances", instance(colour="red"), 400, "colour: unknown parameter"),
    ("owner", "POST", "/instances", instance(configdrive="floppy"), 400, "configdrive: must be one of"),
    ("owner", "POST", "/instances", instance(user_data="not base64!"), 400, "user_data: must be base64"),
    ("owner", "POST", "/instances", instance(side_channels="sf-agent"), 400, "side_channels: Expected a list"),
    ("owner", "POST", "/instances", instance(side_channels=["telegraph"]), 400, "side_channels: telegraph is not"),
    ("owner", "POST", "/instances", instance(video={"model": "hercules"}), 400, "video.model: must be one of"),
    ("owner", "POST", "/instances", instance(video={"memory": 1}), 400, "video.memory: must be"),
    ("owner", "POST", "/instances", instance(video={"vdi": "x11"}), 400, "video.vdi: must be one of"),
    ("owner", "POST", "/instances", instance(video={"size": 1}), 400, "video.size: unknown parameter"),
    ("owner", "POST", "/instances", instance(video="cirrus"), 400, "video: an object is needed"),
    ("owner", "POST", "/instances", instance(metadata=[]), 400, "metadata: an object is needed"),
    ("owner", "POST", "/instances", instance(metadata={"a": ""}), 400, "value: no metadata value"),
    ("owner", "POST", "/instances", instance(metadata={"tags": "x"}), 400, 'value: value for "tags"'),
    ("owner", "POST", "/instances", instance(metadata={"affinity": {"a": "x"}}), 400, 'value: affinity of "a"'),
    ("owner", "POST", "/instances", instance(placed_on="nowhere"), 404, "node not found: nowhere"),
    ("owner", "POST", "/instances", instance(namespace="nowhere"), 404, "namespace not found: nowhere"),
    ("owner", "POST", "/instances", instance(namespace="other"), 404, "namespace not found: other"),
    ("owner", "POST", "/instances", instance(namespace="other", name="a.b"), 404, "namespace not found: other"),
    # instances: disks
    ("owner", "POST", "/instances", instance(disk=None), 400, "disk: an instance has 1 to"),
    ("owner", "POST", "/instances", instance(disk=[]), 400, "disk: an instance has 1 to"),
    ("owner", "POST", "/instances", instance(disk={}), 400, "disk: Expected a list"),
    ("owner", "POST", "/instances", instance(disk=["8"]), 400, "disk.0: an object is needed"),
    ("owner", "POST", "/instances", instance(disk=[{"size": 1}] * 17), 400, "disk: an instance has 1 to"),
    ("owner", "POST", "/instances", instance(disk=[{}]), 400, "disk.0.size: a disk without a base"),
    ("owner", "POST", "/instances", disk(size=-1), 400, "disk.0.size: Ensure this value"),
    ("owner", "POST", "/instances", disk(size=HUGE), 400, "disk.0.size: Ensure this value"),
    ("owner", "POST", "/instances", disk(bus="ide"), 400, "disk.0.bus: must be one of"),
    ("owner", "POST", "/instances", disk(bus="ide", base="label:none-such"), 400, "disk.0.bus: must be one of"),
    ("owner", "POST", "/instances", disk(type="tape"), 400, "disk.0.type: must be one of"),
    ("owner", "POST", "/instances", disk(type="cdrom", bus="virtio"), 400, "disk.0.bus: a cdrom must be on one of"),
    ("owner", "POST", "/instances", disk(base="label:none-such"), 404, ""),
    ("owner", "POST", "/instances", disk(base="sf://upload/other/x"), 404, ""),
    ("owner", "POST", "/instances", disk(base="sf://blob/00000000-0000-4000-8000-000000000000"), 404, ""),
    ("owner", "POST", "/instances", disk(base="file:///etc/passwd"), 400, "disk.0.base:"),
    ("owner", "POST", "/instances", disk(base="http://127.0.0.1/x"), 400, "disk.0.base: images are not fetched"),
    ("owner", "POST", "/instances", disk(base="http://169.254.169.254/x"), 400, "disk.0.base: images are not"),
    # instances: interfaces
    ("owner", "POST", "/instances", instance(network=[{}]), 400, "network.0.network_uuid: This field is required."),
    ("owner", "POST", "/instances", card(network_uuid="none-such"), 404, "network not found: none-such"),
    ("owner", "POST", "/instances", card(address="10.0.0.300"), 400, "network.0.address: is not an IPv4"),
    ("owner", "POST", "/instances", card(address="::1"), 400, "network.0.address: is not an IPv4"),
    ("owner", "POST", "/instances", card(address="10.0.1.1"), 400, ""),
    ("owner", "POST", "/instances", card(macaddress="nonsense"), 400, "network.0.macaddress: must be"),
    ("owner", "POST", "/instances", card(macaddress="01:00:00:00:00:00"), 400, "network.0.macaddress: must be"),
    ("owner", "POST", "/instances", card(model="ne2000"), 400, "network.0.model: must be one of"),
    ("owner", "POST", "/instances", card(address="none", float=True), 400, "network.0.float: an interface"),
    ("owner", "POST", "/instances", card(speed=10), 400, "network.0.speed: unknown parameter"),
    ("other", "POST", "/instances", card(network_uuid="NETWORK"), 404, "network not found"),
    # instances: other verbs
    ("owner", "GET", "/instances", {"all": "maybe"}, 400, "all: Must be a valid boolean."),
    ("owner", "GET", "/instances?all=maybe", None, 400, "all: Must be a valid boolean."),
    ("owner", "GET", "/instances?colour=red", None, 400, "colour: unknown parameter"),
    ("owner", "GET", "/instances?limit=0", None, 400, "limit: Ensure this value"),
    ("owner", "GET", "/instances/INSTANCE", {"ref": "x"}, 400, "ref: is part of the address"),
    ("owner", "GET", "/instances/INSTANCE/events", {"event_type": "gossip"}, 400, "event_type: must be one of"),
    ("owner", "GET", "/instances/INSTANCE/events", {"limit": "five"}, 400, "limit: A valid integer"),
    ("owner", "GET", "/instances/INSTANCE/events", {"limit": 2**31}, 400, "limit: Ensure this value"),
    ("owner", "GET", "/instances/INSTANCE/events", {"before": "x"}, 400, "before: Must be a valid UUID"),
    ("owner", "GET", "/instances/INSTANCE/consoledata", {"length": -2}, 400, "length: Ensure this value"),
    ("owner", "DELETE", "/instances", {}, 400, "confirm: parameter is not set true"),
    ("owner", "DELETE", "/instances", {"confirm": "false"}, 400, "confirm: parameter is not set true"),
    ("owner", "DELETE", "/instances", {"confirm": True, "namespace": "other"}, 401, "another namespace"),
    ("system", "DELETE", "/instances", {"confirm": True}, 400, "namespace: system user must specify"),
    ("owner", "DELETE", "/instances/INSTANCE", {"namespace": "other"}, 404, "instance not found"),
    ("owner", "DELETE", "/instances/none-such", None, 404, "instance not found"),
    ("owner", "POST", "/instances/INSTANCE/poweroff", {"now": True}, 400, "now: unknown parameter"),
    # instances: changes
    ("owner", "PATCH", "/instances/INSTANCE", {}, 400, "body: says nothing that could change"),
    ("owner", "PATCH", "/instances/INSTANCE", {"name": "a.b"}, 400, "name: must be letters"),
    ("owner", "PATCH", "/instances/INSTANCE", {"name": 5}, 400, "name: Not a valid string."),
    ("owner", "PATCH", "/instances/INSTANCE", {"cpus": 0}, 400, "cpus: Ensure this value"),
    ("owner", "PATCH", "/instances/INSTANCE", {"cpus": 2}, 409, "cpus and memory change only while"),
    ("owner", "PATCH", "/instances/INSTANCE", {"memory": HUGE}, 400, "memory: Ensure this value"),
    ("owner", "PATCH", "/instances/INSTANCE", {"memory": 512}, 409, "cpus and memory change only while"),
    ("owner", "PATCH", "/instances/INSTANCE", {"state": "created"}, 400, "state: unknown parameter"),
    ("owner", "PATCH", "/instances/INSTANCE", {"disk": {}}, 400, "disk: Expected a list"),
    ("owner", "PATCH", "/instances/INSTANCE", {"disk": [{"device": "vda"}]}, 400, "disk.0.size: This field is"),
    ("owner", "PATCH", "/instances/INSTANCE", {"disk": [{"device": "vda", "size": 0}]}, 400, "disk.0.size: Ensure"),
    ("owner", "PATCH", "/instances/INSTANCE", {"disk": [{"device": "vda", "size": 8}]}, 400, "disk: vda has 8 GiB"),
    ("owner", "PATCH", "/instances/INSTANCE", {"disk": [{"device": "vda", "size": 9}] * 2}, 400, "disk: a device is"),
    ("owner", "PATCH", "/instances/INSTANCE", {"disk": [{"device": "vdz", "size": 9}]}, 404, "disk not found: vdz"),
    ("owner", "PATCH", "/instances/INSTANCE", {"disk": [{"device": "vda", "size": 60000}]}, 507, "no node has room"),
    ("other", "PATCH", "/instances/INSTANCE", {"name": "mine"}, 404, "instance not found"),
    ("owner", "POST", "/instances/INSTANCE/interfaces", {}, 400, "network: This field is required."),
    ("owner", "POST", "/instances/INSTANCE/interfaces", {"network": "net"}, 400, "network: an object is needed"),
    ("owner", "POST", "/instances/INSTANCE/interfaces", plugged(network_uuid="none-such"), 404, "network not found"),
    ("owner", "POST", "/instances/INSTANCE/interfaces", plugged(address="10.0.1.1"), 400, "address: 10.0.1.1 is not"),
    ("owner", "POST", "/instances/INSTANCE/interfaces", plugged(address="::1"), 400, "network.address: is not an IPv4"),
    ("owner", "POST", "/instances/INSTANCE/interfaces", plugged(macaddress="x"), 400, "network.macaddress: must be"),
    ("owner", "POST", "/instances/INSTANCE/interfaces", plugged(model="ne2000"), 400, "network.model: must be one of"),
    ("owner", "POST", "/instances/INSTANCE/interfaces", plugged(address="none", float=True), 400, "network.float: an"),
    ("owner", "DELETE", "/interfaces/none-such", None, 404, "interface not found"),
    ("other", "DELETE", "/interfaces/INTERFACE", None, 404, "interface not found"),
    ("owner", "POST", "/instances/INSTANCE/disks", {}, 400, "size: a disk without a base needs a size"),
    ("owner", "POST", "/instances/INSTANCE/disks", {"size": HUGE}, 400, "size: Ensure this value"),
    ("owner", "POST", "/instances/INSTANCE/disks", {"size": 1, "bus": "ide"}, 400, "bus: must be one of"),
    ("owner", "POST", "/instances/INSTANCE/disks", {"size": 1, "bus": "sata"}, 409, "a disk on sata can only be"),
    ("owner", "POST", "/instances/INSTANCE/disks", {"size": 60000}, 507, "no node has room"),
    ("owner", "POST", "/instances/INSTANCE/disks", {"base": "label:none-such"}, 404, ""),
    ("owner", "POST", "/instances/INSTANCE/disks", {"base": "http://127.0.0.1/x"}, 400, "base: images are not fetched"),
    ("owner", "DELETE", "/instances/INSTANCE/disks/vda", None, 409, "vda is what the instance boots from"),
    ("owner", "DELETE", "/instances/INSTANCE/disks/vdz", None, 404, "disk not found: vdz"),
    ("owner", "POST", "/instances/INSTANCE/poweron", None, 409, "instance one is on: cannot poweron"),
    ("owner", "POST", "/instances/INSTANCE/unpause", None, 409, "instance one is on: cannot unpause"),
    # networks
    ("owner", "POST", "/networks", network(netblock="10.0.0.1/24"), 400, "netblock: 10.0.0.1/24 has host bits set"),
    ("owner", "POST", "/networks", network(netblock="10.0.0.0/30"), 400, "netblock: must be /8 to /29"),
    ("owner", "POST", "/networks", network(netblock="0.0.0.0/0"), 400, "netblock: must be /8 to /29"),
    ("owner", "POST", "/networks", network(netblock="10.0.0.0"), 400, "netblock: must be an IPv4 address"),
    ("owner", "POST", "/networks", network(netblock="10.0.0.0/255.255.255.0"), 400, "netblock: must be an IPv4"),
    ("owner", "POST", "/networks", network(netblock="fd00::/64"), 400, "netblock: must be an IPv4 address"),
    ("owner", "POST", "/networks", network(netblock="nonsense"), 400, "netblock: must be an IPv4 address"),
    ("owner", "POST", "/networks", network(netblock="10.0.0.0/33"), 400, "netblock:"),
    ("owner", "POST", "/networks", network(netblock="300.0.0.0/24"), 400, "netblock:"),
    ("owner", "POST", "/networks", network(netblock="224.0.0.0/24"), 400, "netblock: must be unicast"),
    ("owner", "POST", "/networks", network(netblock="127.0.0.0/24"), 400, "netblock: must be unicast"),
    ("owner", "POST", "/networks", network(name="a b"), 400, "name: must be letters"),
    ("owner", "POST", "/networks", network(provide_nat="no way"), 400, "provide_nat: Must be a valid boolean."),
    ("owner", "POST", "/networks", network(mtu=9000), 400, "mtu: unknown parameter"),
    ("owner", "POST", "/networks", network(namespace="other"), 401, "only admins can create networks"),
    ("system", "POST", "/networks", network(namespace="nowhere"), 404, "namespace not found"),
    ("owner", "DELETE", "/networks", {"confirm": True}, 403, ""),
    ("system", "DELETE", "/networks/floating", None, 403, "you cannot delete the floating network"),
    ("owner", "DELETE", "/networks/floating", None, 404, "network not found"),
    ("owner", "GET", "/networks/INSTANCE", None, 404, "network not found"),
    # outside addresses, names, ping
    ("owner", "POST", "/networks/NETWORK/route", {"address": "1.2.3.4"}, 400, "address: unknown parameter"),
    ("owner", "POST", "/networks/NETWORK/route", None, 409, "network net has no way out"),
    ("owner", "DELETE", "/networks/NETWORK/route/nonsense", None, 400, "address: nonsense is not an IPv4 address"),
    ("owner", "DELETE", "/networks/NETWORK/route/192.168.20.8", None, 404, "address 192.168.20.8 is not routed"),
    ("owner", "DELETE", "/networks/NETWORK/route/192.168.20.9", None, 403, "address 192.168.20.9 is not routed to"),
    ("system", "POST", "/networks/floating/route", None, 404, "network not found"),
    ("other", "POST", "/interfaces/INTERFACE/float", None, 404, "interface not found"),
    ("owner", "POST", "/interfaces/INTERFACE/float", None, 409, "network net has no way out"),
    ("owner", "POST", "/interfaces/INTERFACE/float", {"address": "1.2.3.4"}, 400, "address: unknown parameter"),
    ("owner", "POST", "/interfaces/INTERFACE/defloat", None, 409, "the interface has no floating address"),
    ("owner", "POST", "/networks/NETWORK/dns", {"name": "www"}, 400, "value: This field is required."),
    ("owner", "POST", "/networks/NETWORK/dns", {"name": "www", "value": "1.2.3"}, 400, "value: 1.2.3 is not an IPv4"),
    ("owner", "POST", "/networks/NETWORK/dns", {"name": "www", "value": "::1"}, 400, "value: ::1 is not an IPv4"),
    (
        "owner",
        "POST",
        "/networks/NETWORK/dns",
        {"name": "a.b", "value": "10.0.0.9"},
        406,
        "name: a.b is not a hostname",
    ),
    ("owner", "POST", "/networks/NETWORK/dns", {"name": "a\n", "value": "10.0.0.9"}, 406, "name: a"),
    (
        "owner",
        "POST",
        "/networks/NETWORK/dns",
        {"name": "www", "value": "10.0.0.9"},
        406,
        "network net provides no DNS",
    ),
    ("owner", "DELETE", "/networks/NETWORK/dns", {}, 400, "name: This field is required."),
    ("owner", "DELETE", "/networks/NETWORK/dns", {"name": "www"}, 406, "network net provides no DNS"),
    ("owner", "GET", "/networks/NETWORK/ping/10.0.1.1", None, 400, "address: 10.0.1.1 is not inside 10.0.0.0/24"),
    ("owner", "GET", "/networks/NETWORK/ping/nonsense", None, 400, "address: nonsense is not an IPv4 address"),
    ("owner", "GET", "/networks/NETWORK/ping/10.0.0.5", None, 406, "network net has no carrier"),
    # namespaces and metadata
    ("system", "POST", "/auth/namespaces", {"namespace": "a.b"}, 400, "namespace: must be letters"),
    ("system", "POST", "/auth/namespaces", {"namespace": "owner"}, 403, "namespace exists"),
    ("system", "POST", "/auth/namespaces", {"namespace": "x", "key": "y"}, 400, "key_name: key_name and key"),
    ("system", "DELETE", "/auth/namespaces/system", None, 403, "the system namespace cannot be deleted"),
    ("owner", "DELETE", "/auth/namespaces/owner/keys/none-such", None, 404, "key name not found in namespace"),
    ("owner", "POST", "/auth/namespaces/owner/trust", {"external_namespace": "nowhere"}, 404, "namespace not found"),
    ("owner", "PUT", "/instances/INSTANCE/metadata/k", {}, 400, "value: no metadata value"),
    ("owner", "PUT", "/instances/INSTANCE/metadata/k", {"value": 0}, 400, "value: no metadata value"),
    ("owner", "PUT", "/instances/INSTANCE/metadata/k", {"value": []}, 400, "value: no metadata value"),
    ("owner", "PUT", "/instances/INSTANCE/metadata/tags", {"value": {"a": 1}}, 400, 'value: value for "tags"'),
    ("owner", "PUT", "/instances/INSTANCE/metadata/affinity", {"value": [1]}, 400, 'value: value for "affinity"'),
    ("owner", "PUT", "/instances/INSTANCE/metadata/" + "k" * 256, {"value": 1}, 400, "key: must be 1 to 255"),
    ("owner", "PUT", "/instances/INSTANCE/metadata/k", {"value": 1, "key": "j"}, 400, "key: is part of the address"),
    # artifacts, blobs, uploads
    ("owner", "POST", "/artifacts", {}, 400, "url: This field is required."),
    ("owner", "POST", "/artifacts", {"url": "ftp://example.com/x"}, 400, "url: must be an http or https URL"),
    ("owner", "POST", "/artifacts", {"url": "http://"}, 400, "url: must be an http or https URL"),
    ("owner", "POST", "/artifacts", {"url": "http://[::1"}, 400, "url: is not a URL"),
    ("owner", "POST", "/artifacts", {"url": "http://10.0.0.1/x"}, 400, "url: images are not fetched from"),
    ("owner", "POST", "/artifacts", {"url": "http://2130706433/x"}, 400, "url: images are not fetched from"),
    ("owner", "POST", "/artifacts", {"url": "http://localhost:13000/x"}, 400, "url: images are not fetched from"),
    ("owner", "POST", "/artifacts", {"url": "http://e.com/x", "shared": True}, 403, "only the system namespace"),
    ("owner", "POST", "/artifacts", {"url": "http://e.com/x", "sha512": "ab"}, 400, "sha512: must be 128"),
    ("owner", "POST", "/artifacts/upload/x", {}, 400, "upload_uuid: exactly one of"),
    ("owner", "POST", "/artifacts/upload/x", {"upload_uuid": "UPLOAD"}, 400, "upload_uuid: the upload is empty"),
    ("other", "POST", "/artifacts/upload/x", {"upload_uuid": "UPLOAD"}, 404, "upload not found"),
    ("other", "POST", "/artifacts/upload/x", {"blob_uuid": "BLOB"}, 404, "blob not found"),
    ("owner", "POST", "/artifacts/upload/x", {"upload_uuid": "UPLOAD", "blob_uuid": "BLOB"}, 400, "upload_uuid: exact"),
    ("owner", "POST", "/artifacts/ARTIFACT/versions", {"max_versions": 0}, 400, "max_versions: Ensure this value"),
    ("owner", "POST", "/artifacts/ARTIFACT/share", None, 403, "only artifacts in the system namespace"),
    ("owner", "POST", "/artifacts/upload/x", {"blob_uuid": "BLOB", "url": "http://e.com/x"}, 400, "upload_uuid: exact"),
    ("owner", "POST", "/artifacts/upload/x", {"url": "http://10.0.0.1/x"}, 400, "url: images are not fetched from"),
    ("owner", "POST", "/artifacts/upload/x", {"url": "gopher://e.com/x"}, 400, "url: must be an http or https URL"),
    (
        "owner",
        "POST",
        "/artifacts/upload/x",
        {"blob_uuid": "BLOB", "artifact_type": "label"},
        400,
        "artifact_type: must",
    ),
    ("owner", "POST", "/artifacts/upload/x", {"blob_uuid": "BLOB", "sha512": "x"}, 400, "sha512: must be 128"),
    ("owner", "POST", "/artifacts/upload/x", {"blob_uuid": "BLOB", "max_versions": 0}, 400, "max_versions: Ensure"),
    ("owner", "POST", "/artifacts/upload/x", {"blob_uuid": "BLOB", "shared": True}, 403, "only the system namespace"),
    ("owner", "POST", "/artifacts/upload/x", {"blob_uuid": "BLOB", "source_url": "a\nb"}, 400, "source_url: must be"),
    (
        "owner",
        "POST",
        "/artifacts/upload/x",
        {"blob_uuid": "BLOB", "source_url": "sf://label/owner/x"},
        400,
        "labels are",
    ),
    ("owner", "DELETE", "/artifacts/ARTIFACT/versions/9", None, 404, "has no version 9"),
    ("owner", "DELETE", "/artifacts/ARTIFACT/versions/x", None, 404, "there is nothing at this address"),
    ("owner", "POST", "/artifacts/ARTIFACT/grants", {}, 400, "namespace: This field is required."),
    ("owner", "POST", "/artifacts/ARTIFACT/grants", {"namespace": "nowhere"}, 404, "namespace not found: nowhere"),
    ("owner", "POST", "/artifacts/ARTIFACT/grants", {"namespace": "owner"}, 400, "namespace: is the artifact's own"),
    ("owner", "POST", "/artifacts/ARTIFACT/grants", {"namespace": "other", "permission": "write"}, 400, "permission:"),
    ("owner", "DELETE", "/artifacts/ARTIFACT/grants/other", None, 404, "the artifact is not granted to other"),
    ("owner", "POST", "/label/x", {}, 400, "blob_uuid: exactly one of"),
    ("owner", "POST", "/label/x", {"blob_uuid": "BLOB", "artifact": "ARTIFACT"}, 400, "blob_uuid: exactly one of"),
    ("owner", "POST", "/label/x", {"blob_uuid": "BLOB", "version": 1}, 400, "version: is that of an artifact"),
    ("owner", "POST", "/label/x", {"artifact": "ARTIFACT", "version": 7}, 404, "has no such version"),
    ("owner", "POST", "/label/x", {"artifact": "none-such"}, 404, "artifact not found: none-such"),
    ("owner", "POST", "/label/x", {"blob_uuid": "00000000-0000-4000-8000-000000000000"}, 404, "blob not found"),
    ("owner", "POST", "/label/x", {"blob_uuid": "BLOB", "shared": True}, 403, "only the system namespace"),
    ("owner", "POST", "/label/x", {"blob_uuid": "BLOB", "max_versions": 0}, 400, "max_versions: Ensure this value"),
    ("owner", "POST", "/label/x", {"url": "http://127.0.0.1/x"}, 400, "url: images are not fetched from"),
    ("owner", "POST", "/label/x", {"upload_uuid": "UPLOAD"}, 400, "upload_uuid: the upload is empty"),
    ("owner", "POST", "/label/owner/b/c", {"blob_uuid": "BLOB"}, 400, "name: must be 1 to 255"),
    ("owner", "POST", "/label/other/x", {"blob_uuid": "BLOB"}, 404, "namespace not found: other"),
    ("trusted", "POST", "/label/owner/x", {"blob_uuid": "BLOB"}, 404, "namespace not found: owner"),
    ("system", "POST", "/label/nowhere/x", {"blob_uuid": "BLOB"}, 404, "namespace not found: nowhere"),
    ("owner", "GET", "/label/none-such", None, 404, "label not found: owner/none-such"),
    ("owner", "DELETE", "/label/none-such", None, 404, "label not found: owner/none-such"),
    ("owner", "GET", "/labels", {"colour": "red"}, 400, "colour: unknown parameter"),
    ("owner", "GET", "/blob_checksums/md5/ab", None, 400, "algorithm: must be one of"),
    ("owner", "GET", "/blob_checksums/sha1/" + "a" * 64, None, 400, "checksum: must be 40"),
    ("owner", "POST", "/upload/UPLOAD?offset=1", b"x", 409, "the upload has 0 bytes"),
    ("owner", "POST", "/upload/UPLOAD?offset=-1", b"x", 400, "offset: must be a number of bytes"),
    ("owner", "GET", "/upload/none-such", None, 404, "upload not found"),
    ("owner", "POST", "/instances", disk(base="nothing-called-so"), 404, "no label and no well-known image called"),
    ("owner", "POST", "/instances", disk(base="image:none-such"), 404, "there is no well-known image called"),
    ("owner", "POST", "/instances", disk(base="sf://instance/x/vda"), 404, "artifact not found or not ready"),
    ("owner", "GET", "/blobs/BLOB/checksum/md5", None, 400, "algorithm: must be one of"),
    ("owner", "GET", "/blob_checksums/sha512/xyz", None, 400, "checksum: must be 128"),
    ("owner", "GET", "/blobs/BLOB/data?offset=-1", None, 400, "offset: Ensure this value"),
    ("owner", "POST", "/upload/UPLOAD/truncate/1", None, 400, "offset: must be 0 to 0"),
    ("owner", "POST", "/upload/UPLOAD/truncate/-1", None, 400, "offset: must be 0 to 0"),
    ("owner", "POST", "/upload/none-such", b"x", 404, "upload not found"),
    # snapshots
    ("owner", "POST", "/instances/INSTANCE/snapshot", {"device": "vdx"}, 404, "has no disk vdx"),
    ("owner", "POST", "/instances/INSTANCE/snapshot", {"device": 5}, 400, "device: Not a valid string."),
    ("owner", "POST", "/instances/INSTANCE/snapshot", {"all": "perhaps"}, 400, "all: Must be a valid boolean."),
    ("owner", "POST", "/instances/INSTANCE/snapshot", {"max_versions": 0}, 400, "max_versions: Ensure this value"),
    ("owner", "POST", "/instances/INSTANCE/snapshot", {"label": "x"}, 400, "label: unknown parameter"),
    ("owner", "POST", "/instances/INSTANCE/revert", {}, 400, "snapshot: This field is required."),
    ("owner", "POST", "/instances/INSTANCE/revert", {"snapshot": "none-such"}, 404, "snapshot not found"),
    ("owner", "GET", "/snapshots/none-such", None, 404, "snapshot not found"),
    ("owner", "GET", "/snapshots?instance=none-such", None, 404, "instance not found"),
    # the agent inside a guest
    ("owner", "POST", f"{AGENT}/execute", {}, 400, "command_line: This field is required."),
    ("owner", "POST", f"{AGENT}/execute", {"command_line": ""}, 400, "command_line: This field may not be blank."),
    ("owner", "POST", f"{AGENT}/execute", {"command_line": ["ls"]}, 400, "command_line: Not a valid string."),
    ("owner", "POST", f"{AGENT}/execute", {"command_line": "x" * 131073}, 400, "command_line: Ensure this field"),
    ("owner", "POST", f"{AGENT}/execute", {"command_line": "ls", "deadline_seconds": -1}, 400, "deadline_seconds"),
    ("owner", "POST", f"{AGENT}/execute", {"command_line": "ls", "deadline_seconds": 86401}, 400, "at most 86400"),
    ("owner", "POST", f"{AGENT}/get", {"path": "etc/motd"}, 400, "path: must be an absolute path"),
    ("owner", "POST", f"{AGENT}/get", {"path": "/a\0b"}, 400, "path: Null characters are not allowed."),
    ("owner", "POST", f"{AGENT}/get", {"path": "/a", "progress_timeout_seconds": 3601}, 400, "progress_timeout"),
    ("owner", "POST", f"{AGENT}/put", {"path": "/a"}, 400, "blob_uuid: This field is required."),
    ("owner", "POST", f"{AGENT}/put", {"path": "/a", "blob_uuid": "none-such"}, 404, "blob not found"),
    ("owner", "POST", f"{AGENT}/put", {"path": "/a", "blob_uuid": "BLOB", "mode": 65536}, 400, "mode: Ensure this"),
    ("owner", "GET", "/agentoperations/none-such", None, 404, "agent operation not found"),
    # operations
    ("owner", "GET", "/clusteroperations", None, 400, "target_object_type: must be one of"),
    ("owner", "GET", "/clusteroperations?target_object_type=instance", None, 400, "target_uuid: must be a uuid"),
    ("owner", "GET", "/clusteroperations/network_delete/OPERATION", None, 404, "operation not found"),
    ("owner", "DELETE", "/clusteroperations/network_delete/OPERATION", None, 404, "operation not found"),
    ("owner", "GET", "/instances/INSTANCE/clusteroperations?all=perhaps", None, 400, "all: Must be a valid boolean."),
    ("owner", "GET", "/instances/INSTANCE/operations?limit=1001", None, 400, "limit: Ensure this value"),
    ("owner", "GET", "/instances/INSTANCE/operations?before=1", None, 400, "before: Must be a valid UUID."),
    ("owner", "GET", "/networks/none-such/clusteroperations", None, 404, "network not found"),
    ("owner", "GET", "/operations?state=lost", None, 400, "state: must be one of"),
    ("owner", "GET", "/operations?limit=99999", None, 400, "limit: Ensure this value"),
    ("owner", "GET", "/operations/none-such", None, 404, "operation not found"),
    ("owner", "GET", "/instances?order=cpus", None, 400, "order: "),
    ("owner", "GET", "/instances?state=lost", None, 400, "state: "),
    ("owner", "GET", "/instances?created_after=yesterday", None, 400, "created_after: A valid number"),
    ("owner", "GET", "/instances?created_after=1e300", None, 400, "created_after: Ensure this value"),
    ("owner", "GET", "/instances?limit=10001", None, 400, "limit: Ensure this value"),
    ("owner", "GET", "/instances?limit=0", None, 400, "limit: Ensure this value"),
    ("owner", "GET", "/instances?cpus=1", None, 400, "cpus: unknown parameter"),
    ("owner", "GET", "/networks/NETWORK/addresses?type=none", None, 400, "type: "),
    ("owner", "GET", "/no/such/address", None, 404, "there is nothing at this address"),
    ("owner", "PATCH", "/instances", {}, 405, 'Method "PATCH" not allowed.'),
]


def all_rows() -> dict[str, list[Any]]:
    """The content of every table of ours."""
    return {
        model.__name__: list(model.objects.order_by("pk").values_list())
        for model in apps.get_app_config("sfweb").get_models()
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]} {row[2]} {row[5] or row[3]}"[:90])
def test_iv_1_ar_17_bad_input_is_refused_with_a_typed_error_and_changes_nothing(row: Row, world: World):
    who, method, path, body, status, error = row
    names = {
        "INSTANCE": world.instance,
        "INTERFACE": world.interface,
        "NETWORK": world.network,
        "UPLOAD": world.upload,
        "BLOB": world.blob,
        "ARTIFACT": world.artifact,
        "OPERATION": world.operation,
    }

    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: known(member) for key, member in value.items()}
        if isinstance(value, list):
            return [known(member) for member in value]
        return str(names[value].uuid) if isinstance(value, str) and value in names else value

    before = all_rows()
    answer = world.person(who).ask(method, re.sub("[A-Z]{4,}", lambda found: known(found[0]), path), known(body))
    assert answer.status_code == status, answer.content
    told = answer.json()
    assert told["status"] == status
    assert set(told) == {"error", "status", "code", "details", "request_id"}
    assert error in str(told["error"])
    assert answer["X-Request-ID"] == told["request_id"]
    assert all_rows() == before


@pytest.mark.parametrize("text", ["not base64!", "YQ=", "YQ", "Ym\n9v*", "\u00e9\u00e9\u00e9\u00e9"])
def test_ar_18_user_data_that_is_no_base64_is_said_to_be_so(text: str, world: World):
    answer = world.person("owner").post("/instances", instance(user_data=text))
    assert (answer.status_code, answer.json()["error"]) == (400, "user_data: must be base64")
    assert Instance.objects.count() == 1


def test_iv_1_the_table_is_long_enough():
    assert len(ROWS) >= 60
