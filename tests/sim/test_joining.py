"""The line of `enrol_node --join`, pasted on a host that is played by a mount namespace.

apt, pip and systemd are stand-ins that write down what was asked of them; the rest of the script is the real thing, up to
the node's identity, with which it then reports.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.plane import Plane, Size

QEMU_CONF = Path("/etc/libvirt/qemu.conf")


def _has_user() -> bool:
    try:
        return bool(pwd.getpwnam("steadyfist"))
    except KeyError:
        return False


pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("unshare") is None or not QEMU_CONF.exists() or not _has_user(),
        reason="needs root, unshare, libvirt and the agent's user, as a machine has on which the lab has run",
    ),
]
HOST = """
set -e
mount -t tmpfs tmpfs /opt/steadyfist; mount -t tmpfs tmpfs /etc/steadyfist; mount -t tmpfs tmpfs /var/lib/steadyfist
mount -t tmpfs tmpfs /etc/systemd/system
mkdir -p /opt/steadyfist/venv/bin
ln -s {stands_in} /opt/steadyfist/venv/bin/pip
printf '#!/bin/sh\\nexec {python} "$@"\\n' > /opt/steadyfist/venv/bin/python
chmod +x /opt/steadyfist/venv/bin/python
cp {qemu} {qemu}.copy; mount --bind {qemu}.copy {qemu_conf}
export PATH={stubs}:$PATH
{line}
cat /var/lib/steadyfist/identity.json > {out}/identity.json
stat -c '%U %a' /var/lib/steadyfist/identity.json > {out}/owner
cp /etc/steadyfist/agent.toml {qemu_conf} {out}/
ls /etc/systemd/system > {out}/units
"""
PLACES = ("/opt/steadyfist", "/etc/steadyfist", "/var/lib/steadyfist", "/etc/systemd/system")


@pytest.fixture
def plane():
    made = Plane(Size(nodes=0))
    try:
        yield made.start()
    finally:
        made.close()


def test_a_pasted_line_makes_a_node(plane: Plane, tmp_path: Path):
    stubs, out = tmp_path / "stubs", tmp_path / "out"
    for folder in (stubs, out):
        folder.mkdir()
    for name in ("apt-get", "systemctl", "usermod", "pip"):
        (stubs / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {out}/asked\n')
        (stubs / name).chmod(0o755)
    qemu = tmp_path / "qemu.conf"
    qemu.write_text("# as the distribution has it\n")
    line = plane.manage("enrol_node", "joined", "--join").strip()
    there = [place for place in PLACES if not Path(place).exists()]
    for place in there:
        Path(place).mkdir(parents=True)
    try:
        script = HOST.format(
            stands_in=stubs / "pip",
            python=sys.executable,
            qemu=qemu,
            qemu_conf=QEMU_CONF,
            stubs=stubs,
            line=line,
            out=out,
        )
        done = subprocess.run(["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, check=False)
    finally:
        for place in there:
            Path(place).rmdir()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("joined has joined")
    identity = json.loads((out / "identity.json").read_text())
    assert identity["name"] == "joined"
    assert (out / "owner").read_text().split() == ["steadyfist", "600"]
    assert 'name = "joined"\nmesh_address = "127.0.0.1"\nmesh_device = "lo"\n' in (out / "agent.toml").read_text()
    assert 'user = "steadyfist"' in (out / "qemu.conf").read_text()
    asked = (out / "asked").read_text()
    assert "dnsmasq-base" in asked and "requirements/agent.txt" in asked
    assert asked.rstrip().endswith(
        "systemctl restart steadyfist-nethelper.service steadyfist-agent@report.service steadyfist-agent@work.service"
        " steadyfist-agent@work-bulk.service steadyfist-agent@serve.service"
    )
    assert (out / "units").read_text().split() == ["steadyfist-agent@.service", "steadyfist-nethelper.service"]
