"""What the first process of a tree mounts for itself and its children; nobody outside the tree sees it."""

import subprocess
import sys
from pathlib import Path

from lab.layout import CODE, PYTHON, REPOSITORY


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def bind(source: Path, place: Path) -> None:
    mount("--bind", str(source), str(place))


def mount_processes() -> None:
    """The tree's own /proc. After this the machine's process numbers are not to be seen any more."""
    mount("-t", "proc", "proc", "/proc")


def mount_code() -> None:
    """The code and its Python at the same place in every tree, for users who could not enter the run directory's path."""
    temporary("/opt", "1m")
    environment = PYTHON.parent.parent
    for source, place in ((REPOSITORY, CODE), (Path(sys.prefix), environment)):
        place.mkdir()
        bind(source, place)


def temporary(place: str, size: str) -> None:
    mount("-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", place)
