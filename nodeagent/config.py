"""The node's own configuration: one TOML file written by the operator, one identity file written by enrolment.

The configuration has no secret; the identity (mode 0600, the agent's user) has the node's secret and signing key and lies
beside the journal, so that a lost journal does not lose it (SE-15).
"""

import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from nodeagent.wire import load


@dataclass(frozen=True, kw_only=True)
class Share:
    """What of the host the cloud may use. Memory in MiB, disk in GiB; 0 means all that is there less a reserve."""

    cpus: int = 0
    memory_mb: int = 0
    disk_gb: int = 0


@dataclass(frozen=True, kw_only=True)
class Reserve:
    """What is left to the host's own programs where its share is not named, and never more than half of anything (SC-8).

    CPU threads, memory in MiB, disk in GiB.
    """

    cpus: int = 2
    memory_mb: int = 2048
    disk_gb: int = 20


@dataclass(frozen=True, kw_only=True)
class Config:
    """state_dir  journal, identity, blobs, instances (must be one file system)
    run_dir       sockets and resolvers of the privileged process, which owns it, and `agent/`, the agent's own part
    mesh_device   the underlay device that carries VXLAN; its MTU less 50 is every network's MTU
    egress_bridge the bridge to the outside that a carrier's routers join; empty: this node carries nothing with NAT
    fetch_proxy   HTTP proxy for image downloads, empty for none; fetch_allow: private ranges that images may come from
    migration_uri libvirt of another node as this one reaches it, `{address}` being its mesh address; anything but TLS needs
                  a libvirt that listens without, and none should outside a lab
    pki           where this node's certificates for that are
    time_scale    factor on every period, for tests
    """

    name: str
    mesh_address: str
    mesh_device: str = "eth0"
    state_dir: str = "/var/lib/steadyfist"
    run_dir: str = "/run/steadyfist"
    egress_bridge: str = ""
    user: str = "steadyfist"
    libvirt_uri: str = "qemu:///system"
    byte_port: int = 13004
    acceleration: str = ""
    fetch_proxy: str = ""
    fetch_allow: tuple[str, ...] = ()
    migration_uri: str = "qemu+tls://{address}/system"
    pki: str = "/etc/pki"
    time_scale: float = 1.0
    share: Share = field(default_factory=Share)
    reserve: Reserve = field(default_factory=Reserve)

    @property
    def state(self) -> Path:
        return Path(self.state_dir)

    @property
    def run(self) -> Path:
        return Path(self.run_dir)

    @property
    def agent_run(self) -> Path:
        """Sockets and lock files of the agent's own user, made by the privileged process, which starts first."""
        return self.run / "agent"

    @property
    def helper_socket(self) -> Path:
        return self.run / "nethelper.sock"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who the node is to the control plane; `control` are base URLs of its internal listeners."""

    node: str
    name: str
    secret: str
    signing_key: str
    broker_url: str
    control: tuple[str, ...]


def read_config(path: str | Path) -> Config:
    """Parse and check the TOML file. Raises wire.Malformed naming the field, or OSError."""
    return load(Config, tomllib.loads(Path(path).read_text()))


def identity_path(config: Config) -> Path:
    return config.state / "identity.json"


def read_identity(config: Config) -> Identity:
    return load(Identity, json.loads(identity_path(config).read_text()))


def write_identity(config: Config, document: dict[str, object]) -> Identity:
    """Store what enrolment answered; visible only once it is whole and on disk."""
    identity = load(Identity, document)
    path = identity_path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return identity
