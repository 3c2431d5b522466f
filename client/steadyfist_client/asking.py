"""Asking the server by the client's own session, and printing the answer in the way that was asked for."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import click
from prettytable import PrettyTable

POLL_SECONDS = 1.0
ENDED = ("succeeded", "failed", "cancelled")


def ask(ctx: click.Context, method: str, *path: str, body: Any = None, **query: Any) -> Any:
    """The parsed answer. `path` are the parts of the address; what is None is left out of the query."""
    return _answer(ctx, method, path, body, query).json()


def add_verb(group: click.Group, path: str, argument: str, verb: str, text: str) -> None:
    """A command that asks for `path`/ARGUMENT/`verb` and shows the answer."""

    @group.command(name=verb, help=text)
    @click.argument(argument)
    @click.pass_context
    def command(ctx: click.Context, **given: str) -> None:
        show(ctx, ask(ctx, "POST", path, given[argument], verb))


def answer_and_follow(ctx: click.Context, wait: bool, *path: str, body: dict[str, Any]) -> None:
    """Start what takes time; then wait for its operation, or show what the server answered at once."""
    answer = _answer(ctx, "POST", path, {name: value for name, value in body.items() if value is not None}, {})
    if not wait:
        show(ctx, answer.json())
        return
    follow(ctx, answer.headers["Location"].rpartition("/")[2])


def _answer(ctx: click.Context, method: str, path: Sequence[str], body: Any, query: Mapping[str, Any]) -> Any:
    address = "".join(f"/{quote(part, safe='')}" for part in path)
    wanted = {name: value for name, value in query.items() if value is not None}
    if wanted:
        address += f"?{urlencode(wanted)}"
    return ctx.obj["CLIENT"]._request_url(method, address, data=body)


def show(ctx: click.Context, answer: Any, columns: Sequence[str] = ()) -> None:
    """A list as a table of `columns`, an object as its members."""
    output = ctx.obj["OUTPUT"]
    if output == "json":
        print(json.dumps(answer, indent=4, sort_keys=True))
    elif isinstance(answer, list):
        _show_list(output, answer, columns)
    elif answer is not None:
        form = "%s:%s" if output == "simple" else "%-24s: %s"
        for name, value in answer.items():
            print(form % (name, _text(value)))


def _show_list(output: str, rows: Sequence[Any], columns: Sequence[str]) -> None:
    if output == "simple":
        print(",".join(columns))
        for row in rows:
            print(",".join(_text(row.get(column)) for column in columns))
        return
    table = PrettyTable()
    table.field_names = list(columns)
    for row in rows:
        table.add_row([_text(row.get(column)) for column in columns])
    print(table)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)


def follow(ctx: click.Context, uuid: str) -> None:
    """Wait until the operation has ended, telling what it waits for on standard error; ends with 1 when it failed."""
    said = ""
    while True:
        row = ask(ctx, "GET", "operations", uuid)
        if row["state"] in ENDED:
            show(ctx, {name: row[name] for name in ("uuid", "kind", "state", "progress", "error")})
            sys.exit(0 if row["state"] == "succeeded" else 1)
        if row["why"]["sentence"] != said:
            said = row["why"]["sentence"]
            print(f"{row['progress']:3} %  {said}", file=sys.stderr)
        time.sleep(POLL_SECONDS)
