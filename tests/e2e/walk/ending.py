"""What takes things away, after everything else was seen."""

from tests.e2e.walk import BYSTANDER, GUEST, MODES, SPACE, Walk, networks, row
from tests.e2e.walk.instances import DISK

row("network instances")(networks.instances)


@row("instance delete")
def delete(walk: Walk) -> None:
    for mode, name in zip(MODES, (GUEST, BYSTANDER, "third"), strict=True):
        uuid = walk.instance(name)["uuid"]
        said = walk.ok(mode, "instance", "delete", name)
        assert said.json["state"] == "deleted" if mode == "json" else said.out == ""
        walk.refused(f"Resource not found: instance not found: {name}", "instance", "delete", name)
        assert "deleted" in walk.ok(mode, "instance", "show", uuid).out
        assert uuid not in walk.ok(mode, "instance", "list").out and uuid in walk.ok(mode, "instance", "list", "-a").out
    walk.refused("Resource not found: instance not found: first", "instance", "delete", "first", "--namespace", SPACE)


@row("instance delete-all")
def delete_all(walk: Walk) -> None:
    words = ("instance", "delete-all", "--namespace", SPACE)
    for mode in MODES:
        uuid = walk.ok("json", "instance", "create", "gone", "1", "64", *DISK, "--namespace", SPACE).json["uuid"]
        assert walk.ok(mode, *words).out == "You must be sure. Use option --confirm.\n"
        assert walk.instance(uuid)["state"] == "created"
        walk.silent(mode, *words, "--confirm")
        assert walk.instance(uuid)["state"] == "deleted"
    walk.refused("Malformed Request: ", "instance", "delete-all", "--confirm")
    assert walk.instance("first")["state"] == "created"


row("network delete")(networks.delete)
row("network delete-all")(networks.delete_all)


@row("namespace clean")
def clean(walk: Walk) -> None:
    words = ("namespace", "clean", "--namespace", SPACE)
    for mode in MODES:
        walk.ok("json", "network", "create", "inner", "10.47.0.0/24", "--namespace", SPACE)
        make = ("instance", "create", "last", "1", "64", *DISK, "-n", "inner")
        walk.ok("json", *make, as_space=True)
        walk.ok("json", "artifact", "upload", "mine", str(walk.folder / "file-json"), as_space=True)
        assert walk.ok(mode, *words).out == "You must be sure. Use option --confirm.\n"
        walk.silent(mode, *words, "--confirm")
        for path in ("/instances", "/networks", "/artifacts"):
            assert not [each for each in walk.api("GET", path) if each["namespace"] == SPACE]
    walk.refused("Malformed Request: ", "namespace", "clean", "--confirm")


@row("artifact delete")
def delete_artifact(walk: Walk) -> None:
    for mode in MODES:
        uuid = walk.api("GET", f"/artifacts/up-{mode}")["uuid"]
        said = walk.ok(mode, "artifact", "delete", f"up-{mode}")
        assert said.json["state"] == "deleted" if mode == "json" else said.out == ""
        assert uuid not in walk.ok(mode, "artifact", "list").out
        walk.refused("Resource not found: artifact not found", "artifact", "delete", f"up-{mode}")
    for each in walk.api("GET", "/artifacts"):
        if each["name"] != "tiny":
            walk.silent("pretty", "artifact", "delete", each["uuid"])
