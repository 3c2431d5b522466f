"""What every request and answer has in common: bodies on every verb, answers that are never empty, headers, repeats."""

import json
import re
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import get_resolver

from sfweb.api.root import CAPABILITIES
from sfweb.domain.instance_rules import new_instance
from sfweb.models import IdempotencyKey, Instance, Network, Operation
from sfweb.models.fields import FromNow
from sfweb.models.state import State
from tests.api.world import Person, World, make_instance

NEW = {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}]}


def test_the_root_is_public_and_has_exactly_the_capabilities(world: World):
    page = Client().get("/")
    assert page.status_code == 200
    assert page["Content-Type"].startswith("text/html")
    text = page.content.decode()
    for tokens in CAPABILITIES.values():
        for token in tokens:
            assert token in text
    assert " artifact-upload-types" not in text


def test_two_leading_slashes_are_one(world: World):
    body = {"namespace": "nowhere", "key": "k"}
    answer = Client().post("/", body, content_type="application/json", PATH_INFO="//auth")
    assert answer.status_code == 404
    assert "namespace not found" in answer.json()["error"]


def test_a_trailing_slash_is_another_address(owner: Person):
    assert owner.get("/instances/").status_code == 404


def test_get_and_delete_read_json_bodies(owner: Person, world: World):
    Instance.objects.filter(pk=world.instance.pk).update(state=State.DELETED)
    assert owner.get("/instances", {"all": False}).json() == []
    assert len(owner.get("/instances", {"all": True}).json()) == 1
    assert len(owner.get("/instances?all=true").json()) == 1
    assert owner.get("/instances?all=true", {"all": False}).json() == [], "the body wins"


def test_a_body_is_json_whatever_its_content_type(owner: Person):
    sent = {"HTTP_AUTHORIZATION": f"Bearer {owner.token}"}
    for kind in ("text/plain", "application/octet-stream", "application/x-www-form-urlencoded", ""):
        answer = Client().generic("GET", "/instances", b'{"all": "nonsense"}', kind, **sent)
        assert answer.status_code == 400


def test_null_is_absent(owner: Person):
    nothing = dict.fromkeys(("ssh_key", "user_data", "namespace", "video", "configdrive", "metadata", "nvram_template"))
    answer = owner.post("/instances", NEW | nothing | {"network": None, "side_channels": None, "uefi": False})
    assert answer.status_code == 200
    view = answer.json()
    assert view["namespace"] == "owner"
    assert view["video"] == {"model": "cirrus", "memory": 16384, "vdi": "spice"}
    assert view["side_channels"] == ["sf-agent", "sf-agent2"]
    assert view["configdrive"] == "openstack-disk"


@pytest.mark.parametrize("said", [False, "false", "False", "0", 0, "no"])
def test_iv_1_text_that_says_false_is_false(owner: Person, said: Any):
    assert owner.post("/instances", NEW | {"uefi": said}).json()["uefi"] is False


def test_numbers_may_come_as_text_as_the_client_sends_some(owner: Person, world: World):
    assert owner.get(f"/instances/{world.instance.uuid}/events", {"limit": "5"}).status_code == 200


def test_an_empty_answer_is_null(owner: Person, world: World):
    answer = owner.put(f"/instances/{world.instance.uuid}/metadata/k", {"value": 1})
    assert answer.content == b"null"
    assert owner.delete(f"/instances/{world.instance.uuid}/metadata/k").content == b"null"
    assert owner.delete(f"/instances/{world.instance.uuid}/metadata/absent").content == b"null"


def test_json_answers_set_no_cookie_and_name_the_request(owner: Person):
    answer = owner.get("/instances", x_request_id="my-own-request-1")
    assert not answer.cookies
    assert answer["X-Request-ID"] == "my-own-request-1"
    assert owner.get("/instances", x_request_id="bad id\t")["X-Request-ID"] != "bad id\t"


def test_creating_names_the_operation(owner: Person):
    answer = owner.post("/instances", NEW, x_request_id="trace-me-please")
    operation = Operation.objects.get(kind="instance_create", request_id="trace-me-please")
    assert answer.status_code == 200
    assert answer["Link"] == f'<http://testserver/operations/{operation.uuid}>; rel="operation"'
    view = answer.json()
    assert view["last_cluster_operation"] == {"op_type": "instance_create", "op_uuid": str(operation.uuid)}
    assert view["has_pending_operations"] is True
    assert view["node"] == "n1"
    assert view["state"] in ("initial", "creating")


def test_respond_async_answers_with_the_operation(owner: Person):
    answer = owner.post("/instances", NEW, prefer="respond-async")
    assert answer.status_code == 202
    assert answer["Preference-Applied"] == "respond-async"
    assert answer["Location"].endswith(answer.json()["uuid"])
    assert answer.json()["kind"] == "instance_create"


