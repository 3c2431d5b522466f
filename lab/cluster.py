"""The whole lab: brought up, looked at, ended. Every step looks first, so that repeating one is harmless."""

import json
import os
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab import control, credentials, network, node
from lab.layout import FLOWER_OFFSET, Layout
from lab.progress import step, wait_for
from lab.servers import ServerFailed
from lab.tree import Tree

API_SECONDS, NODE_SECONDS = 120.0, 60.0


@dataclass(frozen=True)
class Part:
    """One line of `make status`."""

    place: str
    name: str
    state: str
    detail: str
    ok: bool


def bring_up(lab: Layout, nodes: int) -> None:
    """Control plane and nodes, until every node is known to the API. Nodes that were there before come back as well."""
    _prepare(lab)
    if network.bring_up(lab):
        print("  networks: made", flush=True)
    with step("control plane"):
        control.tree(lab).start(lab.environment())
        tree = control.tree(lab)
        wait_for("the start of the control plane", API_SECONDS, lambda: is_whole(tree) and _answers(lab, "/readyz"))
    known = {each.number for each in lab.known_nodes()}
    wanted = [lab.node(number) for number in sorted(known | set(range(1, nodes + 1)))]
    for each in wanted:
        with step(f"node {each.name}"):
            node.start(each)
            _wait_until_whole(node.tree(each))


def _wait_until_whole(tree: Tree) -> None:
    wait_for(f"the start of {tree.directory.name}", NODE_SECONDS, lambda: is_whole(tree))


def _prepare(lab: Layout) -> None:
    for folder in (lab.run_dir, lab.sockets, lab.control_dir / "log", lab.cache):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (lab.run_dir, *lab.run_dir.parents):
        # Inside nodes everything has another path, but libvirt's and dnsmasq's users must get through to it.
        if not folder.stat().st_mode & 0o001 and folder == lab.run_dir:
            folder.chmod(0o755)
    secrets = credentials.read(lab)
    lines = {
        "SHAKENFIST_API_URL": lab.api_url,
        "SHAKENFIST_NAMESPACE": "system",
        "SHAKENFIST_KEY": secrets[credentials.SYSTEM_KEY],
    }
    descriptor = os.open(lab.rc, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"export {name}={value}\n" for name, value in lines.items())


def _answers(lab: Layout, path: str) -> bool:
    with urllib.request.urlopen(f"{lab.api_url}{path}", timeout=5) as answer:
        return bool(answer.status == 200)


def end(lab: Layout) -> None:
    """End everything and keep the run directory. Nodes first, while there is somebody to tell."""
    with ThreadPoolExecutor() as together:
        list(together.map(lambda each: node.tree(each).stop(), lab.known_nodes()))
    control.tree(lab).stop()
    network.tear_down(lab)
    shutil.rmtree(lab.sockets, ignore_errors=True)


def is_whole(tree: Tree) -> bool:
    """Every program of the tree runs; raises ServerFailed naming one that has been ended more than three times."""
    programs = _programs(tree)
    for name, found in programs.items():
        if found["starts"] > 3 and not found["ok"]:
            raise ServerFailed(f"{name} does not stay up, see {tree.directory / 'log' / name}.log")
    return bool(tree.pid and programs and all(found["ok"] for found in programs.values()))


def _programs(tree: Tree) -> dict[str, dict[str, int]]:
    try:
        held: dict[str, dict[str, int]] = json.loads((tree.directory / "processes.json").read_text())
    except FileNotFoundError:
        return {}
    return held


def parts(lab: Layout) -> list[Part]:
    """Every process of the lab and whether it runs."""
    trees = [("control", control.tree(lab))]
    trees += [(each.name, node.tree(each)) for each in lab.known_nodes()]
    found = [_answering(lab)]
    for place, tree in trees:
        if not tree.pid:
            found.append(Part(place, "(all)", "down", str(tree.log), False))
            continue
        for name, program in _programs(tree).items():
            once = bool(program["once"])
            state = ("done" if once else "up") if program["ok"] else "down"
            found.append(Part(place, name, state, f"started {program['starts']} times", bool(program["ok"])))
    return found


def _answering(lab: Layout) -> Part:
    try:
        ok = _answers(lab, "/readyz")
    except OSError as error:
        return Part("api", lab.api_url, "down", str(error), False)
    return Part("api", lab.api_url, "ready" if ok else "down", "", ok)


def clean(lab: Layout) -> None:
    end(lab)
    shutil.rmtree(lab.run_dir, ignore_errors=True)


def describe(lab: Layout, address: str) -> str:
    return f"""
The cluster answers at {lab.api_url} (also in a browser), flower at http://127.0.0.1:{lab.api_port + FLOWER_OFFSET}.
The namespace is `system`, its key is in {lab.rc}. The first guest has {address}. Next:

    . {os.path.relpath(lab.rc)}
    .venv/bin/sf-client instance list
    make ssh        a shell in the first guest
    make outside    a shell on the outside network
    make status     everything that runs
    make stop       end everything; the next `make run` brings it back
"""
