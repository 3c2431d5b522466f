"""Reading events: newest first, bounded, by who may read the object; and what is never in one (EV-7, EV-8, EV-17)."""

import uuid

import pytest

from sfweb.domain.events import record
from sfweb.models import Event
from tests.api.world import Person, World

SECRETS = ("first-secret-of-a-key", "c2VjcmV0IG9mIGNsb3VkLWluaXQ=", "ssh-rsa AAAAsecret", "echo secret-of-a-command")


def several(world: World, number: int) -> str:
    for count in range(number):
        record("audit", f"m{count}", [("instance", world.instance.uuid)])
    return f"/instances/{world.instance.uuid}/events"


def test_ev_7_a_hundred_unless_asked_and_what_a_limit_may_say(owner: Person, world: World):
    path = several(world, 130)
    assert [row["message"] for row in owner.get(path).json()[:2]] == ["m129", "m128"]
    for asked, told in ((None, 100), (0, 100), (-5, 100), (7, 7), ("7", 7), (99999, 130)):
        assert len(owner.get(path, {"limit": asked}).json()) == told, asked
    only = owner.get(path, {"event_type": "mutate"}).json()
    assert only == []
    first = owner.get(path, {"limit": 1}).json()[0]
    assert {"event_uuid", "event_type", "timestamp", "fqdn", "duration", "message", "extra", "request_id"} <= set(first)


def test_ev_7_the_cap_is_a_thousand(owner: Person, world: World):
    path = several(world, 1003)
    answer = owner.get(path, {"limit": 5000})
    assert len(answer.json()) == 1000
    rest = answer["Link"].partition(">")[0].removeprefix("<http://testserver")
    assert [row["message"] for row in owner.get(rest).json()] == ["m2", "m1", "m0"]


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/instances/INSTANCE/events", "other", 404),
        ("/networks/NETWORK/events", "other", 404),
        ("/artifacts/ARTIFACT/events", "other", 404),
        ("/artifacts/ARTIFACT/events", "trusted", 200),
        ("/nodes/n1/events", "owner", 401),
        ("/nodes/n1/events", "system", 200),
        ("/blobs/BLOB/events", "other", 404),
        ("/blobs/BLOB/events", "owner", 200),
        ("/operations/OPERATION/events", "other", 404),
    ],
)
def test_ev_8_events_are_for_who_may_read_the_object(world: World, path: str, who: str, status: int):
    for name in ("instance", "network", "artifact", "blob", "operation"):
        path = path.replace(name.upper(), str(getattr(world, name).uuid))
    assert world.person(who).get(path).status_code == status


def test_ev_17_nothing_secret_is_in_any_event(owner: Person, world: World):
    key, user_data, ssh_key, command = SECRETS
    owner.post("/auth/namespaces/owner/keys", {"key_name": "n", "key": key})
    made = owner.post("/auth/namespaces/owner/keys", {"key_name": "made"}).json()["key"]
    owner.post("/auth", {"namespace": "owner", "key": key})
    guest = {"name": "new", "cpus": 1, "memory": 64, "disk": [{"size": 1}], "user_data": user_data, "ssh_key": ssh_key}
    assert owner.post("/instances", guest).status_code == 200
    owner.post(f"/instances/{world.instance.uuid}/agent/execute", {"command_line": command})
    owner.post(f"/instances/{world.instance.uuid}/console")
    assert Event.objects.count() > 3
    for told in Event.objects.all():
        text = f"{told.message} {told.extra}"
        assert not [secret for secret in (*SECRETS, made) if secret in text], text


def test_a_page_after_an_event_that_is_not_this_objects_is_refused(owner: Person, world: World):
    answer = owner.get(f"/instances/{world.instance.uuid}/events", {"before": str(uuid.uuid4())})
    assert (answer.status_code, answer.json()["error"]) == (400, "before: there is no such event of this object")
