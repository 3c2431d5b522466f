"""Tokens, keys, sessions, trust."""

import datetime
from typing import Any

import jwt
import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from sfweb.domain import keys
from sfweb.models import Key, Namespace
from sfweb.models.fields import FromNow
from tests.api.world import SECRET, Person, World


def get_token(namespace: str, key: str) -> Any:
    return Person().post("/auth", {"namespace": namespace, "key": key})


def test_a_key_gives_a_token_that_opens_the_door(world: World):
    answer = get_token("owner", SECRET)
    assert answer.status_code == 200
    told = answer.json()
    assert told["token_type"] == "Bearer"
    assert told["expires_in"] == 900
    assert Person(told["access_token"]).get("/instances").status_code == 200


def test_se_16_the_token_says_who_and_for_how_long(world: World, settings: Any):
    token = get_token("owner", SECRET).json()["access_token"]
    claims = jwt.decode(token, settings.AUTH_SECRET, algorithms=["HS256"])
    assert claims["sub"] == "owner/k"
    assert claims["iss"] == settings.ZONE
    assert claims["nonce"] == "nonce of owner"
    assert SECRET not in token


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"namespace": "owner"}, 400),
        ({"key": "x"}, 400),
        ({"namespace": "owner", "key": 5}, 400),
        ({"namespace": "owner", "key": None}, 400),
        ({"namespace": "nowhere", "key": "x"}, 404),
        ({"namespace": "owner", "key": "wrong"}, 401),
        ({"namespace": "owner", "key": "sfk_" + "0" * 38}, 401),
    ],
)
def test_what_auth_refuses(world: World, body: Any, status: int):
    assert Person().post("/auth", body).status_code == status


def forged(settings: Any, **changes: Any) -> str:
    claims = {
        "sub": "owner/k",
        "iss": settings.ZONE,
        "nonce": "nonce of owner",
        "exp": datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1),
    } | changes
    secret = claims.pop("secret", settings.AUTH_SECRET)
    algorithm = claims.pop("algorithm", "HS256")
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, secret, algorithm=algorithm)


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": "another secret that is long enough, too"},
        {"algorithm": "none", "secret": None},
        {"algorithm": "HS384"},
        {"iss": "elsewhere"},
        {"nonce": "of yesterday"},
        {"nonce": None},
        {"exp": None},
        {"sub": "owner/other"},
        {"sub": "nowhere/k"},
        {"sub": "owner"},
        {"sub": "/"},
        {"exp": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)},
    ],
    ids=str,
)
def test_se_16_another_token_is_401_with_a_challenge(world: World, settings: Any, changes: dict[str, Any]):
    answer = Person(forged(settings, **changes)).get("/instances")
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert not answer.cookies


@pytest.mark.parametrize("header", ["Basic eDp5", "Bearer", "Bearer ", "nonsense", "Bearer a.b.c"])
def test_a_malformed_header_is_401(world: World, header: str):
    assert Client().get("/instances", HTTP_AUTHORIZATION=header).status_code == 401


def test_au_1_rotation_keeps_the_uuid_and_ends_the_old_tokens(owner: Person, world: World):
    before = Key.objects.get(namespace=world.owner)
    Key.objects.filter(pk=before.pk).update(expires_at=FromNow(3600))
    assert owner.put("/auth/namespaces/owner/keys", {"key_name": "k", "key": "new"}).json() == "k"
    after = Key.objects.get(namespace=world.owner)
    assert after.uuid == before.uuid
    assert after.expires_at is None
    assert after.nonce != before.nonce
    assert owner.get("/instances").status_code == 401
    assert get_token("owner", SECRET).status_code == 401
    assert get_token("owner", "new").status_code == 200


def test_au_2_one_query_proves_a_token(owner: Person):
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert owner.get("/auth/namespaces/x/keys").status_code == 404
    about_keys = [query["sql"] for query in asked.captured_queries if "namespace_keys" in query["sql"]]
    assert len(about_keys) == 1
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {about_keys[0]}")
        assert {row[3] for row in cursor.fetchall()} == {"const"}, "a point read by unique indexes"


