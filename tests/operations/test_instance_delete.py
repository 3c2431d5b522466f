"""instance_delete: the guest goes, then what it took is free again."""

from nodeagent.host import Refused
from sftasks.operations import instance_create, instance_delete
from sfweb.models import Address, Instance, Interface, NodeCapacity, PlacementReservation, PoolAllocation
from tests.cluster import repeats_are_harmless
from tests.factories import new_instance


def delete(cluster):
    return cluster.ask(instance_delete.request, cluster.caller, cluster.instance)


def test_nothing_is_left_and_the_address_rests(guest):
    address = Interface.objects.get(instance=guest.instance).address
    delete(guest)
    guest.settle()
    assert Instance.objects.get(pk=guest.instance.pk).state == "deleted"
    assert guest.home.host.inventory().instances == {}
    assert Address.objects.filter(kind="deletion-halo").count() == 1
    assert address not in str(guest.findings()), "and no finding"
    assert guest.findings() == []


def test_sc_5_room_ports_and_mac_are_given_back_once(guest):
    delete(guest)
    guest.settle()
    assert set(NodeCapacity.objects.values_list("used_cpus", flat=True)) == {0}
    assert PlacementReservation.objects.get().state == "released"
    assert not PoolAllocation.objects.filter(owner_type="interface").exists()
    resting = PoolAllocation.objects.filter(pool_name__startswith="port/")
    assert [row.owner_uuid for row in resting] == [None, None]


def test_ip_7_a_fixed_address_in_its_halo_is_taken_over(guest):
    from sfweb.domain.specs import NewInterface

    address = Interface.objects.get(instance=guest.instance).address
    delete(guest)
    guest.settle()
    card = (NewInterface(network="net", address=address),)
    again = guest.ask(instance_create.request, guest.caller, new_instance("again", "tenant", interfaces=card)).row
    assert Interface.objects.get(instance=again).address == address


def test_the_network_leaves_the_node_with_its_last_guest_but_not_the_carrier(guest):
    carrier = next(node for node in guest.nodes if node.host.inventory().routers)
    delete(guest)
    guest.settle()
    held = {node.name: set(node.host.inventory().networks) for node in guest.nodes}
    assert held[carrier.name] == {str(guest.network.pk)}
    assert all(networks == set() for name, networks in held.items() if name != carrier.name)


def test_ni_7_no_interface_outlives_its_instance(guest):
    for node in guest.nodes:
        node.host.fail_next("start_domain", Refused("disk.full"))
    guest.ask(instance_create.request, guest.caller, new_instance("refused", "tenant", "net"))
    guest.settle()
    delete(guest)
    guest.settle()
    assert set(Instance.objects.values_list("state", flat=True)) == {"error", "deleted"}
    assert set(Interface.objects.values_list("state", flat=True)) == {"deleted"}


def test_repeats_are_harmless(guest):
    assert repeats_are_harmless(guest, delete).state == "succeeded"
