"""The unmodified public client as a person uses it: every command in each of its three ways of printing, read back.

A `row` is one command's proof; the rows of the modules beside this one run in their order and share what they made.
"""

import ast
import csv
import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import requests
from shakenfist_client.main import cli

from lab.first_boot import client, environment
from tests.e2e.cloud import CLIENT, Cloud

MODES = ("pretty", "simple", "json")
COLOURS = re.compile(r"\x1b\[\d*m")
GUEST, BYSTANDER, SPACE = "walked", "bystander", "walkers"
"""The guest that boots, an instance without a system, and a namespace of its own."""
NETWORK, BLOCK = "walk-json", "10.45.2.0/24"
KEY = "a key for walking"

DEFECTS: dict[tuple[str, str], tuple[str, str]] = {
    **{
        ("instance await", mode): (
            "AttributeError: 'Client' object has no attribute 'instance_await_agent_ready'",
            "the command calls a method that the client's library does not have",
        )
        for mode in MODES
    },
    **{
        ("network ping", mode): (
            "AttributeError: 'list' object has no attribute 'split'",
            "the lines are a list, which the library's users rely on; the command takes them for a text",
        )
        for mode in ("pretty", "simple")
    },
    **{
        ("node resources", mode): (
            "KeyError: 'resource'",
            "the command looks for the word 'resource' instead of the resource's name",
        )
        for mode in ("pretty", "simple")
    },
    **{
        ("artifact download", mode): (
            "KeyError: 0",
            "the command says that the artifact has no versions, and then asks for the size of one",
        )
        for mode in MODES
    },
}
"""Where the client itself breaks, whatever is answered: (command, mode): the traceback's last line, and the reason."""


