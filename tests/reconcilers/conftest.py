"""Reconcilers are tested on the same small clusters as operations."""

from tests.operations.conftest import caller, guest, make_cluster, make_guest, make_served, served

__all__ = ["caller", "guest", "make_cluster", "make_guest", "make_served", "served"]
