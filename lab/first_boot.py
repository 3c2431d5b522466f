"""The proof that the cluster works: an image, a network and an instance, made with the public client, until the guest answers.

Everything is looked for before it is made, so a second run changes nothing.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

from shakenfist_client import apiclient

from lab import credentials, guest_image, node
from lab.layout import REPOSITORY, Layout
from lab.progress import step, wait_for
from nodeagent.nethelper import names

IMAGE, NETWORK, INSTANCE = "tiny", "first", "first"
NETBLOCK = "10.20.0.0/24"
CREATE_SECONDS, LEASE_SECONDS, PING_SECONDS = 180.0, 180.0, 180.0


class FirstInstanceFailed(RuntimeError):
    """The first instance did not get there; the text is the reason that the cluster gives."""


def client(lab: Layout) -> apiclient.Client:
    return apiclient.Client(
        base_url=lab.api_url,
        namespace="system",
        key=credentials.read(lab)[credentials.SYSTEM_KEY],
        async_strategy=apiclient.ASYNC_CONTINUE,
        suppress_configuration_lookup=True,
    )


def boot(lab: Layout) -> str:
    """Bring the first instance to where it answers; its address."""
    cloud = client(lab)
    _ensure_key(lab)
    with step("guest image"):
        _ensure_image(lab, cloud)
    with step("network"):
        network = _ensure_network(cloud)
    with step("instance"):
        instance = _ensure_instance(lab, cloud, network)
        wait_for("the first instance's creation", CREATE_SECONDS, lambda: _is_created(cloud, instance))
    address = cloud.get_instance_interfaces(instance)[0]["ipv4"]
    with step("lease on its console"):
        wait_for("a lease on the console", LEASE_SECONDS, lambda: _has_lease(cloud, instance, address), 0.5)
    with step(f"ping of {address} from its carrier"):
        wait_for("an answer to a ping", PING_SECONDS, lambda: ping(lab, network, address))
    return str(address)


def ping(lab: Layout, network: dict[str, Any], address: str) -> bool:
    command = from_router(lab, network, ["ping", "-n", "-c", "1", "-W", "2", address])
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def from_router(lab: Layout, network: dict[str, Any], command: list[str]) -> list[str]:
    """`command`, as it is to be started to run in the router namespace of a network's carrier. Raises LookupError."""
    router = names.router(network["uuid"], network["vxlan_id"])
    for each in lab.known_nodes():
        grown = node.tree(each)
        if grown.pid and Path(f"/proc/{grown.pid}/root/run/netns/{router}").exists():
            return grown.enter(["ip", "netns", "exec", router, *command])
    raise LookupError(f"no node carries network {network['name']} yet")


def find_network(cloud: apiclient.Client, name: str = NETWORK) -> dict[str, Any] | None:
    return next((row for row in cloud.get_networks() if row["name"] == name), None)


def _ensure_key(lab: Layout) -> None:
    if not lab.ssh_key.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(lab.ssh_key)]
        subprocess.run(command, check=True)


def _ensure_image(lab: Layout, cloud: apiclient.Client) -> None:
    image = guest_image.build(lab.cache)
    if any(row["name"] == IMAGE and row["state"] == "created" for row in cloud.get_artifacts()):
        return
    command = [str(REPOSITORY / ".venv" / "bin" / "sf-client"), "artifact", "upload", IMAGE, str(image), "--shared"]
    done = subprocess.run(command, env=environment(lab), capture_output=True, text=True, check=False)
    if done.returncode:
        raise FirstInstanceFailed(f"sf-client artifact upload: {done.stdout[-500:]}{done.stderr[-1500:]}")
    wait_for(
        "the image",
        CREATE_SECONDS,
        lambda: any(row["name"] == IMAGE and row["state"] == "created" for row in cloud.get_artifacts()),
    )


def environment(lab: Layout) -> dict[str, str]:
    """What the public client needs to find and open this cluster."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(lab.run_dir),
        "LANG": "C.UTF-8",
        "SHAKENFIST_API_URL": lab.api_url,
        "SHAKENFIST_NAMESPACE": "system",
        "SHAKENFIST_KEY": credentials.read(lab)[credentials.SYSTEM_KEY],
    }


def _ensure_network(cloud: apiclient.Client) -> dict[str, Any]:
    if find_network(cloud) is None:
        cloud.allocate_network(NETBLOCK, provide_dhcp=True, provide_nat=True, name=NETWORK)

    def is_created() -> bool:
        found = find_network(cloud)
        return found is not None and found["state"] == "created"

    wait_for("the network's creation", CREATE_SECONDS, is_created)
    found = find_network(cloud)
    assert found
    return found


def _ensure_instance(lab: Layout, cloud: apiclient.Client, network: dict[str, Any]) -> str:
    for row in cloud.get_instances():
        if row["name"] == INSTANCE and row["state"] not in ("error", "deleted"):
            return str(row["uuid"])
    made = cloud.create_instance(
        INSTANCE,
        1,
        128,
        [{"network_uuid": network["uuid"], "model": "virtio"}],
        [{"size": 1, "base": f"sf://upload/system/{IMAGE}", "bus": "virtio", "type": "disk"}],
        lab.ssh_key.with_suffix(".pub").read_text().strip(),
        None,
    )
    return str(made["uuid"])


def _is_created(cloud: apiclient.Client, instance: str) -> bool:
    row = cloud.get_instance(instance)
    if row["state"].endswith("error"):
        raise FirstInstanceFailed(f"instance {INSTANCE}: {row['error_message']}")
    return bool(row["state"] == "created")


def _has_lease(cloud: apiclient.Client, instance: str, address: str) -> bool:
    console = cloud.get_console_data(instance, length=200000)
    return bool(re.search(rf"GUEST-LEASE .*ip={re.escape(address)}\b", console))
