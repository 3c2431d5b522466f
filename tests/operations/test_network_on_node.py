"""network_on_node: one network on one node, as the wish says."""

from sftasks import engine, mesh
from sftasks.operation import Accepted
from sftasks.plans import networks
from sfweb.domain.transactions import durable
from sfweb.models import Network
from tests.cluster import repeats_are_harmless


def bring(cluster):
    wish = networks.on_node(cluster.network, cluster.nodes[0].pk, cluster.caller)
    return Accepted(cluster.network, cluster.run(durable(lambda: engine.submit(wish))))


def test_hp_3_each_member_knows_the_others_and_not_itself(guest):
    from sftasks.operations import instance_create
    from tests.factories import new_instance

    for node in guest.nodes:
        guest.ask(
            instance_create.request, guest.caller, new_instance(f"on-{node.name}", "tenant", "net", placed_on=node.name)
        )
    guest.settle()
    for node, other in (guest.nodes, guest.nodes[::-1]):
        assert networks.peers(guest.network.pk, node.pk) == (other.address,)
        with node.host._store.exclusive() as held:
            assert held["networks"][str(guest.network.pk)]["peers"] == [other.address]


def test_a_node_that_nobody_wants_the_network_on_holds_none(served):
    empty = next(node for node in served.nodes if not node.host.inventory().networks)
    wish = networks.on_node(served.network, empty.pk, served.caller)
    served.run(durable(lambda: engine.submit(wish)))
    served.settle()
    assert empty.host.inventory().networks == {}


def test_en_1_every_change_of_the_mesh_raises_its_generation(guest):
    before = Network.objects.get(pk=guest.network.pk).mesh_generation
    from sftasks.operations import instance_delete

    guest.ask(instance_delete.request, guest.caller, guest.instance)
    guest.settle()
    assert Network.objects.get(pk=guest.network.pk).router_generation > before


def test_a_late_word_of_absence_says_nothing_of_what_is_wanted_again(served):
    """The removal is on its way, the network is wanted again and made again; while that is on its way it is not wanted."""
    node = next(node for node in served.nodes if not node.host.inventory().networks)

    def change(change):
        served.run(durable(lambda: change(Network.objects.select_for_update().get(pk=served.network.pk))))

    def wanted(network):
        mesh.bring_network(network, node.pk, served.caller)

    def unwanted(network):
        mesh.retire(network, [node.pk], served.caller)

    change(wanted)
    served.settle()
    assert node.host.inventory().networks
    change(unwanted)
    change(wanted)
    served.run(node.work)
    served.run(node.tell)
    change(unwanted)
    served.settle()
    assert node.host.inventory().networks == {}
    assert served.findings() == []


def test_repeats_are_harmless(served):
    assert repeats_are_harmless(served, bring).state == "succeeded"
