"""Marks nodes that have fallen silent as missing (EN-12). Their return is noticed by their own report."""

from sfweb.domain import node_life


def run() -> dict[str, int]:
    return {"missing": len(node_life.mark_missing())}
