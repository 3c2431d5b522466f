"""Outside addresses, hosted names and ping by the API: what the client is answered, and when."""

import pytest

from sfweb.models import Address, CarrierLease, Interface, Network, NodeObject, Operation, Step
from tests.api.world import Person, World


@pytest.fixture
def served(world: World) -> World:
    """The world's network with a way out, DNS and a carrier."""
    Network.objects.filter(pk=world.network.pk).update(floating_gateway="192.168.20.3", provide_dns=True)
    CarrierLease.objects.create(network=world.network, node=world.node)
    NodeObject.objects.create(node=world.node, object_type="router", object_uuid=world.network.pk)
    return world


def settle(operation: Operation, state: str = "succeeded", **columns: str) -> None:
    Operation.objects.filter(pk=operation.pk).update(state=state, **columns)


def test_fl_3_float_answers_null_and_names_the_operation(served: World, owner: Person):
    answer = owner.post(f"/interfaces/{served.interface.pk}/float")
    made = Operation.objects.get(kind="address_expose")
    assert (answer.status_code, answer.json()) == (200, None)
    assert f"/operations/{made.pk}>" in answer["Link"]
    address = owner.get(f"/interfaces/{served.interface.pk}").json()["floating"]
    assert address == Interface.objects.get(pk=served.interface.pk).floating
    assert address.startswith("192.168.20.")
    assert owner.post(f"/interfaces/{served.interface.pk}/float").status_code == 409
    assert owner.post(f"/interfaces/{served.interface.pk}/defloat").json() is None
    assert owner.get(f"/interfaces/{served.interface.pk}").json()["floating"] is None


def test_fl_4_route_answers_the_address(served: World, owner: Person):
    address = owner.post("/networks/net/route").json()
    assert Address.objects.filter(kind="routed", owner_uuid=served.network.pk).count() == 1
    assert address.startswith("192.168.20.")
    gone = owner.delete(f"/networks/net/route/{address}")
    assert (gone.status_code, gone.json()) == (200, None)
    assert owner.delete(f"/networks/net/route/{address}").status_code == 404


def test_fl_3_ip_6_an_empty_block_is_507_without_transient(served: World, owner: Person):
    Network.objects.filter(pk=served.outside.pk).update(netblock="192.168.20.0/29")
    Address.objects.bulk_create(
        [Address(network=served.outside, value=0xC0A81400 + n, kind="gateway") for n in range(8)]
    )
    for path in (f"/interfaces/{served.interface.pk}/float", "/networks/net/route"):
        answer = owner.post(path)
        assert answer.status_code == 507
        assert "transient" not in answer.content.decode()
        assert "Retry-After" not in answer


@pytest.mark.parametrize("flag", ["provide_dhcp", "provide_nat", "provide_dns"])
def test_nw_1_flags_say_what_they_say_and_nothing_else(served: World, owner: Person, flag: str):
    for said, meant in ((False, False), ("false", False), ("true", True), (True, True), (None, flag != "provide_dns")):
        answer = owner.post("/networks", {"name": "new", "netblock": "10.9.0.0/24", flag: said})
        assert (answer.status_code, answer.json()[flag]) == (200, meant)
    for said in ("yes", "no", 1, 0, "on", "", [], "1"):
        answer = owner.post("/networks", {"name": "new", "netblock": "10.9.0.0/24", flag: said})
        assert (answer.status_code, answer.json()["details"]["parameter"]) == (400, flag), said


def test_nw_2_a_netblock_that_overlaps_the_floating_block_is_refused(served: World, owner: Person):
    for block in ("192.168.20.0/24", "192.168.0.0/16", "192.168.20.128/25"):
        answer = owner.post("/networks", {"name": "new", "netblock": block})
        assert (answer.status_code, "overlaps the floating block" in answer.json()["error"]) == (400, True)
    assert owner.post("/networks", {"name": "new", "netblock": "10.0.0.0/24"}).status_code == 200


def test_nw_4_an_ambiguous_name_is_an_error_and_floating_is_reserved(served: World, owner: Person, system: Person):
    for _ in range(2):
        owner.post("/networks", {"name": "twin", "netblock": "10.9.0.0/24"})
    answer = owner.get("/networks/twin")
    assert (answer.status_code, "multiple networks" in answer.json()["error"]) == (400, True)
    assert system.delete("/networks/floating").status_code == 403
    assert owner.delete("/networks/floating").status_code == 404


