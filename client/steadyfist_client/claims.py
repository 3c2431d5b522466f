"""`sf-client claim …`: room that is kept for a namespace, and the most that it takes."""

import click

from steadyfist_client.asking import ask, show

COLUMNS = ("uuid", "namespace", "coverage_state", "limit", "used", "expires_at")


@click.group(help="Claim commands: room kept for a namespace, for administrators")
def claim() -> None:
    pass


@claim.command(name="list", help="List the claims of a namespace")
@click.argument("namespace")
@click.pass_context
def claim_list(ctx: click.Context, namespace: str) -> None:
    show(ctx, ask(ctx, "GET", "auth", "namespaces", namespace, "claims"), COLUMNS)


@claim.command(name="create", help="Keep room for a namespace")
@click.argument("namespace")
@click.option("--cpus", type=click.IntRange(min=0), required=True)
@click.option("--memory", type=click.IntRange(min=0), required=True, help="MiB")
@click.option("--disk", type=click.IntRange(min=0), required=True, help="GiB")
@click.option("--expires-in", type=click.IntRange(min=1), help="seconds")
@click.pass_context
def claim_create(ctx: click.Context, namespace: str, cpus: int, memory: int, disk: int, expires_in: int | None) -> None:
    body = {"cpus": cpus, "memory": memory, "disk": disk}
    if expires_in is not None:
        body["expires_in"] = expires_in
    show(ctx, ask(ctx, "POST", "auth", "namespaces", namespace, "claims", body=body))


@claim.command(name="delete", help="Give the room free")
@click.argument("namespace")
@click.argument("uuid")
@click.pass_context
def claim_delete(ctx: click.Context, namespace: str, uuid: str) -> None:
    show(ctx, ask(ctx, "DELETE", "auth", "namespaces", namespace, "claims", uuid))
