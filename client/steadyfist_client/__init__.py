"""Steadyfist's own verbs in the unmodified `sf-client`: a plug-in, found by its entry point when it is installed.

    operation   list, show, why, cancel, wait
    node        cordon, uncordon, drain, clear-error
    instance    migrate, rebuild, batch
    schedule    list, show, create, pause, resume, trigger, ticks, snapshots, delete
    claim       list, create, delete

Each prints what the server answers in the three ways of the client: a table, `name:value` lines, or JSON.
"""

import click

from steadyfist_client import claims, instances, nodes, operations, schedules


def add_to(cli: click.Group) -> None:
    """Called by the client with its top group."""
    cli.add_command(operations.operation)
    cli.add_command(schedules.schedule)
    cli.add_command(claims.claim)
    nodes.add_to(cli.commands["node"])  # type: ignore[arg-type]
    instances.add_to(cli.commands["instance"])  # type: ignore[arg-type]