def test_the_outside_address_is_used_where_it_is_known(owner: Person, settings: Any):
    settings.API_PUBLIC_URL = "https://cloud.example/api"
    assert owner.post("/instances", NEW)["Link"].startswith("<https://cloud.example/api/operations/")


def test_no_capacity_is_507_with_its_stage(owner: Person):
    answer = owner.post("/instances", NEW | {"cpus": 512})
    assert answer.status_code == 507
    assert answer.json()["code"] == "no_capacity"


def test_transient_no_capacity_says_when_to_come_back(owner: Person, world: World):
    type(world.node).objects.update(cordoned=True)
    answer = owner.post("/upload")
    assert answer.status_code == 507
    assert answer["Retry-After"] == "15"
    assert answer.json()["details"]["stage"]


def test_a_network_that_is_not_ready_is_406(owner: Person, world: World):
    Network.objects.filter(pk=world.network.pk).update(state=State.INITIAL)
    answer = owner.post("/instances", NEW | {"network": [{"network_uuid": "net"}]})
    assert answer.status_code == 406


def test_deleting_a_network_is_202_with_the_handle(owner: Person):
    network = owner.post("/networks", {"name": "going", "netblock": "10.7.0.0/24"}).json()
    answer = owner.delete(f"/networks/{network['uuid']}")
    assert answer.status_code == 202
    assert set(answer.json()) == {"op_type", "op_uuid"}
    view = owner.get(f"/clusteroperations/{answer.json()['op_type']}/{answer.json()['op_uuid']}").json()
    assert view["state"] in ("queued", "executing", "complete")


def test_deleting_all_networks_answers_handles(owner: Person, world: World):
    Instance.objects.filter(pk=world.instance.pk).update(state=State.DELETED)
    world.interface.delete()
    answer = owner.delete("/networks", {"confirm": True, "namespace": None, "clean_wait": False})
    assert answer.status_code == 202
    assert [set(handle) for handle in answer.json()] == [{"network_uuid", "op_type", "op_uuid"}]


def test_networks_in_use_cannot_be_deleted_all_at_once(owner: Person, world: World):
    answer = owner.delete("/networks", {"confirm": True})
    assert answer.status_code == 403
    assert answer.json()["error"] == {"deleted": [], "unable": [str(world.network.uuid)]}


def test_deleting_all_instances_answers_uuids(owner: Person, world: World):
    assert owner.delete("/instances", {"confirm": True}).json() == [str(world.instance.uuid)]


def test_a_deleted_instance_is_readable_by_uuid_and_not_by_name(owner: Person, world: World):
    Instance.objects.filter(pk=world.instance.pk).update(state=State.DELETED)
    assert owner.get(f"/instances/{world.instance.uuid}").json()["state"] == "deleted"
    assert owner.get("/instances/one").status_code == 404
    assert owner.delete(f"/instances/{world.instance.uuid}").status_code == 404


def test_an_ambiguous_name_is_400(owner: Person, world: World):
    make_instance(world.owner, "one", world.node)
    answer = owner.get("/instances/one")
    assert answer.status_code == 400
    assert answer.json()["error"] == 'multiple instances have the name "one" in namespace "owner"'


def test_a_namespace_scopes_the_lookup(system: Person, world: World):
    assert system.get("/instances/one", {"namespace": "owner"}).status_code == 200
    assert system.get("/instances/one", {"namespace": "other"}).status_code == 404


def test_power_that_does_not_fit_is_409(owner: Person, world: World):
    answer = owner.post(f"/instances/{world.instance.uuid}/poweroff")
    assert owner.post(f"/instances/{world.instance.uuid}/pause").status_code == 409
    assert answer.status_code == 200
    assert answer.content == b"null"
    assert 'rel="operation"' in answer["Link"]


def test_an_idempotency_key_makes_one_instance(owner: Person):
    first = owner.post("/instances", NEW, idempotency_key="a")
    again = owner.post("/instances", NEW, idempotency_key="a")
    assert again.status_code == 200
    assert again.json() == first.json()
    assert again["Link"] == first["Link"]
    assert Instance.objects.filter(name="new").count() == 1


def test_an_idempotency_key_is_for_one_body_and_address(owner: Person):
    owner.post("/instances", NEW, idempotency_key="a")
    other_body = owner.post("/instances", NEW | {"cpus": 2}, idempotency_key="a")
    assert (other_body.status_code, other_body.json()["code"]) == (409, "idempotency_mismatch")
    other_address = owner.post("/networks", {"name": "n", "netblock": "10.8.0.0/24"}, idempotency_key="a")
    assert other_address.status_code == 409