def test_au_3_an_expired_key_neither_gives_nor_keeps_a_token(owner: Person, world: World):
    Key.objects.filter(namespace=world.owner).update(expires_at=FromNow(-1))
    assert owner.get("/instances").status_code == 401
    assert get_token("owner", SECRET).status_code == 401


def test_au_3_a_token_does_not_outlive_its_key(world: World):
    Key.objects.filter(namespace=world.owner).update(expires_at=FromNow(60))
    assert 50 <= get_token("owner", SECRET).json()["expires_in"] <= 60


def test_a_deleted_namespace_has_no_tokens(world: World, system: Person):
    person = world.person("other")
    assert system.delete("/auth/namespaces/other").status_code == 200
    assert person.get("/instances").status_code == 401


@pytest.mark.parametrize(
    ("name", "secret", "status"),
    [
        ("_service_key_x", "s", 403),
        ("service_key", "s", 403),
        ("a/b", "s", 400),
        ("", "s", 400),
        ("n", "", 400),
        ("n", "sfk_mine", 400),
        ("n" * 65, "s", 400),
    ],
)
def test_au_4_reserved_names_and_secrets(owner: Person, name: str, secret: str, status: int):
    answer = owner.post("/auth/namespaces/owner/keys", {"key_name": name, "key": secret})
    assert answer.status_code == status


def test_au_5_a_generated_secret_is_shown_once_and_works(owner: Person):
    answer = owner.post("/auth/namespaces/owner/keys", {"key_name": "made"}, idempotency_key="again")
    secret = answer.json()["key"]
    assert answer["Cache-Control"] == "no-store"
    assert secret.startswith("sfk_")
    assert len(secret) == 42
    assert get_token("owner", secret).status_code == 200
    from sfweb.models import IdempotencyKey

    assert not IdempotencyKey.objects.exists()


def test_au_5_a_damaged_secret_is_refused_before_bcrypt(world: World, monkeypatch: pytest.MonkeyPatch):
    secret = keys.generate_secret()
    damaged = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    monkeypatch.setattr(keys, "_fits", lambda *_: pytest.fail("bcrypt was asked"))
    assert get_token("owner", damaged).status_code == 401


def test_au_7_the_last_lasting_key_of_system_stays(system: Person):
    assert system.delete("/auth/namespaces/system/keys/k").status_code == 403
    assert system.post("/auth/namespaces/system/keys", {"key_name": "two", "key": "s"}).status_code == 200
    assert system.delete("/auth/namespaces/system/keys/k").status_code == 200


def test_long_and_odd_secrets_differ_where_bcrypt_would_not(owner: Person):
    long = "x" * 100
    assert owner.post("/auth/namespaces/owner/keys", {"key_name": "long", "key": long}).status_code == 200
    assert get_token("owner", "x" * 101).status_code == 401
    assert get_token("owner", long).status_code == 200


def test_se_16_keys_are_names_only(owner: Person):
    for path in ("/auth/namespaces/owner", "/auth/namespaces/owner/keys"):
        text = owner.get(path).content.decode()
        assert '"k"' in text
        assert "nonce" not in text
        assert "$2" not in text


def test_trust_opens_the_namespace_and_its_absence_hides_it(owner: Person, other: Person):
    assert other.get("/auth/namespaces/owner").status_code == 404
    view = owner.post("/auth/namespaces/owner/trust", {"external_namespace": "other"}).json()
    assert view["trust"]["full"] == ["other", "system", "trusted"]
    assert other.get("/auth/namespaces/owner").status_code == 200
    assert owner.delete("/auth/namespaces/owner/trust/other").json()["trust"]["full"] == ["system", "trusted"]
    assert other.get("/auth/namespaces/owner").status_code == 404


def test_trust_in_system_stays_silently(owner: Person):
    view = owner.delete("/auth/namespaces/owner/trust/system").json()
    assert "system" in view["trust"]["full"]


def test_the_name_of_a_deleted_namespace_stays_taken(system: Person):
    assert system.delete("/auth/namespaces/other").status_code == 200
    assert system.post("/auth/namespaces", {"namespace": "other"}).status_code == 403
    assert "other" not in [row["name"] for row in system.get("/auth/namespaces").json()]


