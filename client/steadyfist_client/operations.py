"""`sf-client operation …`"""

import click

from steadyfist_client.asking import add_verb, ask, follow, show

COLUMNS = ("uuid", "kind", "state", "progress", "requested_by", "error")


@click.group(help="Operation commands")
def operation() -> None:
    pass


@operation.command(name="list", help="List operations, newest first")
@click.option("--state", help="waiting, running, unwinding, succeeded, failed or cancelled")
@click.option("--kind")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.pass_context
def operation_list(ctx: click.Context, state: str | None, kind: str | None, limit: int) -> None:
    show(ctx, ask(ctx, "GET", "operations", state=state, kind=kind, limit=limit), COLUMNS)


@operation.command(name="show", help="Show an operation with its steps")
@click.argument("uuid")
@click.pass_context
def operation_show(ctx: click.Context, uuid: str) -> None:
    show(ctx, ask(ctx, "GET", "operations", uuid))


@operation.command(name="why", help="Say what an operation waits for")
@click.argument("uuid")
@click.pass_context
def operation_why(ctx: click.Context, uuid: str) -> None:
    why = ask(ctx, "GET", "operations", uuid, "why")
    if ctx.obj["OUTPUT"] == "pretty":
        indent = ""
        while why:
            print(f"{indent}{why['sentence']}")
            why, indent = why.get("next"), f"{indent}  "
        return
    show(ctx, why)


add_verb(operation, "operations", "uuid", "cancel", "Ask an operation to stop")


@operation.command(name="wait", help="Wait until an operation has ended, telling what it waits for")
@click.argument("uuid")
@click.pass_context
def operation_wait(ctx: click.Context, uuid: str) -> None:
    follow(ctx, uuid)
