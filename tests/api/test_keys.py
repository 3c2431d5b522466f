"""Keys with an end and with scopes; what a scoped key may not do with keys."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from sfweb.domain.keys import generate_secret
from sfweb.models import Event, Key
from sfweb.models.fields import FromNow
from tests.api.world import SECRET, Person, World, token_of

KEYS = "/auth/namespaces/owner/keys"


def come_in(namespace: str, secret: str) -> Person:
    answer = Person().post("/auth", {"namespace": namespace, "key": secret})
    assert answer.status_code == 200, answer.content
    return Person(answer.json()["access_token"])


def make(person: Person, name: str, path: str = KEYS, **terms: Any) -> Person:
    """A key of the path's namespace, and who comes in with it."""
    answer = person.post(path, {"key_name": name, "key": f"secret of {name}", **terms})
    assert answer.status_code == 200, answer.content
    return come_in(path.split("/")[3], f"secret of {name}")


def test_a_key_is_shown_with_its_scopes_and_its_end_and_without_its_secret(owner: Person):
    make(owner, "ci", scopes=["instance.read", "blob.read"], expires_in=600)
    answer = owner.get(f"{KEYS}/ci")
    told = answer.json()
    assert told["scopes"] == ["blob.read", "instance.read"]
    assert told["expires_at"] - told["created_at"] == pytest.approx(600, abs=2)
    assert (told["name"], told["namespace"], told["state"]) == ("ci", "owner", "created")
    assert not {"digest", "nonce", "key"} & set(told)
    assert owner.get(f"{KEYS}/none").status_code == 404
    assert set(owner.get(KEYS).json()) == {"ci", "k"}, "AU-9: the list is of names"


def test_au_1_a_rotation_clears_the_end_and_never_widens_the_key(owner: Person):
    ci = make(owner, "ci", scopes=["instance.read"], expires_in=600)
    assert owner.put(KEYS, {"key_name": "ci", "key": "another"}).json() == "ci"
    assert ci.get("/instances").status_code == 401
    told = owner.get(f"{KEYS}/ci").json()
    assert (told["expires_at"], told["scopes"]) == (None, ["instance.read"])
    assert owner.put(f"{KEYS}/ci", {"key": "third", "scopes": ["*"]}).status_code == 200
    assert owner.get(f"{KEYS}/ci").json()["scopes"] is None


def test_au_12_a_scoped_key_does_what_its_scopes_say(owner: Person, world: World):
    ci = make(owner, "ci", scopes=["instance.read"])
    assert ci.get("/instances").status_code == 200
    answer = ci.delete(f"/instances/{world.instance.uuid}")
    assert answer.status_code == 403
    assert answer.json()["code"] == "scope_missing"
    assert answer.json()["details"] == {"missing": ["instance.delete"]}
    assert ci.get("/networks").status_code == 403


def test_a_change_of_scopes_counts_from_the_next_request(owner: Person, world: World):
    ci = make(owner, "ci", scopes=["instance.read", "network.read"])
    Key.objects.filter(name="ci").update(scopes=["network.read"])
    assert ci.get("/instances").status_code == 403
    assert ci.get("/networks").status_code == 200


def test_au_17_trust_shows_and_does_not_widen(world: World):
    Key.objects.filter(namespace=world.trusted).update(scopes=["artifact.read", "blob.read"])
    reader = Person(token_of(world.trusted))
    assert reader.get(f"/artifacts/{world.artifact.uuid}").status_code == 200
    assert reader.get(f"/blobs/{world.blob.uuid}/data").status_code == 200
    assert reader.delete(f"/artifacts/{world.artifact.uuid}").status_code == 403
    assert reader.put(f"/blobs/{world.blob.uuid}/metadata/a", {"value": 1}).status_code == 403
    assert reader.get("/auth/namespaces/owner").status_code == 403


def test_au_16_an_administrator_needs_all_three(system: Person, world: World):
    keys = "/auth/namespaces/system/keys"
    admin = make(system, "admin", keys, scopes=["cluster-admin", "node.read"])
    assert admin.get("/nodes").status_code == 200
    assert admin.delete("/nodes/n1").status_code == 403
    plain = make(system, "plain", keys, scopes=["node.*"])
    assert plain.get("/nodes").json()["details"] == {"missing": ["cluster-admin"]}
    foreign = make(world.person("owner"), "foreign", scopes=["cluster-admin", "node.read"])
    assert foreign.get("/nodes").status_code == 401


@pytest.mark.parametrize("scopes", [None, ["*"], ["instance.read"], ["auth.*"], ["cluster-admin"]])
def test_a_scoped_key_makes_no_key_that_may_more(owner: Person, scopes: Any):
    keeper = make(owner, "keeper", scopes=["auth.write", "network.read"])
    asked = {"key_name": "new", "key": "s", "scopes": scopes}
    assert keeper.post(KEYS, asked).status_code == 403
    assert keeper.put(KEYS, {"key_name": "k", "key": "mine now", "scopes": scopes}).status_code == 403
    assert come_in("owner", SECRET), "the unscoped key was not rotated"
    assert "new" not in owner.get(KEYS).json()
    assert keeper.post(KEYS, asked | {"scopes": ["network.read"]}).status_code == 200


