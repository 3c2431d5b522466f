"""`sf-client node cordon|uncordon|drain|clear-error|remove …`, beside the client's own node commands."""

import click

from steadyfist_client.asking import add_verb, answer_and_follow, ask, show


@click.command(name="drain", help="Cordon a node and move its instances away")
@click.argument("node")
@click.option("--cold/--live", default=False, help="shut down for it what cannot move while it runs")
@click.option("--wait/--no-wait", default=True, show_default=True)
@click.pass_context
def drain(ctx: click.Context, node: str, cold: bool, wait: bool) -> None:
    answer_and_follow(ctx, wait, "nodes", node, "drain", body={"cold": cold})


@click.command(name="remove", help="Delete a node and everything that is on it")
@click.argument("node")
@click.confirmation_option(prompt="Every instance on the node will be deleted. Go on?")
@click.pass_context
def remove(ctx: click.Context, node: str) -> None:
    show(ctx, ask(ctx, "DELETE", "nodes", node, cascade="true"))


def add_to(group: click.Group) -> None:
    add_verb(group, "nodes", "node", "cordon", "Place nothing new on a node")
    add_verb(group, "nodes", "node", "uncordon", "Place on a node again")
    add_verb(group, "nodes", "node", "clear-error", "Say that a node's storage has been mended")
    group.add_command(drain)
    group.add_command(remove)
