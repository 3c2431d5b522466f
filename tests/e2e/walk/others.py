"""Namespaces and their keys, nodes, the cluster itself."""

from typing import Any

from shakenfist_client.apiclient import get_user_agent

from tests.e2e.walk import KEY, MODES, NETWORK, SPACE, Walk, check_events, check_metadata, check_no_metadata, row, same


@row("version")
def version(walk: Walk) -> None:
    for said in walk.each("version").values():
        assert said.out == f"{get_user_agent()}\n"


@row("admin lock list")
def locks(walk: Walk) -> None:
    """Rows hold what a lock would: there is none to list, and each way of printing says so."""
    said = walk.each("admin", "lock", "list")
    assert (said["pretty"].table, said["simple"].out) == ([], "lock,pid,node,operation\n")
    assert said["json"].json == {}


def namespace(walk: Walk, name: str = SPACE) -> Any:
    return walk.api("GET", f"/auth/namespaces/{name}")


@row("namespace create")
def create(walk: Walk) -> None:
    for name, mode in zip((SPACE, "second", "third"), MODES, strict=True):
        walk.silent(mode, "namespace", "create", name)
        assert (namespace(walk, name)["state"], namespace(walk, name)["keys"]) == ("created", [])
    walk.refused("Not authorized: ", "namespace", "create", SPACE)
    walk.refused("Malformed Request: ", "namespace", "create", "no/slashes")


@row("namespace list")
def list_all(walk: Walk) -> None:
    said = walk.each("namespace", "list")
    for name in ("system", SPACE, "second", "third"):
        wanted = {"name": name, "state": "created"}
        found = next(each for each in said["pretty"].table if each["name"] == name)
        same(found, wanted | {"trusted namespaces": "system"})
        same(next(each for each in said["simple"].listed if each["name"] == name), wanted)
        found = next(each for each in said["json"].json if each["name"] == name)
        assert found["trust"] == {"full": ["system"]}


@row("namespace add-key")
def add_key(walk: Walk) -> None:
    for mode in MODES:
        walk.silent(mode, "namespace", "add-key", SPACE, f"key-{mode}", KEY)
    assert namespace(walk)["keys"] == ["key-json", "key-pretty", "key-simple"]
    assert walk.ok("json", "instance", "list", as_space=True).json == {"instances": []}
    walk.refused("Not authorized: ", "namespace", "add-key", SPACE, "_service_key", KEY)
    walk.refused("Resource not found: namespace not found: none", "namespace", "add-key", "none", "k", KEY)


@row("namespace update-key")
def update_key(walk: Walk) -> None:
    for mode in MODES:
        walk.silent(mode, "namespace", "update-key", SPACE, f"key-{mode}", f"another key, {mode}")
    walk.refused("Not authenticated: ", "instance", "list", as_space=True)
    walk.silent("json", "namespace", "update-key", SPACE, "key-json", KEY)
    assert walk.ok("json", "instance", "list", as_space=True).json == {"instances": []}
    walk.refused("Resource not found: namespace not found: none", "namespace", "update-key", "none", "key-json", KEY)


@row("namespace delete-key")
def delete_key(walk: Walk) -> None:
    for mode in MODES:
        walk.silent("json", "namespace", "add-key", SPACE, "gone", KEY)
        walk.silent(mode, "namespace", "delete-key", SPACE, "gone")
        assert "gone" not in namespace(walk)["keys"]
    walk.refused("Resource not found: key name not found in namespace", "namespace", "delete-key", SPACE, "gone")


@row("namespace set-metadata")
def set_metadata(walk: Walk) -> None:
    check_metadata(walk, "namespace", SPACE, f"/auth/namespaces/{SPACE}")


@row("namespace get-metadata")
def get_metadata(walk: Walk) -> None:
    said = walk.each("namespace", "get-metadata", SPACE)
    assert (said["pretty"].out, said["simple"].out) == ("colour      : json\n", "colour:json\n")
    assert said["json"].out == "", "as JSON the client fetches and prints nothing"
    walk.refused("Resource not found: namespace not found: none", "namespace", "get-metadata", "none")


@row("namespace show")
def show(walk: Walk) -> None:
    said = walk.each("namespace", "show", SPACE)
    keys = ("key-json", "key-pretty", "key-simple")
    for each in (said["pretty"], said["simple"]):
        same(each.fields, {"name": SPACE, "state": "created"})
    assert "Key Names:\n" + "".join(f"    {key}\n" for key in keys) in said["pretty"].out
    assert "    colour: json\n" in said["pretty"].out and said["pretty"].out.endswith("Full trust:\n    system\n")
    assert "".join(f"keyname,{key}\n" for key in keys) in said["simple"].out
    assert "metadata,colour,json\n" in said["simple"].out and said["simple"].out.endswith("fulltrust,system\n")
    assert said["json"].json == namespace(walk)
    assert not any(KEY in each.out for each in said.values())
    walk.refused("Resource not found: namespace not found: none", "namespace", "show", "none")
    walk.refused("Resource not found: namespace not found: second", "namespace", "show", "second", as_space=True)


@row("namespace delete-metadata")
def delete_metadata(walk: Walk) -> None:
    check_no_metadata(walk, "namespace", SPACE, f"/auth/namespaces/{SPACE}")