def test_nw_6_a_network_is_answered_at_once_and_its_work_begins(served: World, owner: Person):
    answer = owner.post("/networks", {"name": "new", "netblock": "10.9.0.0/24"})
    assert answer.json()["state"] == "initial"
    asked = Operation.objects.filter(targets__target_uuid=answer.json()["uuid"]).values_list("kind", flat=True)
    assert sorted(asked) == ["network_create", "network_on_node", "router_on_node"]


def test_nw_8_a_network_in_use_is_told_and_with_clean_wait_it_goes_later(served: World, owner: Person, system: Person):
    assert owner.delete("/networks").status_code == 400
    assert system.delete("/networks", {"confirm": True}).status_code == 400
    answer = owner.delete("/networks", {"confirm": True})
    assert answer.status_code == 403
    assert answer.json()["error"] == {"deleted": [], "unable": [str(served.network.pk)]}
    answer = owner.delete("/networks", {"confirm": True, "clean_wait": True})
    assert answer.status_code == 202
    (handle,) = answer.json()
    assert (handle["network_uuid"], handle["op_type"]) == (str(served.network.pk), "network_delete")
    assert Operation.objects.get(pk=handle["op_uuid"]).state == "waiting"
    assert owner.get("/networks/net").json()["state"] == "delete-wait"


def test_dn_2_the_answer_comes_when_the_resolver_knows(served: World, owner: Person, monkeypatch):
    """Null when it knows, 202 with the operation when it takes longer, 500 with a code when it cannot."""
    answer = owner.post("/networks/net/dns", {"name": "www", "value": "10.0.0.9"})
    assert (answer.status_code, answer.json()["kind"]) == (202, "network_dns")
    for state, status in (("succeeded", 200), ("cancelled", 500)):

        def look(operation: Operation, state: str = state) -> Operation:
            settle(operation, state, error_message="it does not answer")
            return Operation.objects.get(pk=operation.pk)

        with monkeypatch.context() as patched:
            patched.setattr("sfweb.api.network_services.ended", look)
            answer = owner.post("/networks/net/dns", {"name": "www", "value": "10.0.0.9"})
        assert answer.status_code == status
    assert answer.json()["code"] == "network.dnsmasq.restart_failed"
    assert answer.json()["error"] == "it does not answer"
    assert owner.delete("/networks/net/dns", {"name": "www"}).status_code == 202
    assert owner.delete("/networks/net/dns", {"name": "www"}).status_code == 404


def test_hp_6_ping_answers_lists_of_lines_or_202(served: World, owner: Person, monkeypatch):
    answer = owner.get("/networks/net/ping/10.0.0.5")
    assert (answer.status_code, answer.json()["kind"]) == (202, "network_ping")
    lines = {"stdout": ["PING 10.0.0.5", "10 packets transmitted, 0 received, 100% packet loss"], "stderr": []}

    def look(operation: Operation) -> Operation:
        settle(operation)
        Step.objects.create(
            operation=operation,
            stage=0,
            node=served.node,
            action="ping_address",
            object_type="router",
            object_uuid=served.network.pk,
            state="done",
            outcome={"result": lines},
        )
        return Operation.objects.get(pk=operation.pk)

    monkeypatch.setattr("sfweb.api.network_services.ended", look)
    answer = owner.get("/networks/net/ping/10.0.0.5")
    assert (answer.status_code, answer.json()) == (200, lines)


def test_ip_5_addresses_have_a_user_that_is_a_list(served: World, owner: Person, system: Person):
    owner.post(f"/interfaces/{served.interface.pk}/float")
    for person, ref in ((owner, "net"), (system, "floating")):
        rows = person.get(f"/networks/{ref}/addresses").json()
        assert rows
        assert all(isinstance(row["user"], list) and {"address", "type", "comment", "when"} <= set(row) for row in rows)
    assert ["instance", str(served.instance.pk)] in [row["user"] for row in rows if row["type"] == "floating"]
