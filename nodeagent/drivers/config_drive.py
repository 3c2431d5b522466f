"""The config drive that a guest reads at its first boot: an ISO file system labelled config-2, in OpenStack's layout.

`network_data` says what cloud-init's converter insists on: every link has id, type and MAC, every network names its link,
and name servers stand at the top level, where static and DHCP networks both get them (DN-5, DN-7).
"""

import base64
import ipaddress
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nodeagent.drivers import command
from nodeagent.drivers.layout import appearing
from nodeagent.specs import ConfigDrive, InstanceSpec, InterfaceSpec

ISO_SECONDS = 30.0


def write(target: Path, token: str, spec: InstanceSpec, drive: ConfigDrive, mtus: Sequence[int]) -> None:
    """`mtus` are those of the interfaces' networks, in their order. The file appears whole or not at all (EN-15)."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".tree.{token}.") as folder:
        latest = Path(folder) / "openstack" / "latest"
        latest.mkdir(parents=True)
        for name, text in documents(spec, drive, mtus).items():
            (latest / name).write_text(text)
        with appearing(target, token) as temporary:
            command.run(
                [
                    "genisoimage",
                    "-quiet",
                    "-rational-rock",
                    "-joliet",
                    "-volid",
                    "config-2",
                    "-o",
                    str(temporary),
                    folder,
                ],
                timeout=ISO_SECONDS,
            )
            temporary.chmod(0o600)


def documents(spec: InstanceSpec, drive: ConfigDrive, mtus: Sequence[int]) -> dict[str, str]:
    """{file name: content} of `openstack/latest`; user_data is there only when the instance has some."""
    texts = {
        "meta_data.json": json.dumps(_meta_data(spec, drive)),
        "network_data.json": json.dumps(network_data(spec.interfaces, mtus)),
        "vendor_data.json": "{}",
    }
    if drive.user_data is not None:
        texts["user_data"] = drive.user_data
    return texts


def _meta_data(spec: InstanceSpec, drive: ConfigDrive) -> dict[str, Any]:
    document: dict[str, Any] = {
        "uuid": spec.instance,
        "name": spec.name,
        "hostname": drive.hostname,
        "launch_index": 0,
        "availability_zone": spec.namespace,
        "meta": {key: str(value) for key, value in drive.metadata.items()},
        "random_seed": base64.b64encode(os.urandom(512)).decode(),
    }
    if drive.ssh_key:
        document["public_keys"] = {"key": drive.ssh_key}
        document["keys"] = [{"type": "ssh", "name": "key", "data": drive.ssh_key}]
    return document


def network_data(interfaces: Sequence[InterfaceSpec], mtus: Sequence[int]) -> dict[str, Any]:
    """The document, in the order of the interfaces; one that has no address gets no network, and so the guest none."""
    addressed = [order for order, interface in enumerate(interfaces) if interface.address is not None]
    servers = dict.fromkeys(server for interface in interfaces for server in interface.nameservers)
    return {
        "links": [
            {"id": f"eth{order}", "type": "vif", "ethernet_mac_address": interface.mac, "mtu": mtu}
            for order, (interface, mtu) in enumerate(zip(interfaces, mtus, strict=True))
        ],
        "networks": [_network(order, interfaces[order], is_first=order == addressed[0]) for order in addressed],
        "services": [{"type": "dns", "address": server} for server in servers],
    }


def _network(order: int, interface: InterfaceSpec, *, is_first: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"id": f"network{order}", "link": f"eth{order}", "network_id": interface.network}
    if interface.dhcp:
        return {**document, "type": "ipv4_dhcp"}
    document |= {
        "type": "ipv4",
        "ip_address": interface.address,
        "netmask": str(ipaddress.IPv4Network(interface.netblock).netmask),
        "routes": [],
    }
    # One default route only; a second one would take the first one's traffic.
    if is_first and interface.gateway:
        document["routes"] = [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": interface.gateway}]
    return document
