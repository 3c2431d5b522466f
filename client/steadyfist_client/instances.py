"""`sf-client instance migrate|rebuild|batch|diagnose …`, beside the client's own instance commands."""

import json
from typing import Any, TextIO

import click

from steadyfist_client.asking import answer_and_follow, ask, show

COLUMNS = ("uuid", "name", "namespace", "cpus", "memory", "node", "state")


@click.command(name="migrate", help="Move an instance to another node")
@click.argument("instance")
@click.option("--placed-on", help="a node; else the best")
@click.option("--live/--cold", "live", default=None, help="only while it runs; shut down for it. Without: as it is")
@click.option("--wait/--no-wait", default=True, show_default=True)
@click.pass_context
def migrate(ctx: click.Context, instance: str, placed_on: str | None, live: bool | None, wait: bool) -> None:
    answer_and_follow(ctx, wait, "instances", instance, "migrate", body={"placed_on": placed_on, "live": live})


@click.command(name="rebuild", help="Make an instance of a dead node again on another, from its newest snapshot")
@click.argument("instance")
@click.option("--placed-on", help="a node; else the best")
@click.option("--blank/--snapshot", default=False, help="with its disks as they were first made")
@click.option("--wait/--no-wait", default=True, show_default=True)
@click.pass_context
def rebuild(ctx: click.Context, instance: str, placed_on: str | None, blank: bool, wait: bool) -> None:
    answer_and_follow(ctx, wait, "instances", instance, "rebuild", body={"placed_on": placed_on, "blank": blank})


def _specs(file: TextIO) -> Any:
    try:
        return json.load(file)
    except ValueError as error:
        raise click.BadParameter(f"{file.name} is not JSON: {error}") from None


@click.command(name="batch", help="Create all instances of a JSON list of specifications, or none")
@click.argument("file", type=click.File())
@click.pass_context
def batch(ctx: click.Context, file: TextIO) -> None:
    show(ctx, ask(ctx, "POST", "instances", "batch", body={"instances": _specs(file)}), COLUMNS)


@click.command(name="diagnose", help="Say where an instance of this JSON specification would go, and change nothing")
@click.argument("file", type=click.File())
@click.pass_context
def diagnose(ctx: click.Context, file: TextIO) -> None:
    show(ctx, ask(ctx, "POST", "instances", body={**_specs(file), "diagnose": True}))


def add_to(group: click.Group) -> None:
    for command in (migrate, rebuild, batch, diagnose):
        group.add_command(command)
