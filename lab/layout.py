"""Where everything of one lab lies, what it is called, and which addresses it has.

Names carry digits of the run directory, so that two labs live side by side; sockets lie below a short path, because the
kernel takes no longer one than 107 bytes. Both networks are from 198.18.0.0/15, which is set aside for tests.
"""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
USER = "steadyfist"
MTU = 1600
UNDERLAY = "198.18.0.0/24"
OUTSIDE = "198.19.0.0/24"
CONTROL_ADDRESS = "198.18.0.1"
OUTSIDE_ADDRESS = "198.19.0.1"
FIRST_NODE = 10
API_PORT, INTERNAL_PORT, CONSOLE_PORT, FLOWER_PORT, PROXY_PORT = 13000, 13001, 13002, 5555, 13008
DATABASE_PORT, BROKER_PORT = 3306, 6379
CONSOLE_OFFSET, FLOWER_OFFSET = 2, 5
EGRESS_BRIDGE = "br-outside"
# Where a node finds them, whatever the paths on the machine are.
CODE, PYTHON = Path("/opt/steadyfist"), Path("/opt/venv/bin/python")
STATE, CONFIG = Path("/var/lib/steadyfist"), Path("/etc/steadyfist/agent.toml")


@dataclass(frozen=True)
class Layout:
    """`offline` leaves out the way from the nodes to the machine's own network."""

    run_dir: Path
    api_port: int = 13000
    offline: bool = False
    database_url: str = ""
    broker_url: str = ""
    time_scale: float = 1.0

    @cached_property
    def digits(self) -> str:
        return hashlib.sha256(str(self.run_dir).encode()).hexdigest()[:6]

    @property
    def sockets(self) -> Path:
        return Path(f"/run/sf{self.digits}")

    @property
    def metric(self) -> int:
        """Of this lab's routes, so that another lab's are told from them."""
        return int(self.digits, 16)

    @property
    def underlay(self) -> str:
        return f"sf{self.digits}u"

    @property
    def control(self) -> str:
        return f"sf{self.digits}c"

    @property
    def outside(self) -> str:
        return f"sf{self.digits}o"

    @property
    def namespaces(self) -> tuple[str, ...]:
        return self.underlay, self.control, self.outside

    @property
    def control_dir(self) -> Path:
        return self.run_dir / "control"

    @property
    def cache(self) -> Path:
        """What may be kept between labs: the guest image, and QEMU's features as libvirt found them."""
        return Path(os.environ.get("LAB_CACHE") or self.run_dir / "cache")

    @property
    def rc(self) -> Path:
        return self.run_dir / "sfrc"

    @property
    def ssh_key(self) -> Path:
        return self.run_dir / "ssh_key"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def node(self, number: int) -> "NodeLayout":
        return NodeLayout(self, number)

    def known_nodes(self) -> "list[NodeLayout]":
        """Those that were ever started here."""
        numbers = (int(path.name[1:]) for path in (self.run_dir / "nodes").glob("n[0-9]*"))
        return [self.node(number) for number in sorted(numbers)]

    def environment(self) -> dict[str, str]:
        """What a process needs to find the same lab again with `from_environment`.

        The LAB_ names are there because the lab's own processes have a DATABASE_URL whether or not one was given.
        """
        return {
            "RUN_DIR": str(self.run_dir),
            "API_PORT": str(self.api_port),
            "LAB_OFFLINE": "1" if self.offline else "",
            "LAB_CACHE": str(self.cache),
            "LAB_DATABASE_URL": self.database_url,
            "LAB_BROKER_URL": self.broker_url,
            "TIME_SCALE": str(self.time_scale),
        }


@dataclass(frozen=True)
class NodeLayout:
    lab: Layout
    number: int

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def address(self) -> str:
        return f"198.18.0.{FIRST_NODE + self.number}"

    @property
    def directory(self) -> Path:
        return self.lab.run_dir / "nodes" / self.name

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def identity(self) -> Path:
        return self.state / "identity.json"

    @property
    def enrolment(self) -> Path:
        return self.directory / "enrolment"

    @property
    def log(self) -> Path:
        return self.directory / "log"


def from_environment() -> Layout:
    """The lab that RUN_DIR and the other variables of the Makefile name."""
    given = os.environ
    return Layout(
        run_dir=Path(given.get("RUN_DIR") or REPOSITORY / "var").resolve(),
        api_port=int(given.get("API_PORT") or 13000),
        offline=given.get("LAB_OFFLINE", "") not in ("", "0"),
        database_url=given.get("LAB_DATABASE_URL", given.get("DATABASE_URL", "")),
        broker_url=given.get("LAB_BROKER_URL", given.get("BROKER_URL", "")),
        time_scale=float(given.get("TIME_SCALE") or 1),
    )
