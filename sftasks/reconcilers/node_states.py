"""Marks nodes that have fallen silent as missing (EN-12). Their return is noticed by their own report."""

import time

from django.conf import settings

from sfweb.domain import node_life

LISTEN_SECONDS = 10.0
"""Agents that were not answered try again every two."""


def run() -> dict[str, int]:
    return {"missing": len(node_life.mark_missing(_listen))}


def _listen() -> None:
    time.sleep(LISTEN_SECONDS * settings.TIME_SCALE)
