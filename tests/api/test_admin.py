"""The administration: for staff, read-only, constant queries, actions that are requests."""

import uuid
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from sftasks.schedule import RECONCILERS, task_name
from sfweb.admin.cluster import PeriodicTaskForm
from sfweb.models import ConsoleTicket, Event, IdempotencyKey, Instance, Key, NodeCredential, Operation, Step
from sfweb.models.state import OperationState, State
from tests.api.test_auth import sign_in
from tests.api.test_query_counts import (
    grow_addresses,
    grow_artifacts,
    grow_events,
    grow_instances,
    grow_networks,
    grow_nodes,
    grow_operations,
    grow_schedules,
    grow_ticks,
)
from tests.api.world import DIGEST, World, make_schedule

PAGES = sorted((model._meta.app_label, model._meta.model_name) for model in admin.site._registry)


@pytest.fixture
def staff(world: World) -> Client:
    return sign_in("system")


@pytest.mark.parametrize(("app", "name"), PAGES)
def test_every_page_opens_and_can_be_searched(staff: Client, world: World, app: str, name: str):
    assert staff.get(f"/admin/{app}/{name}/").status_code == 200
    assert staff.get(f"/admin/{app}/{name}/?q=x").status_code == 200
    model = next(model for model in admin.site._registry if model._meta.label_lower == f"{app}.{name}")
    row = model.objects.first()
    if row is not None:
        assert staff.get(f"/admin/{app}/{name}/{row.pk}/change/").status_code == 200


def test_se_18_the_administration_is_for_staff(world: World):
    assert Client().get("/admin/", follow=True).redirect_chain[-1][0] == "/login?next=/admin/"
    owner = sign_in("owner")
    assert owner.get("/admin/sfweb/instance/").status_code in (302, 403)
    assert owner.get("/admin/login/?next=/admin/").status_code == 403
    token = world.person("system").token
    assert Client().get("/admin/", HTTP_AUTHORIZATION=f"Bearer {token}").status_code == 302


def test_every_table_of_ours_has_a_page_but_credentials_and_tickets():
    from django.apps import apps

    missing = set(apps.get_app_config("sfweb").get_models()) - set(admin.site._registry)
    assert missing == {ConsoleTicket, NodeCredential}


@pytest.mark.parametrize(
    ("page", "grow"),
    [
        ("sfweb/instance", grow_instances),
        ("sfweb/disk", grow_instances),
        ("sfweb/interface", grow_instances),
        ("sfweb/metadata", grow_instances),
        ("sfweb/network", grow_networks),
        ("sfweb/artifact", grow_artifacts),
        ("sfweb/artifactversion", grow_artifacts),
        ("sfweb/blob", grow_artifacts),
        ("sfweb/bloblocation", grow_artifacts),
        ("sfweb/node", grow_nodes),
        ("sfweb/nodecapacity", grow_nodes),
        ("sfweb/schedule", grow_schedules),
        ("sfweb/tick", grow_ticks),
        ("sfweb/operation", grow_operations),
        ("sfweb/step", grow_operations),
        ("sfweb/operationtarget", grow_operations),
        ("sfweb/event", grow_events),
        ("sfweb/eventobject", grow_events),
        ("sfweb/address", grow_addresses),
    ],
)
def test_a_page_costs_the_same_at_any_length(staff: Client, world: World, page: str, grow: Any):
    costs, before = [], 0
    for size in (2, 40):
        grow(world, before, size)
        before = size
        with CaptureQueriesContext(connection) as asked:
            assert staff.get(f"/admin/{page}/").status_code == 200
        costs.append(len(asked))
    assert costs[0] == costs[1], costs


def test_states_cannot_be_edited(staff: Client, world: World):
    path = f"/admin/sfweb/instance/{world.instance.pk}/change/"
    assert staff.post(path, {"state": "deleted", "name": "x"}).status_code == 403
    assert staff.post(f"/admin/sfweb/instance/{world.instance.pk}/delete/").status_code == 403
    assert staff.get("/admin/sfweb/instance/add/").status_code == 403
    assert Instance.objects.get(pk=world.instance.pk).name == "one"


def test_se_16_no_page_shows_a_secret(staff: Client, world: World):
    Instance.objects.update(user_data="c2VjcmV0", ssh_key="ssh-rsa secret")
    IdempotencyKey.objects.create(
        namespace=world.owner, key="i", path="/x", body_digest="d", status=200, answer={"a": "secret answer"}
    )
    command = make_schedule(world.instance, kind="execute", arguments={"command_line": "login secret"})
    for path, hidden in (
        (f"schedule/{command.pk}", ("login secret",)),
        (f"instance/{world.instance.pk}", ("c2VjcmV0", "ssh-rsa")),
        (f"key/{Key.objects.get(namespace=world.owner).pk}", (DIGEST, "nonce of owner")),
        (f"idempotencykey/{IdempotencyKey.objects.get().pk}", ("secret answer",)),
    ):
        page = staff.get(f"/admin/sfweb/{path}/change/").content.decode()
        assert not [text for text in hidden if text in page]