def test_an_idempotency_key_belongs_to_its_namespace(owner: Person, other: Person):
    first = owner.post("/networks", {"name": "n", "netblock": "10.8.0.0/24"}, idempotency_key="a").json()
    second = other.post("/networks", {"name": "n", "netblock": "10.8.0.0/24"}, idempotency_key="a").json()
    assert first["uuid"] != second["uuid"]


def test_a_refused_request_may_be_repeated_with_its_idempotency_key(owner: Person, world: World):
    type(world.node).objects.update(cordoned=True)
    assert owner.post("/instances", NEW, idempotency_key="a").status_code == 507
    type(world.node).objects.update(cordoned=False)
    assert owner.post("/instances", NEW, idempotency_key="a").status_code == 200


def test_a_repeat_is_answered_from_the_rows_when_the_process_ended_after_its_commit(
    owner: Person, monkeypatch: pytest.MonkeyPatch
):
    def dies(*_: Any) -> Any:
        raise RuntimeError("the process ended here")

    monkeypatch.setattr("sfweb.api.instances.started", dies)
    with pytest.raises(RuntimeError):
        owner.post("/instances", NEW, idempotency_key="a")
    answer = owner.post("/instances", NEW, idempotency_key="a")
    assert answer.status_code == 200
    assert answer.json()["uuid"] == str(Instance.objects.get(name="new").pk)
    assert 'rel="operation"' in answer["Link"]


def test_a_repeat_does_it_when_the_process_ended_before_its_commit(owner: Person, monkeypatch: pytest.MonkeyPatch):
    class Killed(BaseException):
        pass

    def dies(*_: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("sfweb.api.instances.new_instance", dies)
        owner.post("/instances", NEW, idempotency_key="a")
    early = owner.post("/instances", NEW, idempotency_key="a")
    assert (early.status_code, early.json()["code"]) == (409, "idempotency_unfinished")
    IdempotencyKey.objects.update(created_at=FromNow(-60))
    assert owner.post("/instances", NEW, idempotency_key="a").status_code == 200
    assert Instance.objects.filter(name="new").count() == 1


def test_a_request_undoes_itself_when_a_repeat_took_its_key_over(owner: Person, monkeypatch: pytest.MonkeyPatch):
    def is_slow(*arguments: Any) -> Any:
        IdempotencyKey.objects.all().delete()
        return new_instance(*arguments)

    monkeypatch.setattr("sfweb.api.instances.new_instance", is_slow)
    answer = owner.post("/instances", NEW, idempotency_key="a")
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_unfinished")
    assert not Instance.objects.filter(name="new").exists()


@pytest.mark.parametrize("key", ["", "x" * 129, "a\tb"])
def test_a_malformed_idempotency_key_is_400(owner: Person, key: str):
    assert owner.post("/instances", NEW, idempotency_key=key).status_code == 400


def test_what_nobody_expected_is_500_without_its_cause(owner: Person, monkeypatch: pytest.MonkeyPatch):
    def breaks(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret cause")

    monkeypatch.setattr("sfweb.api.instances.instance_views", breaks)
    client = Client(raise_request_exception=False)
    answer = client.get("/instances", HTTP_AUTHORIZATION=f"Bearer {owner.token}")
    assert answer.status_code == 500
    told = json.loads(answer.content)
    assert told["error"] == "internal error"
    assert told["request_id"] == answer["X-Request-ID"]


def test_a_list_can_be_paged(owner: Person, world: World):
    names = ["one", *(make_instance(world.owner, f"i{n}", world.node).name for n in range(4))]
    assert [row["name"] for row in owner.get("/instances?limit=2&offset=1").json()] == names[1:3]


def test_the_openapi_document_lists_every_address(owner: Person):
    document = owner.get("/openapi.json").json()
    routes = {
        re.sub("<(?:str|int|path):", "{", f"/{pattern.pattern}").replace(">", "}")
        for pattern in get_resolver().url_patterns[-1].url_patterns
    }
    assert set(document["paths"]) == routes
    fields = document["components"]["schemas"]["NewInstanceInput"]["properties"]
    assert {"name", "cpus", "disk", "network"} <= set(fields)


def test_the_openapi_document_is_made_without_a_warning():
    call_command("spectacular", "--fail-on-warn", "--validate", "--file", "/dev/null")


def test_the_documentation_needs_nothing_from_elsewhere(owner: Person):
    for path in ("/docs/", "/docs/redoc/"):
        text = owner.get(path, accept="text/html").content.decode()
        assert "/static/drf_spectacular_sidecar/" in text
        assert "cdn." not in text
    static = Client().get("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css")
    assert static.status_code == 200
    static.getvalue()
