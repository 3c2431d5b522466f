"""The variables of a guest's UEFI firmware: a file of its own, which begins as the installed firmware's or as a blob."""

import shutil
from pathlib import Path

from nodeagent.drivers.layout import appearing
from nodeagent.host import Refused, Retry

LARGEST = 2**20
"""Twice what the firmware of Debian has for them."""


def prepare(target: Path, template: Path, token: str) -> None:
    """Make the file out of the template where there is none yet; then it is the guest's, whatever happens to the blob."""
    if target.exists():
        return
    try:
        size = template.stat().st_size
    except FileNotFoundError as error:
        raise Retry("blob.missing", "the template of the firmware's variables is not on this node") from error
    if size > LARGEST:
        raise Refused("instance.unsupported", f"nvram_template has {size} bytes: no firmware has so many variables")
    with appearing(target, token) as temporary:
        shutil.copyfile(template, temporary)
        temporary.chmod(0o600)
