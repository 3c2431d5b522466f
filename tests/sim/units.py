#!/usr/bin/python3
"""`systemctl` where no systemd runs: `restart` starts the ExecStart of units, as the user and with the environment that they
say, and again when it has ended.

Runs on the system's Python of a fresh host. Of everything else that it is asked nothing is done.
"""

import shlex
import subprocess
import sys
from pathlib import Path

FOLDERS = ("/etc/systemd/system", "/lib/systemd/system")
PLAIN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def start(unit: str) -> None:
    name, _, instance = unit.removesuffix(".service").partition("@")
    file = f"{name}@.service" if instance else unit
    text = next(path for folder in FOLDERS if (path := Path(folder, file)).exists()).read_text()
    pairs = [line.partition("=")[::2] for line in text.replace("%i", instance).splitlines()]
    said = dict(pairs)
    variables = [word for key, value in pairs if key == "Environment" for word in shlex.split(value)]
    command = [word for word in shlex.split(said["ExecStart"]) if not word.startswith("$")]
    if said.get("Restart") == "always":
        command = ["/bin/sh", "-c", f'while :; do "$@"; sleep {said["RestartSec"]}; done', "sh", *command]
    owner = {}
    if "User" in said:
        groups = said.get("SupplementaryGroups", "").split()
        owner = {"user": said["User"], "group": said["User"], "extra_groups": groups}
    with Path("/var/log", f"{unit}.log").open("ab") as log:
        subprocess.Popen(
            command,
            env=PLAIN | dict(word.split("=", 1) for word in variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            **owner,
        )


if __name__ == "__main__":
    if sys.argv[1] == "restart":
        for each in sys.argv[2:]:
            start(each)
