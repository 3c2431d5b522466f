"""What a broken node says harms its own rows at most, and never keeps the rest of its report from being taken (SE-4, SE-6)."""

import json
import time
import uuid

import pytest
from django.test import RequestFactory

from nodeagent.wire import Inventory, NodeEvent, Report, SeenObject
from sfweb.internal import intake, views
from sfweb.models import Event, Instance, Node, NodeCapacity


@pytest.fixture
def node(make_cluster):
    cluster = make_cluster(2)
    return cluster.nodes[0]


def report(node, **more):
    return intake.take_report(
        node.row, Report(incarnation=node.journal.incarnation, clock=time.time(), actions={}, **more)
    )


def post(node, text: str) -> int:
    headers = {"Authorization": f"Node {node.pk}:{node.identity.secret}"}
    request = RequestFactory().post("/internal/report", text, content_type="application/json", headers=headers)
    return views.report(request).status_code


def body(node, **more) -> str:
    values = {"incarnation": node.journal.incarnation, "clock": time.time(), "actions": {}, **more}
    return json.dumps(values)


@pytest.mark.parametrize("address", ["198.18.0.12", "127.0.0.1", "224.0.0.1", "0.0.0.0", "nonsense", "1.2.3.4; drop"])
def test_se_7_a_node_is_never_told_an_address_that_is_anothers_or_no_hosts(node, settings, address):
    settings.INTERNAL_ADDRESSES = ["http://198.18.0.1:13001"]
    Node.objects.filter(pk=node.pk).update(mesh_address=None)
    report(node, facts={"mesh_address": address, "byte_port": 99999})
    row = Node.objects.get(pk=node.pk)
    assert (row.mesh_address, row.byte_port) == (None, 13004)


@pytest.mark.parametrize("cpus", ["many", [4], None, -5, True, 2**62])
def test_se_6_capacity_that_is_no_figure_is_none(node, cpus):
    before = NodeCapacity.objects.get(node_id=node.pk).limit_cpus
    report(node, facts={"capacity": {"cpus": cpus, "memory_mb": 1024, "disk_gb": 10}})
    assert 0 <= NodeCapacity.objects.get(node_id=node.pk).limit_cpus <= before


def test_ev_2_an_event_that_makes_no_sense_keeps_no_other_from_being_stored(node):
    good = NodeEvent(uuid=str(uuid.uuid4()), type="status", message="good", age=1.0)
    odd = [
        NodeEvent(uuid="not a uuid", type="status", message="odd", age=0.0),
        NodeEvent(uuid=str(uuid.uuid4()), type="x" * 100, message="y" * 100_000, age=1e300, object_type="\ud800"),
        NodeEvent(uuid=str(uuid.uuid4()), type="status", message="big", age=-1.0, extra={"much": "z" * 100_000}),
    ]
    answer = report(node, events=(*odd, good, good))
    assert set(answer.events) == {event.uuid for event in (*odd, good)}
    assert Event.objects.filter(message="good").count() == 1


def test_ev_2_a_flood_of_events_is_taken_in_pages(node):
    flood = tuple(NodeEvent(uuid=str(uuid.uuid4()), type="status", message="flood", age=0.0) for _ in range(1000))
    assert 0 < len(report(node, events=flood).events) <= 200


def test_en_4_tokens_that_are_nobodys_are_closed_without_a_question_for_each(node, django_assert_max_num_queries):
    strange = {str(uuid.uuid4()): 50 for _ in range(500)} | {"\ud800": 50}
    with django_assert_max_num_queries(40):
        answer = report(node, held=tuple(strange), progress=strange, power_off_by_guest=tuple(strange))
    assert set(answer.closed) == set(strange)


def test_en_13_a_power_that_there_is_not_is_no_power(guest):
    row = guest.home.row
    seen = SeenObject(object_type="instance", object_uuid=str(guest.instance.pk), power="<script>")
    found = Inventory(seq=10**9, complete=False, objects=(seen,))
    intake.inventory.compare(row, found)
    assert Instance.objects.get(pk=guest.instance.pk).observed_power == "on"


@pytest.mark.parametrize(
    "text",
    [
        '{"incarnation": "x", "clock": NaN, "actions": {}}',
        '{"incarnation": "x", "clock": 1e999, "actions": {}}',
        '{"incarnation": "x", "clock": 1' + "0" * 400 + ', "actions": {}}',
        "[" * 100_000,
        "[]",
        "\xff",
    ],
)
def test_a_body_that_no_row_could_hold_is_refused(node, text):
    assert post(node, text) == 400


def test_a_text_with_half_a_character_is_taken_without_it(node):
    event = {"uuid": str(uuid.uuid4()), "type": "status", "message": "half \ud800", "age": 0.0}
    assert post(node, body(node, events=[event], facts={"kernel": "\udfff"})) == 200
    assert Event.objects.get(uuid=event["uuid"]).message == "half ?"


def test_only_our_actions_and_their_versions_are_kept(node):
    intake.take_report(
        node.row,
        Report(
            incarnation=node.journal.incarnation,
            clock=time.time(),
            actions={"ensure_blob": 1, "remove_blob": ["odd"], "unheard_of": "x" * 10_000},
        ),
    )
    assert Node.objects.get(pk=node.pk).actions == {"ensure_blob": 1}
