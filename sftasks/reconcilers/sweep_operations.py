"""Advances what a dead process left half done (EN-6). Every ten seconds."""

from sftasks import sweep


def run() -> dict[str, int]:
    return sweep.sweep()