@row("namespace add-trust")
def add_trust(walk: Walk) -> None:
    for mode in MODES:
        said = walk.ok(mode, "namespace", "add-trust", "second", SPACE)
        if mode == "json":
            assert said.json["trust"] == {"full": ["system", SPACE]}
        else:
            assert said.out == ""
    pretty = walk.ok("pretty", "namespace", "list", as_space=True).table
    assert {each["name"]: each["trusted namespaces"] for each in pretty} == {
        "second": f"system {SPACE}",
        SPACE: "system",
    }
    walk.refused("Resource not found: ", "namespace", "add-trust", "second", "none")


@row("namespace remove-trust")
def remove_trust(walk: Walk) -> None:
    for mode in MODES:
        walk.ok("json", "namespace", "add-trust", "second", SPACE)
        said = walk.ok(mode, "namespace", "remove-trust", "second", SPACE)
        assert said.json["trust"] == {"full": ["system"]} if mode == "json" else said.out == ""
    walk.ok("json", "namespace", "remove-trust", "second", "system")
    assert namespace(walk, "second")["trust"] == {"full": ["system"]}, "system cannot be removed"


def others_see_nothing(walk: Walk) -> None:
    """What another namespace's key is told of what is not its own: nothing, in the words of what does not exist."""
    for noun in ("network", "instance"):
        walk.refused(f"Resource not found: {noun} not found: {NETWORK}", noun, "show", NETWORK, as_space=True)
    for words in (("node", "list"), ("node", "show", "n1"), ("blob", "list"), ("namespace", "create", "mine")):
        walk.refused("Not authenticated: ", *words, as_space=True)
    walk.refused("Not authorized: ", "artifact", "cache", "http://example.com/x", "--shared", as_space=True)
    walk.refused("", "network", "create", "n", "10.0.0.0/24", "--namespace", "second", as_space=True)


@row("namespace delete")
def delete(walk: Walk) -> None:
    others_see_nothing(walk)
    for name, mode in zip(("second", "third", "fourth"), MODES, strict=True):
        if name == "fourth":
            walk.silent("json", "namespace", "create", name)
        walk.silent(mode, "namespace", "delete", name)
        walk.refused(f"Resource not found: namespace not found: {name}", "namespace", "show", name)
    walk.refused("Not authorized: ", "namespace", "delete", "system")


@row("node list")
def list_nodes(walk: Walk) -> None:
    said = walk.each("node", "list")
    for name in ("n1", "n2"):
        view = walk.api("GET", f"/nodes/{name}")
        wanted = {"name": name, "ip": view["ip"], "state": "created"}
        found = next(each for each in said["pretty"].table if each["name"] == name)
        same(found, wanted | {"release": view["release"], "roles": "HN"})
        found = next(each for each in said["simple"].listed if each["name"] == name)
        same(found, wanted | {"version": view["release"], "roles": " HN "})
        found = next(each for each in said["json"].json if each["name"] == name)
        assert found["uuid"] == view["uuid"] and view["release"]


@row("node show")
def show_node(walk: Walk) -> None:
    view = walk.api("GET", "/nodes/n1")
    walk.api("GET", "/nodes/n1/metadata")
    said = walk.each("node", "show", "n1")
    for each in (said["pretty"], said["simple"]):
        same(each.fields, {"name": "n1", "ip": view["ip"], "state": "created", "release": view["release"]})
        same(each.fields, {"hypervisor": True, "network node": True, "database node": False})
        assert 0 <= int(each.fields["last seen"].partition("(")[2].split()[0]) < 60
    assert said["json"].json["capacity"]["limit_cpus"] > 0 and said["json"].json["metadata"] == {}
    walk.refused("Resource not found: node not found: n9", "node", "show", "n9")


@row("node events")
def node_events(walk: Walk) -> None:
    check_events(walk, "node", "events", "n1", message=" succeeded")


@row("node resources")
def resources(walk: Walk) -> None:
    found = walk.ok("json", "node", "resources", "n1").json
    capacity = walk.api("GET", "/nodes/n1")["capacity"]
    for resource, column in (("cpu", "cpus"), ("ram", "memory_mb"), ("disk", "disk_gb")):
        assert found[f"{resource}_max"] == capacity[f"limit_{column}"] >= found[f"{resource}_available"]
    walk.broken("node", "resources", "n1", modes=("pretty", "simple"))
    walk.refused("Resource not found: node not found: n9", "node", "resources", "n9")


@row("node cpuhogs")
def hogs(walk: Walk) -> None:
    """With a threshold below what anything takes, those that take something are named; with one above, nothing is."""
    for mode in MODES:
        walk.silent(mode, "node", "cpuhogs", "-t", "1000")
        said = walk.run(mode, "node", "cpuhogs", "-t", "-1")
        assert said.code == 1 and {"n1", "n2"} == {
            line.split(" on node ")[1].split()[0] for line in said.out.splitlines()
        }
        names = {line.split()[0] for line in said.out.splitlines()}
        walk.silent(mode, "node", "cpuhogs", "-t", "-1", "-i", ",".join(names))


@row("node delete")
def delete_node(walk: Walk) -> None:
    for mode in MODES:
        walk.cloud.manage("enrol_node", f"spare-{mode}")
        said = walk.ok(mode, "node", "delete", f"spare-{mode}")
        assert (said.json["state"] == "deleted") if mode == "json" else said.out == ""
        assert f"spare-{mode}" not in walk.ok(mode, "node", "list").out
        walk.refused("Resource not found: ", "node", "delete", f"spare-{mode}")
    walk.refused("Resource state conflict: node n1 has ", "node", "delete", "n1")
