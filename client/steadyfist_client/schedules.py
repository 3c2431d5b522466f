"""`sf-client schedule …`"""

from typing import Any

import click

from steadyfist_client.asking import add_verb, ask, show

COLUMNS = ("uuid", "name", "instance_name", "kind", "state", "last_state", "consecutive_failures")
TICKS = ("uuid", "due", "state", "reason", "operation")
SNAPSHOTS = ("uuid", "instance_name", "state", "created_at")
PATH = "recurring_operations"


@click.group(help="Schedule commands: snapshots and commands again and again")
def schedule() -> None:
    pass


@schedule.command(name="list", help="List schedules")
@click.option("--instance")
@click.pass_context
def schedule_list(ctx: click.Context, instance: str | None) -> None:
    show(ctx, ask(ctx, "GET", PATH, instance=instance), COLUMNS)


@schedule.command(name="show", help="Show a schedule and its next times")
@click.argument("uuid")
@click.pass_context
def schedule_show(ctx: click.Context, uuid: str) -> None:
    show(ctx, ask(ctx, "GET", PATH, uuid))


@schedule.command(name="create", help="Snapshot an instance, or run a command in it, every so often")
@click.argument("name")
@click.argument("instance")
@click.option("--every", type=click.IntRange(min=60), help="seconds")
@click.option("--cron", help="five fields, such as '0 3 * * *'")
@click.option("--timezone", help="of --cron, such as Europe/Berlin; UTC unless said")
@click.option("--keep", type=click.IntRange(min=1), help="so many of its own snapshots are kept of each disk")
@click.option("--all/--first", "everything", default=False, help="all disks, or the first")
@click.option("--execute", help="a command instead of a snapshot")
@click.option("--overlap", type=click.Choice(["skip", "queue", "replace"]), help="when the one before still runs")
@click.pass_context
def schedule_create(ctx: click.Context, name: str, instance: str, **more: Any) -> None:
    kind = "execute" if more["execute"] else "snapshot"
    arguments = {"command_line": more["execute"]} if more["execute"] else {"all": more["everything"]}
    if more["keep"] and not more["execute"]:
        arguments["max_versions"] = more["keep"]
    body = {
        "name": name,
        "instance": instance,
        "kind": kind,
        "arguments": arguments,
        "every_seconds": more["every"],
        "cron": more["cron"],
        "timezone": more["timezone"],
        "overlap": more["overlap"],
    }
    show(ctx, ask(ctx, "POST", PATH, body={name: value for name, value in body.items() if value is not None}))


add_verb(schedule, PATH, "uuid", "pause", "Let a schedule rest")
add_verb(schedule, PATH, "uuid", "resume", "Let a schedule go on, and forget its failures")
add_verb(schedule, PATH, "uuid", "trigger", "Do now what a schedule does at its times")


@schedule.command(name="ticks", help="List what became of a schedule's times, newest first")
@click.argument("uuid")
@click.pass_context
def schedule_ticks(ctx: click.Context, uuid: str) -> None:
    show(ctx, ask(ctx, "GET", PATH, uuid, "ticks"), TICKS)


@schedule.command(name="snapshots", help="List the snapshots that a schedule made and that are kept")
@click.argument("uuid")
@click.pass_context
def schedule_snapshots(ctx: click.Context, uuid: str) -> None:
    show(ctx, ask(ctx, "GET", "snapshots", recurring_operation=uuid), SNAPSHOTS)


@schedule.command(name="delete", help="Delete a schedule; what it made stays")
@click.argument("uuid")
@click.pass_context
def schedule_delete(ctx: click.Context, uuid: str) -> None:
    show(ctx, ask(ctx, "DELETE", PATH, uuid))
