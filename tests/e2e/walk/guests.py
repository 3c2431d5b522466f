"""Inside the guest that boots: its console, its agent, its disks captured, a card plugged in."""

import os

from tests.e2e.walk import BYSTANDER, GUEST, MODES, NETWORK, Walk, check_metadata, check_no_metadata, row, same


@row("instance consoledata")
def consoledata(walk: Walk) -> None:
    walk.cloud.has_booted(GUEST)
    for said in walk.each("instance", "consoledata", GUEST, "200000").values():
        assert "GUEST-READY" in said.out and "ip=" + walk.cloud.address(GUEST) in said.out
    for said in walk.each("instance", "consoledata", GUEST, "5").values():
        assert len(said.out.encode()) == 5
    for said in walk.each("instance", "consoledata", GUEST).values():
        assert 5 < len(said.out) <= 10240
    assert all(len(said.out) > 5 for said in walk.each("instance", "consoledata", GUEST, "--", "-1").values())


@row("instance consoledelete")
def consoledelete(walk: Walk) -> None:
    for mode in MODES:
        walk.silent(mode, "instance", "consoledelete", GUEST)
        assert "GUEST-READY" not in walk.ok(mode, "instance", "consoledata", GUEST, "200000").out


@row("instance await")
def wait_for_agent(walk: Walk) -> None:
    walk.cloud.until(lambda: walk.instance(GUEST), lambda row: row["agent_state"].startswith("ready"), 120)
    walk.broken("instance", "await", GUEST)
    assert "agent state   : ready" in walk.ok("pretty", "instance", "show", GUEST).out
    assert "agent state:ready" in walk.ok("simple", "instance", "show", GUEST).out
    assert walk.ok("json", "instance", "show", GUEST).json["agent_state"].startswith("ready")


@row("instance execute")
def execute(walk: Walk) -> None:
    said = walk.each("instance", "execute", GUEST, "hostname; echo two; echo bad >&2; exit 3")
    pretty, simple = said["pretty"], said["simple"]
    assert "exit code     : 3\n" in pretty.out and f"stdout        : {GUEST}\n                two" in pretty.out
    assert "stderr        : bad\n" in pretty.out
    assert "exit code:3\n" in simple.out and f"stdout:{GUEST}\nstdout:two" in simple.out and "stderr:bad" in simple.out
    done = said["json"].json
    assert (done["state"], done["results"]["0"]["return-code"]) == ("complete", 3)
    assert (done["results"]["0"]["stdout"], done["results"]["0"]["stderr"]) == (f"{GUEST}\ntwo\n", "bad\n")
    for mode in ("pretty", "simple"):
        early = walk.run(mode, "--async=continue", "instance", "execute", GUEST, "sleep 1")
        assert (early.code, early.out) == (1, "Results not available.\n")
    walk.refused("Malformed Request: ", "instance", "execute", BYSTANDER, "true")


@row("instance upload")
def upload(walk: Walk) -> None:
    for mode in MODES:
        file = walk.file(f"up-{mode}", os.urandom(30_000))
        file.chmod(0o750)
        for time in ("Created artifact", "Recycling existing blob"):
            assert time in walk.ok(mode, "instance", "upload", GUEST, str(file), f"/tmp/{file.name}").out
    listing = walk.ok("json", "instance", "execute", GUEST, "cd /tmp && stat -c '%a %s %n' up-*").json
    found = listing["results"]["0"]["stdout"].split("\n")
    assert sorted(found)[1:] == [f"750 30000 up-{mode}" for mode in sorted(MODES)]


@row("instance download")
def download(walk: Walk) -> None:
    for mode in MODES:
        back = walk.folder / f"down-{mode}"
        walk.silent(mode, "instance", "download", GUEST, f"/tmp/up-{mode}", str(back))
        assert back.read_bytes() == (walk.folder / f"up-{mode}").read_bytes()
        early = walk.run(mode, "--async=continue", "instance", "download", GUEST, "/none", "nothing")
        assert (early.code, early.out) == (1, "Results not available.\n")
    operations = walk.api("GET", f"/instances/{GUEST}/agentoperations?all=true")
    said = walk.each("instance", "show", "-a", GUEST)
    shown = {each["uuid"]: (each["state"], each["commands"]) for each in said["pretty"].table if "uuid" in each}
    assert {each["uuid"] for each in operations} <= set(shown)
    assert ("complete", "execute") in shown.values() and ("complete", "get-file") in shown.values()
    assert all(f"agentop, {each['uuid']}," in said["simple"].out for each in operations)
    assert len(said["json"].json["agent_operations"]) == len(operations)


