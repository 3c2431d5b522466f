"""What goes from node to node: files of an instance through the other one's door, and the document of a domain that leaves."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nodeagent.config import Config
from nodeagent.drivers import domain_xml, machine
from nodeagent.drivers.blobs import Blobs
from nodeagent.drivers.disks import Disks
from nodeagent.drivers.domains import Domains
from nodeagent.drivers.fetch import Policy
from nodeagent.drivers.layout import Layout
from nodeagent.drivers.moves import CERTIFICATES, Moves, as_there
from nodeagent.host import BlobFacts, Movement, Refused, Retry
from tests.drivers.test_byte_server import Door, door
from tests.drivers.test_domain_xml import AROUND
from tests.node_specs import BLOB, INSTANCE, NETWORK, RecordingCall, disk_spec, instance_spec, sha512

__all__ = ["door"]
BASE = bytes(2**20)
FACTS = BlobFacts(size=len(BASE), sha512=sha512(BASE), format="raw", virtual_size=len(BASE))
SPEC = instance_spec(disks=(disk_spec(),))


def give_blob(layout: Layout) -> None:
    layout.prepare()
    layout.blob(BLOB).write_bytes(BASE)
    layout.blob_facts(BLOB).write_text(json.dumps({**FACTS.__dict__}))


def call_for(door: Door, verb: str = "read_instance") -> RecordingCall:
    return RecordingCall(ticket=(f"{door.base}/instances/{INSTANCE}", door.ticket(INSTANCE, verb)))


@pytest.fixture
def left(door: Door) -> Layout:
    """The node that the instance is on."""
    layout = door.layout
    give_blob(layout)
    Disks(layout).create(INSTANCE, disk_spec(), FACTS, RecordingCall())
    layout.config_drive(INSTANCE).write_bytes(b"the drive")
    layout.console_log(INSTANCE).write_bytes(b"what it said")
    layout.instance(INSTANCE).joinpath(".vda.qcow2.half").write_bytes(b"no file of an instance")
    return layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "other")
    give_blob(made)
    return made


@pytest.fixture
def moves(layout: Layout) -> Moves:
    config = Config(name="n2", mesh_address="127.0.0.1", state_dir=str(layout.state), pki=str(layout.state / "pki"))
    return Moves(config, layout, Blobs(layout, Policy), Domains("test:///default"))


def test_an_instance_that_is_off_comes_whole_and_lies_on_this_nodes_blobs(
    door: Door, left: Layout, layout: Layout, moves: Moves
) -> None:
    call = call_for(door)
    assert moves.copy(SPEC, NETWORK, call, SPEC.disks) == "created"
    assert call.peers == [(INSTANCE, NETWORK)]
    assert sorted(path.name for path in layout.instance(INSTANCE).iterdir()) == [
        "config.iso",
        "console.log",
        "vda.qcow2",
    ]
    assert layout.config_drive(INSTANCE).read_bytes() == b"the drive"
    assert layout.config_drive(INSTANCE).stat().st_mode & 0o077 == 0
    Disks(layout).verify_chain(INSTANCE, disk_spec())
    assert moves.copy(SPEC, NETWORK, call_for(door), SPEC.disks) == "unchanged"


def test_of_a_running_one_only_the_small_files_come(door: Door, left: Layout, layout: Layout, moves: Moves) -> None:
    assert moves.copy(SPEC, NETWORK, call_for(door), ()) == "created"
    assert not layout.disk(INSTANCE, "vda").exists()
    assert layout.console_log(INSTANCE).read_bytes() == b"what it said"


def test_se_9_a_disk_that_lies_on_another_file_is_refused_and_leaves_nothing(
    door: Door, left: Layout, layout: Layout, moves: Moves
) -> None:
    wrong = instance_spec(disks=(disk_spec(blob=NETWORK),))
    with pytest.raises(Refused) as refused:
        moves.copy(wrong, NETWORK, call_for(door), wrong.disks)
    assert refused.value.code == "disk.conflict"
    assert not layout.disk(INSTANCE, "vda").exists()


def test_a_disk_that_the_other_node_has_not_is_no_empty_one(door: Door, left: Layout, moves: Moves) -> None:
    left.disk(INSTANCE, "vda").unlink()
    with pytest.raises(Refused) as refused:
        moves.copy(SPEC, NETWORK, call_for(door), SPEC.disks)
    assert refused.value.code == "disk.missing"


def test_se_5_a_ticket_for_something_else_opens_nothing(door: Door, left: Layout, moves: Moves) -> None:
    with pytest.raises(Retry):
        moves.copy(SPEC, NETWORK, call_for(door, "read_console"), SPEC.disks)


@pytest.mark.parametrize("name", ["../identity.json", ".vda.qcow2.half", "vda"])
def test_only_files_of_an_instance_are_read(door: Door, left: Layout, name: str) -> None:
    ticket = door.ticket(INSTANCE, "read_instance")
    assert door.ask("GET", f"/instances/{INSTANCE}", ticket, params={"name": name}).status_code == 404


def test_cancelled_while_it_copies(door: Door, left: Layout, layout: Layout, moves: Moves) -> None:
    call = call_for(door)
    call._cancel_at = 0
    with pytest.raises(Refused) as refused:
        moves.copy(SPEC, NETWORK, call, SPEC.disks)
    assert refused.value.code == "cancelled"
    assert list(layout.instance(INSTANCE).iterdir()) == []


def test_a_domain_that_leaves_says_what_it_is_on_the_other_node() -> None:
    spec = instance_spec(console_port=31000, vdi_port=31001)
    move = Movement(address="198.18.0.2", spec=spec, digest="d2")
    before = ElementTree.fromstring(domain_xml.render(instance_spec(), "d1", AROUND))
    after = ElementTree.fromstring(as_there(ElementTree.tostring(before, encoding="unicode"), move))
    assert domain_xml.digest_in(after) == "d2"
    assert [source.get("service") for source in after.iterfind("devices/serial/source")] == ["31000"]
    screen = after.find("devices/graphics")
    assert screen is not None and (screen.get("port"), screen.get("passwdValidTo")) == ("31001", domain_xml.EXPIRED)
    assert [listen.get("address") for listen in screen.iterfind("listen")] == ["198.18.0.2"]
    for path in ("devices/disk", "devices/interface", "devices/channel", "uuid", "memory"):
        assert [ElementTree.tostring(each) for each in after.iterfind(path)] == [
            ElementTree.tostring(each) for each in before.iterfind(path)
        ]


def test_without_certificates_nothing_is_sent_unencrypted(moves: Moves, layout: Layout) -> None:
    move = Movement(address="198.18.0.2", spec=instance_spec(), digest="d")
    with pytest.raises(Refused) as refused:
        moves.migrate(move, RecordingCall())
    assert refused.value.code == "migration.no_tls"
    for name in CERTIFICATES:
        path = layout.state / "pki" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with pytest.raises(Retry) as missing:
        moves.migrate(move, RecordingCall())
    assert missing.value.code == "domain.missing"


def test_what_a_running_guest_sees_of_the_processor(tmp_path: Path) -> None:
    table = tmp_path / "cpuinfo"
    table.write_text("model name\t: Some CPU\nflags\t\t: sse vmx\n\nmodel name\t: Some CPU\nflags\t: none\n")
    told = machine.cpu_model("kvm", table)
    assert told.startswith("Some CPU ")
    assert machine.cpu_model("tcg", table) == ""
    table.write_text("model name\t: Some CPU\nflags\t\t: sse\n")
    assert machine.cpu_model("kvm", table) != told


def test_a_ticket_lasts_for_a_while_only(door: Door, left: Layout) -> None:
    ticket = door.ticket(INSTANCE, "read_instance", lasts=-60)
    assert door.ask("GET", f"/instances/{INSTANCE}", ticket).status_code == 401