@dataclass(frozen=True)
class Said:
    """How the client ended and what it printed, without colours."""

    code: int
    out: str
    err: str

    @property
    def table(self) -> list[dict[str, str]]:
        """The rows of a drawn table; a cell of several lines is one text."""
        lines = [line for line in self.out.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        rows: list[dict[str, str]] = []
        for values in cells[1:]:
            if values[0] or not rows:
                rows.append(dict(zip(cells[0], values, strict=True)))
            else:
                for name, value in zip(cells[0], values, strict=True):
                    rows[-1][name] += f"\n{value}" if value else ""
        return rows

    @property
    def listed(self) -> list[dict[str, str]]:
        """The rows below a line of names; a value beyond the last name is called `more`."""
        lines = list(csv.reader(self.out.splitlines()))
        return [dict(zip([*lines[0], "more"], line, strict=False)) for line in lines[1:] if line]

    @property
    def fields(self) -> dict[str, str]:
        """What stands before and after a colon, the first of each name."""
        found: dict[str, str] = {}
        for line in self.out.splitlines():
            name, colon, value = line.partition(":")
            if colon:
                found.setdefault(name.strip(), value.strip())
        return found

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def printed(self) -> Any:
        """What Python printed of a value, after any words before it."""
        return ast.literal_eval(self.out[self.out.index("{") :])


@dataclass
class Walk:
    """`folder` is where the client runs; `broke` what broke in the client, as DEFECTS names it."""

    cloud: Cloud
    folder: Path
    broke: set[tuple[str, str]] = field(default_factory=set)
    turns: Iterator[str] = field(default_factory=lambda: itertools.cycle(MODES))

    def run(self, mode: str, *words: str, as_space: bool = False) -> Said:
        variables = environment(self.cloud.lab) | {"HOME": str(self.folder)}
        if as_space:
            variables |= {"SHAKENFIST_NAMESPACE": SPACE, "SHAKENFIST_KEY": KEY}
        done = subprocess.run(
            [str(CLIENT), f"--{mode}", *words],
            env=variables,
            cwd=self.folder,
            capture_output=True,
            check=False,
        )
        said = Said(done.returncode, COLOURS.sub("", done.stdout.decode(errors="replace")), done.stderr.decode())
        if "Traceback" in said.err:
            broken = next((key for key in DEFECTS if key == (" ".join(words[:2]), mode)), None)
            assert broken, f"sf-client --{mode} {' '.join(words)}:\n{said.err[-2000:]}"
            assert said.err.splitlines()[-1] == DEFECTS[broken][0]
            self.broke.add(broken)
        return said

    def ok(self, mode: str, *words: str, as_space: bool = False) -> Said:
        said = self.run(mode, *words, as_space=as_space)
        assert said.code == 0, f"sf-client --{mode} {' '.join(words)}: {said.out[-500:]}{said.err[-1000:]}"
        return said

    def each(self, *words: str) -> dict[str, Said]:
        """The same words in each mode; they succeed."""
        return {mode: self.ok(mode, *words) for mode in MODES}

    def silent(self, mode: str, *words: str) -> None:
        """It succeeds, and prints nothing, or as JSON an empty object at most."""
        assert self.ok(mode, *words).out.strip() in (("", "{}") if mode == "json" else ("",))

    def refused(self, error: str, *words: str, as_space: bool = False) -> None:
        """It ends with 1, says why in one line, and prints nothing else; the modes take turns, for none has its own words."""
        said = self.run(next(self.turns), *words, as_space=as_space)
        assert (said.code, said.err) == (1, ""), (words, said)
        assert f" ERROR: {error}" in said.out and said.out.count("\n") == 1, (words, said.out)

    def broken(self, *words: str, modes: tuple[str, ...] = MODES) -> None:
        """The client breaks, in just these modes, as DEFECTS says."""
        for mode in modes:
            assert self.run(mode, *words).code == 1
            assert (" ".join(words[:2]), mode) in self.broke

    def api(self, method: str, path: str) -> Any:
        """What the API answers, to compare with what was printed."""
        asked = client(self.cloud.lab)
        return asked._request_url(method, path).json()

    def instance(self, name: str) -> Any:
        return self.api("GET", f"/instances/{name}")

    def until_instance(self, name: str, **wanted: Any) -> Any:
        return self.cloud.until(
            lambda: self.instance(name), lambda row: all(row[key] == value for key, value in wanted.items()), pause=0.2
        )

    def leave(self) -> None:
        """Take away the walkers' namespace; everything in it has its row."""
        if any(each["name"] == SPACE for each in self.api("GET", "/auth/namespaces")):
            self.ok("json", "namespace", "delete", SPACE)

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path


Row = Callable[[Walk], None]
ROWS: dict[str, Row] = {}


def row(command: str) -> Callable[[Row], Row]:
    """Registers the proof of one command."""

    def register(proof: Row) -> Row:
        assert command not in ROWS, f"{command} has two rows"
        ROWS[command] = proof
        return proof

    return register


def commands(group: click.Group = cli, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that the installed client has by itself, such as `instance create`; our plug-in's have their own test."""
    for name, each in group.commands.items():
        if each.callback is not None and each.callback.__module__.startswith("steadyfist_client"):
            continue
        if isinstance(each, click.Group):
            yield from commands(each, (*path, name))
        else:
            yield " ".join((*path, name))


def fetched(url: str) -> requests.Response:
    return requests.get(url, timeout=10)


def same(found: Mapping[str, str], wanted: Mapping[str, Any]) -> None:
    """Each wanted value is printed under its name, as Python prints it."""
    assert {name: found.get(name) for name in wanted} == {name: str(value) for name, value in wanted.items()}


def check_events(walk: Walk, *words: str, message: str) -> None:
    """An event command in each mode: all of them, by type, and so many at most."""
    said = walk.each(*words, "-l", "1000")
    for rows in (said["pretty"].table, said["json"].json):
        assert any(message in each["message"] for each in rows), rows
    assert message in said["simple"].out and said["simple"].out.startswith("timestamp,node,duration,message,extra\n")
    stamps = [each["timestamp"] for each in said["json"].json]
    assert stamps == sorted(stamps, reverse=True) and all(each["fqdn"] for each in said["json"].json)
    for mode, each in walk.each(*words, "--type", "audit", "--limit", "1").items():
        assert _count(mode, each) <= 1
    walk.refused("Malformed Request: event_type: must be one of audit", *words, "-t", "gossip")


def _count(mode: str, said: Said) -> int:
    if mode == "simple":
        return len(said.out.splitlines()) - 1
    return len(said.table if mode == "pretty" else said.json)


def check_metadata(walk: Walk, noun: str, ref: str, path: str) -> None:
    """`set-metadata` in each mode, each value of its own."""
    for mode in MODES:
        walk.silent(mode, noun, "set-metadata", ref, "colour", mode)
        assert walk.api("GET", f"{path}/metadata")["colour"] == mode
    walk.refused("Malformed Request: value: no metadata value specified", noun, "set-metadata", ref, "colour", "")


def check_no_metadata(walk: Walk, noun: str, ref: str, path: str) -> None:
    """`delete-metadata` in each mode; what is not there is no error."""
    for mode in MODES:
        walk.silent("json", noun, "set-metadata", ref, "shade", "dark")
        walk.silent(mode, noun, "delete-metadata", ref, "shade")
        walk.silent(mode, noun, "delete-metadata", ref, "shade")
        assert "shade" not in walk.api("GET", f"{path}/metadata")