@row("instance snapshot")
def snapshot(walk: Walk) -> None:
    taken = {mode: walk.ok(mode, "instance", "snapshot", BYSTANDER) for mode in MODES}
    made = [taken["pretty"].printed, taken["simple"].printed, taken["json"].json]
    blobs = {each["vda"]["blob_uuid"] for each in made}
    assert len(blobs) == 3 and len({each["vda"]["artifact_uuid"] for each in made}) == 1
    artifact = walk.api("GET", f"/artifacts/{made[0]['vda']['artifact_uuid']}")
    assert {each["uuid"] for each in artifact["blobs"].values()} == blobs
    words = ("instance", "snapshot", BYSTANDER, "-l", "captured", "-d", "vda")
    labelled = walk.ok("json", *words).json
    assert labelled["label"]["source_url"] == "sf://label/system/captured"
    both = walk.ok("json", "instance", "snapshot", GUEST, "--all").json
    disks = [each for each in walk.instance(GUEST)["disks"] if not each["snapshot_ignores"]]
    assert sorted(both) == sorted(each["device"] for each in disks) and len(disks) == 2
    said = walk.each("instance", "show", "-s", GUEST)
    uuid = both["vda"]["artifact_uuid"]
    assert f"    uuid    : {uuid}\n    device  : vda\n    created : 20" in said["pretty"].out
    assert f"snapshot,{uuid},vda,20" in said["simple"].out
    (entry,) = (each for each in said["json"].json["snapshots"] if each["device"] == "vda")
    assert entry["uuid"] == uuid and isinstance(entry["created"], float)
    walk.refused(f"Resource not found: instance {GUEST} has no disk vdz", "instance", "snapshot", GUEST, "-d", "vdz")


@row("instance add-interface")
def add_interface(walk: Walk) -> None:
    spec = f"network_uuid={NETWORK},address=10.45.2.93,float=false"
    for mode, words in (
        ("pretty", ("-n", f"{NETWORK}@10.45.2.91")),
        ("simple", ("-f", NETWORK)),
        ("json", ("-N", spec)),
    ):
        walk.silent(mode, "instance", "add-interface", GUEST, *words)
    cards = walk.instance(GUEST)["interfaces"]
    assert [each["order"] for each in cards] == [0, 1, 2, 3]
    assert (cards[1]["ipv4"], cards[3]["ipv4"]) == ("10.45.2.91", "10.45.2.93")
    assert cards[2]["floating"] and not cards[1]["floating"] and not cards[3]["floating"]
    walk.cloud.until(
        lambda: walk.api("GET", f"/instances/{GUEST}/interfaces"),
        lambda rows: {each["state"] for each in rows} == {"created"},
    )
    pretty = next(each for each in walk.ok("pretty", "instance", "list").table if each["name"] == GUEST)
    assert "\n1: 10.45.2.91\n2: " in pretty["interfaces"]
    for words, told in (((), "Please specify an interface."), (("-n", "a", "-f", "b"), "Please specify only one")):
        for mode in MODES:
            said = walk.run(mode, "instance", "add-interface", GUEST, *words)
            assert said.code == 1 and said.out.startswith(told)
    walk.refused("Resource not found: network not found: none", "instance", "add-interface", GUEST, "-n", "none")


@row("interface show")
def show_interface(walk: Walk) -> None:
    card = walk.instance(GUEST)["interfaces"][2]
    said = walk.each("interface", "show", card["uuid"])
    names = ("uuid", "macaddr", "order", "ipv4", "floating", "model")
    same(said["pretty"].fields, {name: card[name] for name in names} | {"network": card["network_uuid"]})
    line = ",".join(str(card[name]) for name in ("uuid", "network_uuid", *names[1:]))
    assert f"iface,{line}\n" in said["simple"].out
    (found,) = said["json"].json["network_interfaces"]
    assert all(found[name] == card[name] for name in found)
    walk.refused("Resource not found: interface not found: none", "interface", "show", "none")


@row("interface float")
def make_floating(walk: Walk) -> None:
    for mode, number in zip(MODES, (0, 1, 3), strict=True):
        uuid = walk.instance(GUEST)["interfaces"][number]["uuid"]
        walk.silent(mode, "interface", "float", uuid)
        walk.cloud.until(lambda uuid=uuid: walk.api("GET", f"/interfaces/{uuid}"), lambda row: row["floating"])
        walk.refused("Resource state conflict: ", "interface", "float", uuid)


@row("interface defloat")
def make_inner(walk: Walk) -> None:
    for mode, number in zip(MODES, (0, 1, 3), strict=True):
        uuid = walk.instance(GUEST)["interfaces"][number]["uuid"]
        walk.silent(mode, "interface", "defloat", uuid)
        walk.cloud.until(lambda uuid=uuid: walk.api("GET", f"/interfaces/{uuid}"), lambda row: not row["floating"])


@row("interface set-metadata")
def set_metadata(walk: Walk) -> None:
    uuid = walk.instance(GUEST)["interfaces"][0]["uuid"]
    check_metadata(walk, "interface", uuid, f"/interfaces/{uuid}")
    said = walk.each("interface", "show", uuid)
    assert "colour  : json" in said["pretty"].out and "metadata,colour,json" in said["simple"].out


@row("interface delete-metadata")
def delete_metadata(walk: Walk) -> None:
    uuid = walk.instance(GUEST)["interfaces"][0]["uuid"]
    check_no_metadata(walk, "interface", uuid, f"/interfaces/{uuid}")
