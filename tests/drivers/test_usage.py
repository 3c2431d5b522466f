"""Counters of guests and networks, from libvirt's names and the kernel's table (the real ones: inside/test_guest.py)."""

from types import SimpleNamespace

from nodeagent.drivers import usage
from nodeagent.drivers.usage import UsageMeter
from tests.node_specs import INSTANCE, NETWORK

OTHER = "5f0f2a52-0000-4000-8000-00000000000f"
DEVICES = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0
vxlan-000064:    1000       9    0    0    0     0          0         0     2000      19    0    0    0     0       0          0
egr-000064-o:300 3 0 0 0 0 0 0 400 4 0 0 0 0 0 0
"""


def read(tmp_path, monkeypatch, counted, networks):
    table = tmp_path / "dev"
    table.write_text(DEVICES)
    monkeypatch.setattr(usage, "TABLE", table)
    layout = SimpleNamespace(known_instances=lambda: [INSTANCE])
    domains = SimpleNamespace(statistics=lambda: counted)
    net = SimpleNamespace(inventory=lambda: SimpleNamespace(networks=networks))
    return UsageMeter(layout, domains, net).read()  # type: ignore[arg-type]


def test_a_guest_has_its_time_its_memory_its_disks_and_its_interfaces(tmp_path, monkeypatch):
    counted = {
        "cpu.time": 1_234_567_890,
        "balloon.rss": 2048,
        "block.count": 1,
        "block.0.name": "vda",
        "block.0.rd.bytes": 10,
        "block.0.wr.bytes": 20,
        "block.0.rd.reqs": 1,
        "block.0.wr.reqs": 2,
        "net.count": 1,
        "net.0.rx.bytes": 5,
        "net.0.tx.bytes": 6,
    }
    found = read(tmp_path, monkeypatch, {INSTANCE: counted, OTHER: counted}, {})
    assert found.instances == {
        INSTANCE: {
            "cpu_seconds": 1.23,
            "memory_mb": 2,
            "disks": {"vda": {"read_bytes": 10, "written_bytes": 20, "reads": 1, "writes": 2}},
            "interfaces": [{"received_bytes": 5, "sent_bytes": 6}],
        }
    }, "a domain that is none of ours is left out"


def test_what_cannot_be_counted_is_nothing_and_no_failure(tmp_path, monkeypatch):
    found = read(tmp_path, monkeypatch, {INSTANCE: {"net.count": 1}}, {})
    nothing = {"received_bytes": 0, "sent_bytes": 0}
    assert found.instances[INSTANCE] == {"cpu_seconds": 0, "memory_mb": 0, "disks": {}, "interfaces": [nothing]}


def test_a_network_has_what_crosses_the_mesh_and_where_its_router_is_what_goes_outside(tmp_path, monkeypatch):
    found = read(tmp_path, monkeypatch, {}, {NETWORK: 0x64, OTHER: 0x65})
    assert found.networks == {
        NETWORK: {
            "mesh": {"received_bytes": 1000, "sent_bytes": 2000},
            "outside": {"received_bytes": 400, "sent_bytes": 300},
        },
        OTHER: {},
    }
