"""What crosses between control plane and node: strict on the way in, the same bytes on the way out, signed."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeagent import specs
from nodeagent.wire import (
    Inventory,
    Kind,
    Malformed,
    Outcome,
    Report,
    ReportAnswer,
    SeenObject,
    StepMessage,
    dump,
    load,
    mesh_digest,
    read_ticket,
    ticket,
)

MESSAGE = StepMessage(
    token="11111111-0000-4000-8000-000000000001",
    node="22222222-0000-4000-8000-000000000002",
    incarnation="33333333-0000-4000-8000-000000000003",
    action="ensure_network",
    version=1,
    object_key="network:44444444-0000-4000-8000-000000000004",
    generation=7,
    request={"spec": {"network": "44444444-0000-4000-8000-000000000004", "vni": 5, "peers": ["198.18.0.12"]}},
)
GOLDEN = "7fec0db625f7d92335c34d982ef5e769da121347271024a1b9213b3c43916f8f"


def test_a_document_survives_the_way_there_and_back():
    report = Report(
        incarnation="i",
        clock=1.5,
        actions={"ensure_network": 1},
        held=("a", "b"),
        outcomes=(Outcome(token="a", kind=Kind.DONE, change="created", seq=4, result={"size": 1}),),
        inventory=Inventory(
            seq=4, complete=True, objects=(SeenObject(object_type="instance", object_uuid="x", power="on"),)
        ),
    )
    assert load(Report, json.loads(json.dumps(dump(report)))) == report
    answer = ReportAnswer(acknowledged=("a",), steps=(MESSAGE.signed("key"),), mesh=("198.18.0.11",))
    assert load(ReportAnswer, json.loads(json.dumps(dump(answer)))) == answer


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"unknown": 1}, "unknown field unknown"),
        ({"token": 7}, "Outcome.token"),
        ({"kind": "splendid"}, "Outcome.kind"),
        ({"seq": "3"}, "Outcome.seq"),
        ({"seq": True}, "Outcome.seq"),
        ({"result": []}, "Outcome.result"),
        ({"after": "soon"}, "Outcome.after"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, named):
    with pytest.raises(Malformed, match=named):
        load(Outcome, {"token": "t", "kind": "done", **change})


@pytest.mark.parametrize("document", [None, [], "text", 7, {"kind": "done"}])
def test_what_is_no_outcome_at_all_is_refused(document):
    with pytest.raises(Malformed):
        load(Outcome, document)


def test_se_2_the_signature_covers_every_field():
    signed = MESSAGE.signed("key")
    assert signed.is_signed_by("key")
    assert not signed.is_signed_by("another")
    assert not MESSAGE.is_signed_by("key")
    for name, value in {
        "node": "x",
        "generation": 8,
        "request": {},
        "token": "y",
        "incarnation": "z",
        "action": "a",
    }.items():
        assert not dataclasses.replace(signed, **{name: value}).is_signed_by("key"), name


def test_en_3_the_signature_is_the_same_in_every_release():
    assert MESSAGE.signed("key").signature == GOLDEN


def test_se_5_a_ticket_that_was_touched_is_refused():
    text = ticket("key", {"object": "b", "verb": "read_blob", "exp": 5})
    assert read_ticket("key", text) == {"object": "b", "verb": "read_blob", "exp": 5}
    body, _, signature = text.partition(".")
    for wrong in (text + "0", body + "." + signature[::-1], "." + signature, "", "x.y", body):
        with pytest.raises(Malformed):
            read_ticket("key", wrong)
    with pytest.raises(Malformed):
        read_ticket("another", text)


def test_se_7_the_mesh_is_the_same_in_any_order():
    assert mesh_digest(["b", "a"]) == mesh_digest(("a", "b")) != mesh_digest(["a"])


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (specs.NetworkSpec, {"vni": 0}),
        (specs.NetworkSpec, {"vni": 2**24}),
        (specs.NetworkSpec, {"network": "not-a-uuid"}),
        (specs.NetworkSpec, {"network": "44444444-0000-4000-8000-000000000004\n"}),
        (specs.NetworkSpec, {"peers": ["198.18.0.999"]}),
        (specs.NetworkSpec, {"peers": "198.18.0.1"}),
        (specs.DhcpHost, {"name": "a b"}),
        (specs.DhcpHost, {"name": "guest\ndhcp-script=/bin/sh"}),
        (specs.DhcpHost, {"mac": "02:00:00:00:00:01,set:x"}),
        (specs.DhcpHost, {"mac": "03:00:00:00:00:01"}),
        (specs.DnsRecord, {"name": "a..b"}),
        (specs.DnsRecord, {"name": "-x"}),
        (specs.DiskSpec, {"device": "../etc"}),
        (specs.DiskSpec, {"bus": "ide"}),
        (specs.DiskSpec, {"size_gb": -1}),
    ],
)
def test_se_13_names_reach_no_configuration_unchecked(kind, wrong):
    good = {
        specs.NetworkSpec: {"network": "44444444-0000-4000-8000-000000000004", "vni": 5},
        specs.DhcpHost: {"mac": "02:00:00:00:00:01", "address": "10.0.0.2", "name": "guest"},
        specs.DnsRecord: {"name": "www", "address": "10.0.0.2"},
        specs.DiskSpec: {"device": "vda", "bus": "virtio", "kind": "disk", "size_gb": 1},
    }[kind]
    load(kind, good)
    with pytest.raises(Malformed):
        load(kind, {**good, **wrong})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_document_gets_past_the_door_with_another_error(document):
    for kind in (StepMessage, Outcome, Report, ReportAnswer, specs.InstanceSpec, specs.RouterSpec):
        try:
            load(kind, document)
        except Malformed:
            pass
