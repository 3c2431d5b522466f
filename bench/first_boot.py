"""P19: from POST /instances to a running domain, against a script that does the same by hand in the same node.

    .venv/bin/python -m bench.first_boot [--rounds 5]          as root; makes a lab of one node and removes it

By hand: an overlay, a bridge and a VXLAN by one `ip -batch`, `virsh create` of the document that ours made, with other
names. Both end when libvirt's own file says that the domain runs. The guest of each round is gone before the next.
"""

import argparse
import re
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import requests

from bench import figures
from lab import control, credentials, first_boot, node
from nodeagent.drivers.domain_xml import domain_name
from tests.e2e.cloud import Cloud

INSTANCES = "/var/lib/steadyfist/instances"
BY_HAND = """set -e
install -d -o steadyfist -g steadyfist {home}
qemu-img create -q -f qcow2 -b {blob} -F qcow2 {home}/vda.qcow2 1G
cp {config_drive} {home}/config.iso
chown steadyfist:steadyfist {home}/*
ip -batch - <<END
link add {bridge} type bridge
link add {tunnel} type vxlan id {vni} dev eth0 dstport 4789
link set {tunnel} master {bridge} up
link set {bridge} up
END
cat > {home}/domain.xml <<'END'
{document}
END
virsh --quiet create {home}/domain.xml
"""
ON_THE_NODE = """from django.db.models import Q
from sfweb.models import Step
mine = Q(operation="{operation}") | Q(operation__dependents__operation="{operation}")
print(sum(step.outcome["result"]["seconds"] for step in Step.objects.filter(mine)))
"""
AWAY = "virsh --quiet destroy {name}; ip link delete {bridge}; ip link delete {tunnel}; rm -r {home}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cloud = Cloud(nodes=1)
    try:
        done = cloud.make("run")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        Race(cloud).run(options.rounds)
    finally:
        cloud.close()


class Race:
    """Both sides in one node of one lab."""

    def __init__(self, cloud: Cloud) -> None:
        self.lab = cloud.lab
        self.tree = node.tree(self.lab.node(1))
        self.http = requests.Session()
        self.http.trust_env = False
        login = {"namespace": "system", "key": credentials.read(self.lab)[credentials.SYSTEM_KEY]}
        self.http.headers["Authorization"] = f"Bearer {self.call('POST', '/auth', login)['access_token']}"
        first = next(row for row in self.call("GET", "/instances") if row["name"] == first_boot.INSTANCE)
        self.network = self.call("GET", f"/instances/{first['uuid']}/interfaces")[0]["network_uuid"]
        self.document = self.inside(f"virsh dumpxml --inactive {domain_name(first['uuid'])}")
        self.drive = "/var/tmp/config.iso"
        self.inside(f"cp {INSTANCES}/{first['uuid']}/config.iso {self.drive}")
        self.remove(first["uuid"])

    def run(self, rounds: int) -> None:
        ours, by_hand, shares = [], [], []
        for number in range(rounds + 1):
            took_by_hand = self.by_hand(number)
            took, share = self.ours(number)
            if number:  # the first warms caches up
                ours.append(took)
                by_hand.append(took_by_hand)
                shares.append(share)
        figures.say(
            what="P19",
            rounds=rounds,
            ours_ms=figures.spread([1000 * took for took in ours], 0),
            by_hand_ms=figures.spread([1000 * took for took in by_hand], 0),
            ratio=figures.ratios(ours, by_hand),
            control_plane_ms=figures.spread([1000 * took for took in shares], 0),
            goal="ratio <= 1.25, control plane <= 300 ms p50",
        )

    def ours(self, number: int) -> tuple[float, float]:
        """(seconds to the running domain, seconds that the control plane and the ways to and from it took)."""
        wanted = {
            "name": f"ours{number}",
            "cpus": 1,
            "memory": 128,
            "network": [{"network_uuid": self.network}],
            "disk": [{"size": 1, "base": f"sf://upload/system/{first_boot.IMAGE}"}],
        }
        asked, begin = time.time(), time.perf_counter()
        made = self.call("POST", "/instances", wanted)
        self.wait_for_domain(domain_name(made["uuid"]))
        took = time.perf_counter() - begin
        while self.call("GET", f"/instances/{made['uuid']}")["state"] != "created":
            time.sleep(0.05)
        share = self.share(made["uuid"], asked)
        self.remove(made["uuid"])
        return took, share

    def share(self, instance: str, begin: float) -> float:
        """Seconds from the request to the operation's end that were not spent in actions on the node."""
        row = self.call("GET", f"/operations?target_type=instance&target_uuid={instance}")[0]
        printed = control.manage(self.lab, "shell", "--no-imports", "-c", ON_THE_NODE.format(operation=row["uuid"]))
        return float(row["finished_at"]) - begin - float(printed)

    def by_hand(self, number: int) -> float:
        name = f"hand{number}"
        names = {
            "name": name,
            "home": f"{INSTANCES}/{name}",
            "bridge": f"br-hand{number}",
            "tunnel": f"vx-hand{number}",
            "vni": str(100 + number),
            "config_drive": self.drive,
        }
        document = self.other_document(names)
        blob = re.search(r"file=\"([^\"]*/blobs/[^\"]*)\"", document)
        assert blob is not None
        script = BY_HAND.format(document=document, blob=blob[1], **names)
        begin = time.perf_counter()
        self.inside(script)
        self.wait_for_domain(name)
        took = time.perf_counter() - begin
        self.inside(AWAY.format(**names))
        return took

    def other_document(self, names: Mapping[str, str]) -> str:
        """Our document with another name, other files, another bridge."""
        text = re.sub(rf"{INSTANCES}/[0-9a-f-]+", names["home"], self.document)
        root = ElementTree.fromstring(text)
        for tag, value in (("name", names["name"]), ("uuid", str(uuid.uuid4()))):
            found = root.find(tag)
            assert found is not None
            found.text = value
        card = root.find("devices/interface")
        assert card is not None
        for tag, attribute, value in (("source", "bridge", names["bridge"]), ("target", "dev", "tap-hand")):
            card.find(tag).set(attribute, value)  # type: ignore[union-attr]
        for channel in root.findall("devices/channel/source"):
            del channel.attrib["path"]
        return ElementTree.tostring(root, encoding="unicode")

    def wait_for_domain(self, name: str) -> None:
        status = Path(f"/proc/{self.tree.pid}/root/run/libvirt/qemu/{name}.xml")
        end = time.monotonic() + 60
        while not (status.exists() and b"state='running'" in status.read_bytes()):
            assert time.monotonic() < end, f"{name} does not run"
            time.sleep(0.002)

    def remove(self, instance: str) -> None:
        self.call("DELETE", f"/instances/{instance}")
        end = time.monotonic() + 60
        while any(row["uuid"] == instance for row in self.call("GET", "/instances")):
            assert time.monotonic() < end, f"{instance} is still there"
            time.sleep(0.1)
        time.sleep(0.5)

    def inside(self, script: str) -> str:
        """What the script prints in the node; it must succeed."""
        command = self.tree.enter(["sh", "-c", script])
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, f"{self.lab.api_url}{path}", json=body, timeout=30)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()


if __name__ == "__main__":
    main()
