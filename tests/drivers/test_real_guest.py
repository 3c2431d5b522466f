"""Runs tests/drivers/inside in namespaces of their own (network, mounts, processes): whatever they start ends with them,
and the machine's own libvirt and network are neither seen nor touched.
"""

import subprocess
import sys
from pathlib import Path

import pytest

INSIDE = Path(__file__).parent / "inside"
ROOT = Path(__file__).parents[2]
# The shell is the first process in there and so takes in what is orphaned, as init does.
WAITING = '"$@" & wait $!'


@pytest.mark.real
def test_a_guest_lives_its_life_on_a_private_hypervisor() -> None:
    namespaces = ["unshare", "--net", "--uts", "--mount", "--propagation", "private", "--pid", "--fork"]
    arguments = [*namespaces, "--kill-child", "--mount-proc", "sh", "-c", WAITING, "sh"]
    # Without this repository's pytest settings and outer conftest files, which are about databases and ignore the folder.
    apart = ["-c", "/dev/null", "--rootdir", str(ROOT), "--confcutdir", str(INSIDE), "-p", "no:django"]
    tests = [sys.executable, "-m", "pytest", "-q", "-s", "-x", *apart, "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        [*arguments, *tests, str(INSIDE)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    print(done.stdout[-2000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
