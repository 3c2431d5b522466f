"""Liveness, readiness, and the page of checks for operators."""

from sfweb.health.probes import answer_livez, answer_readyz

__all__ = ["answer_livez", "answer_readyz"]
