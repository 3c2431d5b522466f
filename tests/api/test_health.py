"""Liveness and readiness for load balancers; the page of checks for operators."""

import threading
import time
from typing import Any

import pytest
from django.db import connections
from django.test import Client, RequestFactory

from sfweb.health import answer_livez, answer_readyz, probes
from sfweb.health.readiness import FAILURES, STALE_SECONDS, Checker, Readiness, ask_database
from sfweb.models import BlobHash, Duty, Node
from sfweb.models.fields import FromNow
from tests.api.test_auth import sign_in
from tests.api.world import World


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Checker:
    """A checker that nothing starts."""
    checker = Checker(lambda: None)
    monkeypatch.setattr(checker, "start", lambda: None)
    monkeypatch.setattr(probes, "checker", checker)
    return checker


def test_hc_1_livez_asks_nothing():
    answer = Client().get("/livez")
    assert (answer.status_code, answer.content) == (200, b"ok")


def test_hc_2_readyz_and_healthz_are_one(steady: Checker):
    for path in ("/readyz", "/healthz"):
        assert (Client().get(path).status_code, Client().get(path).content) == (503, b"not ready")
    steady.look()
    for path in ("/readyz", "/healthz"):
        assert (Client().get(path).status_code, Client().get(path).content) == (200, b"ready")


def test_hc_3_probes_are_plain_and_tell_nothing(steady: Checker, caplog: pytest.LogCaptureFixture):
    steady.look()
    for path in ("/livez", "/readyz", "/healthz"):
        answer = Client().get(path, HTTP_AUTHORIZATION="Bearer nonsense", HTTP_HOST="10.1.2.3")
        assert answer.status_code == 200
        assert answer["Content-Type"] == "text/plain"
        assert not answer.cookies
        assert "Set-Cookie" not in answer
    assert [
        record for record in caplog.records if record.levelname == "INFO" and record.name != "sfweb.health.readiness"
    ] == []


def test_hc_4_a_probe_does_no_io(steady: Checker, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a probe must not do this")

    steady.look()
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.connect", refuse)
    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.cursor", refuse)
    request = RequestFactory().get("/readyz")
    for _ in range(1000):
        assert answer_readyz(request).status_code == 200
        assert answer_livez(request).status_code == 200


def test_hc_5_a_second_start_does_nothing_and_another_process_starts_anew(monkeypatch: pytest.MonkeyPatch):
    looked = threading.Event()
    checker = Checker(looked.set, period=60)
    before = threading.active_count()
    checker.start()
    checker.start()
    assert threading.active_count() == before + 1
    assert looked.wait(5)
    checker.stop()
    monkeypatch.setattr("os.getpid", lambda: -1)
    checker.start()
    assert threading.active_count() >= before + 1
    checker.stop()


def test_hc_6_not_ready_before_the_first_success():
    readiness = Readiness(Clock())
    assert not readiness.is_ready
    readiness.failed()
    assert not readiness.is_ready
    readiness.succeeded()
    assert readiness.is_ready


def test_hc_7_two_failures_are_forgiven_the_third_is_not_one_success_restores():
    readiness = Readiness(Clock())
    readiness.succeeded()
    seen = []
    for _ in range(FAILURES):
        readiness.failed()
        seen.append(readiness.is_ready)
    assert seen == [True, True, False]
    readiness.succeeded()
    assert readiness.is_ready


def test_hc_8_an_old_mark_is_not_ready():
    clock = Clock()
    readiness = Readiness(clock)
    readiness.succeeded()
    clock.now = STALE_SECONDS
    assert readiness.is_ready
    clock.now += 0.1
    assert not readiness.is_ready


def test_hc_23_any_failure_of_the_check_counts_and_the_thread_lives():
    answers = iter([RuntimeError("x"), OSError("y"), KeyError("z")])

    def fails() -> None:
        raise next(answers)

    checker = Checker(fails)
    for _ in range(3):
        checker.look()
    assert not checker.readiness.is_ready


@pytest.mark.django_db
def test_hc_15_the_check_is_one_question_to_the_database(monkeypatch: pytest.MonkeyPatch):
    ask_database()
    monkeypatch.setitem(connections["default"].settings_dict["OPTIONS"], "unix_socket", "/nowhere")
    with pytest.raises(Exception, match="2002"):
        ask_database()


def page_of(client: Client) -> dict[str, str]:
    return client.get("/health/?format=json").json()


def test_the_page_of_checks_is_for_staff(world: World):
    assert Client().get("/health/").status_code == 302
    assert sign_in("owner").get("/health/").status_code == 302
    assert sign_in("system").get("/health/").status_code in (200, 500)


def test_the_page_of_checks_names_what_is_wrong(world: World, transactional_view: None):
    told = page_of(sign_in("system"))
    assert any("Database" in name and text == "OK" for name, text in told.items()), told
    assert any("Broker" in name and "Redis does not answer" in text for name, text in told.items()), told


@pytest.fixture
def transactional_view(settings: Any) -> None:
    settings.BROKER_URL = "redis://127.0.0.1:1/0"


def test_each_check_by_itself(world: World, monkeypatch: pytest.MonkeyPatch):
    from health_check.exceptions import HealthCheckException

    from sfweb.health import checks

    monkeypatch.setattr(checks.connection, "close", lambda: None)
    for check in (checks.Database(), checks.WaitingOperations(), checks.Beat(), checks.Nodes(), checks.Copies()):
        check.run()
    type(world.operation).objects.update(created_at=FromNow(-1000))
    Node.objects.update(last_seen=FromNow(-1000))
    Duty.objects.create(name="late", next_run_at=FromNow(-1000))
    Duty.objects.create(name="blob_copies", next_run_at=FromNow(1000), last_result={"wanted": 1, "short": 3})
    BlobHash.objects.filter(blob=world.blob, algorithm="sha512").update(status="failed")
    for check, text in (
        (checks.WaitingOperations(), "1000 s old"),
        (checks.Beat(), "overdue: late"),
        (checks.Nodes(), "silent: n1"),
        (checks.Copies(), "1 copies of blobs failed .*3 blobs or more have fewer than 1 copies; blobs lie on 1 of 2"),
    ):
        with pytest.raises(HealthCheckException, match=text):
            check.run()


def test_metrics_count_templates_and_never_ids(world: World):
    from prometheus_client import generate_latest

    ref = str(world.instance.uuid)
    world.person("owner").get(f"/instances/{ref}")
    world.person("owner").ask("BREW", "/instances")
    text = generate_latest().decode()
    assert 'route="instances/<str:ref>",status="200"' in text
    assert ref not in text
    assert "BREW" not in text


def test_metrics_are_served_on_their_own_port(settings: Any, monkeypatch: pytest.MonkeyPatch):
    from sfweb import metrics

    asked: list[Any] = []
    monkeypatch.setattr(metrics, "start_http_server", lambda port, address, registry: asked.append((port, address)))
    settings.METRICS_PORT, settings.METRICS_ADDRESS = None, "127.0.0.1"
    metrics.serve_metrics(13003)
    settings.METRICS_PORT = 14000
    metrics.serve_metrics(13003)
    settings.METRICS_PORT = 0
    metrics.serve_metrics(13003)
    assert asked == [(13003, "127.0.0.1"), (14000, "127.0.0.1")]


def test_the_checker_looks_again_and_again():
    seen: list[float] = []
    checker = Checker(lambda: seen.append(time.monotonic()), period=0.01)
    checker.start()
    deadline = time.monotonic() + 5
    while len(seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    checker.stop()
    assert len(seen) >= 3