def test_au_2_a_removed_key_ends_its_tokens_at_once_and_its_name_is_free_again(owner: Person):
    ci = make(owner, "ci", scopes=["instance.read"])
    before = owner.get(f"{KEYS}/ci").json()["uuid"]
    assert owner.delete(f"{KEYS}/ci").status_code == 200
    assert ci.get("/instances").status_code == 401
    assert owner.get(f"{KEYS}/ci").status_code == 404
    assert owner.delete(f"{KEYS}/ci").status_code == 404
    make(owner, "ci")
    told = owner.get(f"{KEYS}/ci").json()
    assert (told["scopes"], told["uuid"] == before) == (None, False), "AU-7: nothing of the removed one is revived"
    assert ci.get("/instances").status_code == 401


def test_au_3_a_key_ends_by_itself(owner: Person):
    ci = make(owner, "ci", expires_in=600)
    Key.objects.filter(name="ci").update(expires_at=FromNow(-1))
    assert ci.get("/instances").status_code == 401
    assert "ci" not in owner.get(KEYS).json()
    assert owner.get(f"{KEYS}/ci").status_code == 200, "it can be looked at until it is reaped"


@pytest.mark.parametrize(
    "body",
    [
        {"key": "s", "expires_in": 60},
        {"key": "s", "scopes": ["*", "instance.read"], "expires_in": 60},
        {"key": "s", "scopes": ["cluster-admin"]},
        {"scopes": ["instance.read"]},
    ],
    ids=str,
)
def test_au_7_the_last_lasting_key_of_system_stays_as_it_is(system: Person, body: dict[str, Any]):
    answer = system.post("/auth/namespaces/system/keys", {"key_name": "k", **body})
    assert answer.status_code == 403
    assert answer.json()["code"] == "last_key"
    assert come_in("system", SECRET).get("/nodes").status_code == 200
    make(system, "two", "/auth/namespaces/system/keys")
    assert system.post("/auth/namespaces/system/keys", {"key_name": "k", **body}).status_code == 200


def test_au_7_scoped_and_expiring_keys_are_no_lasting_ones(system: Person):
    keys = "/auth/namespaces/system/keys"
    make(system, "scoped", keys, scopes=["cluster-admin"])
    make(system, "short", keys, expires_in=600)
    assert system.delete(f"{keys}/k").status_code == 403
    assert system.delete(f"{keys}/scoped").status_code == 200


@pytest.mark.parametrize(
    "terms",
    [
        {"expires_in": 0},
        {"expires_in": -5},
        {"expires_in": "soon"},
        {"expires_in": 10**10},
        {"scopes": []},
        {"scopes": "instance.read"},
        {"scopes": ["instance.fly"]},
        {"scopes": [5]},
        {"expiry": 5},
    ],
    ids=str,
)
def test_iv_1_terms_that_make_no_sense_are_refused_and_change_nothing(owner: Person, terms: dict[str, Any]):
    before = Key.objects.count()
    assert owner.post(KEYS, {"key_name": "new", "key": "s", **terms}).status_code == 400
    assert owner.put(KEYS, {"key_name": "k", "key": "s", **terms}).status_code == 400
    assert Key.objects.count() == before
    assert come_in("owner", SECRET)


def test_au_10_events_tell_name_scopes_and_end(owner: Person):
    secret = generate_secret()
    make(owner, "ci", scopes=["instance.read"], expires_in=600)
    event = Event.objects.order_by("-at").first()
    assert event is not None
    assert event.extra == {"key": "ci", "scopes": ["instance.read"], "expires_in": 600}
    assert secret not in str(event.extra)


def test_se_18_a_scoped_key_of_system_is_no_staff(system: Person, world: World):
    keys = "/auth/namespaces/system/keys"
    make(system, "scoped", keys, scopes=["cluster-admin", "node.read"])
    browser = Client()
    browser.post("/login", {"namespace": "system", "key": "secret of scoped"})
    assert browser.get("/nodes").status_code == 200
    for page in ("/admin/", "/admin/sfweb/node/", "/health/"):
        assert browser.get(page).status_code in (302, 403), page
    whole = Client()
    whole.post("/login", {"namespace": "system", "key": SECRET})
    assert whole.get("/admin/sfweb/node/").status_code == 200


def test_au_7_an_operator_who_lost_every_secret_of_system_comes_in_again(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sfweb.management.commands.make_key.require_current_schema", lambda: None)
    Key.objects.filter(namespace=world.system).update(scopes=["node.read"], expires_at=FromNow(-5))
    printed = io.StringIO()
    call_command("make_key", "system", "k", stdout=printed)
    assert come_in("system", printed.getvalue().strip()).get("/nodes").status_code == 200
    for words in (("nowhere", "k"), ("system", "service_key"), ("system", "a/b")):
        with pytest.raises(CommandError):
            call_command("make_key", *words)


def test_a_person_with_a_scoped_key_sees_the_pages_that_it_may(owner: Person):
    make(owner, "reader", scopes=["instance.read"])
    browser = Client()
    browser.post("/login", {"namespace": "owner", "key": "secret of reader"})
    assert browser.get("/instances", HTTP_ACCEPT="text/html").status_code == 200
    assert browser.get("/networks", HTTP_ACCEPT="text/html").status_code == 403
    assert browser.get("/auth/namespaces", HTTP_ACCEPT="text/html").status_code == 403
    whole = Client()
    whole.post("/login", {"namespace": "owner", "key": SECRET})
    assert whole.get("/auth/namespaces", HTTP_ACCEPT="text/html").status_code == 200, (
        "though only system may post there"
    )