def test_a_namespace_with_things_in_it_stays(system: Person):
    answer = system.delete("/auth/namespaces/owner")
    assert answer.status_code == 400
    assert Namespace.objects.get(name="owner").state == "created"


def test_au_11_hc_22_an_outage_is_503_and_never_401_or_404(owner: Person, monkeypatch: pytest.MonkeyPatch):
    def gone(*_: Any, **__: Any) -> Any:
        raise OperationalError(2002, "Can't connect to server")

    monkeypatch.setattr("sfweb.domain.keys._proven", gone)
    for answer in (owner.get("/instances"), get_token("owner", SECRET), owner.get("/instances/x")):
        assert answer.status_code == 503
        assert answer.json()["code"] == "unavailable"
        assert answer["Retry-After"] == "15"


def sign_in(namespace: str, key: str = SECRET) -> Client:
    client = Client()
    client.post("/login", {"namespace": namespace, "key": key})
    return client


def test_people_sign_in_with_namespace_and_key(world: World):
    client = sign_in("owner")
    assert client.get("/instances").status_code == 200
    assert "steadyfist_session" in client.cookies
    assert sign_in("owner", "wrong").get("/instances").status_code == 401
    assert sign_in("nowhere").get("/instances").status_code == 401


def test_a_session_sees_what_its_key_sees(world: World):
    assert sign_in("owner").get(f"/instances/{world.instance.uuid}").status_code == 200
    assert sign_in("other").get(f"/instances/{world.instance.uuid}").status_code == 404


def test_a_session_ends_with_its_key(world: World):
    client = sign_in("owner")
    Key.objects.filter(namespace=world.owner).update(nonce="another")
    assert client.get("/instances").status_code == 401


def test_a_session_needs_the_csrf_token_to_change_anything(world: World):
    client = Client(enforce_csrf_checks=True)
    client.cookies = sign_in("owner").cookies
    answer = client.post("/upload", b"{}", content_type="application/json")
    assert answer.status_code == 403, answer.content


def test_the_session_is_not_looked_at_beside_a_token(world: World):
    client = sign_in("owner")
    assert client.get("/instances", HTTP_AUTHORIZATION="Bearer nonsense").status_code == 401


def test_browsers_get_pages_and_machines_get_json(world: World):
    browser = sign_in("owner")
    page = browser.get("/instances", HTTP_ACCEPT="text/html,application/xhtml+xml,*/*;q=0.8")
    assert page["Content-Type"].startswith("text/html")
    assert browser.get("/instances", HTTP_ACCEPT="*/*")["Content-Type"] == "application/json"
    assert browser.get("/instances", HTTP_ACCEPT="application/xml")["Content-Type"] == "application/json"


def test_a_browser_that_is_not_signed_in_is_sent_to_the_login_page(world: World):
    answer = Client().get("/instances", HTTP_ACCEPT="text/html")
    assert answer.status_code == 302
    assert answer["Location"] == "/login?next=/instances"
    assert Client().get("/login").status_code == 200


def test_the_login_page_leads_nowhere_else(world: World):
    answer = Client().post("/login?next=https://evil.example/", {"namespace": "owner", "key": SECRET})
    assert answer["Location"] == "/docs/"


def test_au_10_what_happens_to_keys_is_told_without_the_secret(owner: Person, world: World):
    owner.post("/auth/namespaces/owner/keys", {"key_name": "two", "key": "hush"})
    owner.delete("/auth/namespaces/owner/keys/two")
    owner.post("/auth/namespaces/owner/trust", {"external_namespace": "other"})
    told = owner.get("/auth/namespaces/owner/events")
    assert [event["message"] for event in told.json()] == [
        "trust in other added by owner/k",
        "key two removed by owner/k",
        "key two added or rotated by owner/k",
    ]
    assert b"hush" not in told.content


def test_au_4_a_generated_key_has_no_reserved_name_either(owner: Person):
    assert owner.post("/auth/namespaces/owner/keys", {"key_name": "service_key_1"}).status_code == 403