def act(staff: Client, page: str, action: str, *rows: Any) -> str:
    answer = staff.post(
        f"/admin/sfweb/{page}/", {"action": action, "_selected_action": [row.pk for row in rows]}, follow=True
    )
    assert answer.status_code == 200
    return answer.content.decode()


def test_deleting_instances_is_an_operation(staff: Client, world: World):
    assert "1 requested" in act(staff, "instance", "delete_instances", world.instance)
    operation = Operation.objects.get(kind="instance_delete")
    assert operation.requested_by == "system/k"
    assert operation.request_id


def test_a_refusal_is_told_and_does_not_stop_the_others(staff: Client, world: World):
    ended = Operation.objects.create(
        kind="instance_power", object_key=f"instance:{uuid.uuid4()}", state=OperationState.SUCCEEDED
    )
    text = act(staff, "operation", "cancel_operations", ended, world.operation)
    assert "the operation is succeeded already" in text
    assert "1 requested" in text


def test_nodes_are_drained_from_their_page(staff: Client, world: World):
    act(staff, "node", "drain_nodes", world.node)
    world.node.refresh_from_db()
    assert world.node.cordoned
    assert Operation.objects.get(kind="node_drain").requested_by == "system/k"


def test_cordoning_is_told_to_the_node(staff: Client, world: World):
    act(staff, "node", "cordon_nodes", world.node)
    world.node.refresh_from_db()
    assert world.node.cordoned
    assert Event.objects.get(message__startswith="node cordoned").message == "node cordoned by system/k"
    act(staff, "node", "uncordon_nodes", world.node)
    world.node.refresh_from_db()
    assert not world.node.cordoned


def test_ro_3_operators_pause_and_resume_schedules(staff: Client, world: World):
    page = staff.get("/admin/sfweb/schedule/").content.decode()
    assert "nightly" in page and "0 3 * * * UTC" in page
    for action, state in (("pause_schedules", "paused"), ("resume_schedules", "created")):
        assert "1 requested" in act(staff, "schedule", action, world.schedule)
        world.schedule.refresh_from_db()
        assert world.schedule.state == state
    assert Event.objects.filter(message="recurring operation resumed by system/k").exists()


def test_deleting_networks_is_an_operation(staff: Client, world: World):
    Instance.objects.update(state=State.DELETED)
    world.interface.delete()
    act(staff, "network", "delete_networks", world.network)
    assert Operation.objects.filter(kind="network_delete").exists()


@pytest.mark.django_db
def test_se_17_periodic_tasks_are_our_reconcilers_and_nothing_else():
    interval = IntervalSchedule.objects.create(every=10, period="seconds")
    asked = {"name": "mine", "interval": interval.pk, "enabled": True}
    known = task_name(next(iter(RECONCILERS)))
    assert PeriodicTaskForm(asked | {"task": known}).is_valid()
    for task in ("os.system", "celery.backend_cleanup", ""):
        assert not PeriodicTaskForm(asked | {"task": task}).is_valid()
    form = PeriodicTaskForm(asked | {"task": known, "args": '["x"]', "queue": "node.x", "kwargs": '{"a": 1}'})
    row = form.save()
    assert (row.args, row.kwargs, row.queue) == ("[]", "{}", None)


def test_se_17_the_form_changes_a_period(staff: Client, world: World):
    interval = IntervalSchedule.objects.create(every=10, period="seconds")
    other = IntervalSchedule.objects.create(every=20, period="seconds")
    name = next(iter(RECONCILERS))
    row = PeriodicTask.objects.create(name=name, task=task_name(name), interval=interval, queue="control")
    staff.post(
        f"/admin/django_celery_beat/periodictask/{row.pk}/change/",
        {"name": name, "task": task_name(name), "interval": other.pk, "enabled": "on"},
    )
    row.refresh_from_db()
    assert (row.interval_id, row.queue) == (other.pk, "control")


def test_a_step_links_to_its_message(staff: Client, world: World, settings: Any):
    token = str(uuid.uuid4())
    Step.objects.create(
        operation=world.operation,
        stage=0,
        node=world.node,
        action="ensure_instance",
        object_type="instance",
        object_uuid=world.instance.uuid,
        token=token,
    )
    assert f"/task/{token}" not in staff.get("/admin/sfweb/step/").content.decode()
    settings.FLOWER_URL = "http://flower.example/"
    assert f'href="http://flower.example/task/{token}"' in staff.get("/admin/sfweb/step/").content.decode()
