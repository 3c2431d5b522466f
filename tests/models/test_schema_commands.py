"""The schema command, the check at every start, and bootstrap, on a database of their own."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection

from lab.servers import REPOSITORY, MariaDb
from sfweb import schema
from sfweb.models import FLOATING, Address, BootstrapOperation, Duty, Key, Namespace, Network
from sfweb.schema import COMPATIBLE_SINCE, VERSION, judge_server, require_current_schema, schema_faults, server_faults


@pytest.mark.parametrize(
    ("server", "faults"),
    [
        (("10.11.6-MariaDB-deb12", "InnoDB", "utf8mb4", "utf8mb4_nopad_bin"), 0),
        (("11.4.2-MariaDB", "InnoDB", "utf8mb4", "utf8mb4_general_ci"), 0),
        (("5.5.5-10.11.6-MariaDB", "InnoDB", "utf8mb4", "utf8mb4_bin"), 0),
        (("10.5.23-MariaDB", "InnoDB", "utf8mb4", "utf8mb4_bin"), 1),
        (("8.0.36", "InnoDB", "utf8mb4", "utf8mb4_bin"), 1),
        (("10.11.6-MariaDB", "MyISAM", "utf8mb4", "utf8mb4_bin"), 1),
        (("10.11.6-MariaDB", "InnoDB", "latin1", "latin1_swedish_ci"), 2),
        (("5.7.1", "MyISAM", "latin1", "latin1_bin"), 4),
    ],
)
def test_by_1_all_that_is_wrong_is_told_at_once(server: tuple[str, str, str, str], faults: int):
    assert len(judge_server(*server)) == faults


@pytest.mark.django_db
def test_by_2_this_server_fits():
    assert server_faults(connection) == []


@pytest.mark.django_db
def test_by_3_a_start_names_every_mismatch_and_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schema.connections, "close_all", lambda: None)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app IN ('sfweb', 'sessions')")
    with pytest.raises(SystemExit) as refused:
        require_current_schema()
    for text in ("sfweb lacks 0", "sessions lacks", "version 0", "manage.py ensure_mariadb_schema"):
        assert text in str(refused.value)


@pytest.mark.django_db
def test_en_18_a_newer_schema_is_refused_only_beyond_compatible_since():
    from sfweb.models import SchemaVersion

    SchemaVersion.objects.create(id=1, version=VERSION + 1, compatible_since=COMPATIBLE_SINCE)
    assert schema_faults(connection) == []
    SchemaVersion.objects.update(compatible_since=VERSION + 1)
    assert "needs code of version" in schema_faults(connection)[0]


def private_server() -> MariaDb:
    """The run's own server, as root over its socket."""
    socket = parse_qs(urlsplit(os.environ["DATABASE_URL"]).query)["unix_socket"][0]
    return MariaDb(Path(socket).parent)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of an empty database with the operator's two users."""
    server, name = private_server(), f"b{uuid.uuid4().hex[:12]}"
    variables = (
        f"SET @database='{name}', @app_password='a', @schema_password='s', @app_user='a{name}', @schema_user='s{name}';"
    )
    server.execute(variables + (REPOSITORY / "deploy" / "bootstrap.sql").read_text())
    address = f"@localhost/{name}?unix_socket={server.socket}"
    yield dict(os.environ) | {
        "DATABASE_URL": f"mysql://a{name}:a{address}",
        "SCHEMA_DATABASE_URL": f"mysql://s{name}:s{address}",
        "SECRET_KEY": settings.SECRET_KEY,
        "SYSTEM_KEY": "the first key",
        "KEY_HASH_ROUNDS": "4",
        "SF_ROLE": "control",
    }
    server.execute(f"DROP DATABASE {name}; DROP USER a{name}; DROP USER s{name};")


def start(environment: dict[str, str], *command: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=environment,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )


def run(environment: dict[str, str], *command: str) -> tuple[int, str]:
    with start(environment, *command) as process:
        output = process.communicate(timeout=120)[0]
    return process.returncode, output


@pytest.mark.real
def test_by_4_by_5_rp_5_from_an_empty_database_to_a_served_request(empty: dict[str, str]):
    """Two schema commands at once, one of which waits and does nothing; then everything runs as the user without DDL."""
    code, output = run(empty, "-c", "import sfweb.wsgi")
    assert code == 1
    assert "Run: manage.py ensure_mariadb_schema" in output

    both = [start(empty, "manage.py", "ensure_mariadb_schema") for _ in range(2)]
    told = sorted(process.communicate(timeout=120)[0] for process in both)
    assert [process.returncode for process in both] == [0, 0], told
    assert sum("nothing to do" in text for text in told) == 1, told
    assert sum(f"the schema has version {VERSION}" in text for text in told) == 1, told

    code, output = run(empty, "manage.py", "bootstrap_cluster")
    assert code == 0, output
    assert output.count("already done") == 0
    code, output = run(empty, "manage.py", "bootstrap_cluster")
    assert code == 0, output
    assert output.count("already done") == 4

    served = run(empty, "-c", ASK)
    assert served == (0, "200 ['system']\n"), served
    code, output = run(empty, "-c", "import django; django.setup(); " + DDL)
    assert "denied" in output, "the application's user has no right to change the schema"


ASK = """
import os, django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sfweb.settings")
import sfweb.wsgi
from django.test import Client
token = Client().post("/auth", {"namespace": "system", "key": "the first key"}, content_type="application/json").json()
answer = Client().get("/auth/namespaces", HTTP_AUTHORIZATION="Bearer " + token["access_token"])
print(answer.status_code, [row["name"] for row in answer.json()])
"""
DDL = """
from django.db import connection
try:
    connection.cursor().execute("CREATE TABLE t (i INT)")
except Exception as error:
    print(error)
"""


@pytest.fixture
def bare(db: None, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.KEY_HASH_ROUNDS = 4
    monkeypatch.setenv("SYSTEM_KEY", "secret")
    monkeypatch.setattr("sfweb.management.commands.bootstrap_cluster.require_current_schema", lambda: None)


def test_rp_6_every_step_has_its_row(bare: None, settings: Any):
    settings.FLOATING_NETWORK, settings.FLOATING_GATEWAY = "192.168.30.0/24", "192.168.30.254"
    call_command("bootstrap_cluster", "--key-name", "first")
    assert set(BootstrapOperation.objects.values_list("name", flat=True)) == {
        "system_namespace",
        "system_key",
        "floating_network",
    }
    assert Key.objects.get().name == "first"
    outside = Network.objects.get(pk=FLOATING)
    assert (outside.name, outside.netblock, outside.state) == ("floating", "192.168.30.0/24", "created")
    kinds = dict(Address.objects.filter(network=outside).values_list("kind", "value"))
    base = 0xC0A81E00
    assert kinds == {"network": base, "broadcast": base + 255, "gateway": base + 254}
    assert Duty.objects.exists()


def test_rp_7_a_second_run_changes_nothing(bare: None):
    call_command("bootstrap_cluster")
    key = Key.objects.get()
    call_command("bootstrap_cluster")
    assert Key.objects.get().nonce == key.nonce
    assert Namespace.objects.count() == 1


@pytest.mark.parametrize("broken", ["_make_system", "_make_key", "_make_floating_network"])
def test_rp_7_a_crash_at_any_step_then_a_run_converges(bare: None, monkeypatch: pytest.MonkeyPatch, broken: str):
    from sfweb.management.commands import bootstrap_cluster

    real = getattr(bootstrap_cluster, broken)

    def dies(*arguments: Any) -> Any:
        real(*arguments)
        raise RuntimeError("the machine stopped here")

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap_cluster, broken, dies)
        with pytest.raises(RuntimeError):
            call_command("bootstrap_cluster")
    call_command("bootstrap_cluster")
    assert BootstrapOperation.objects.count() == 3
    assert Network.objects.count() == Key.objects.count() == 1


def test_rp_8_the_key_is_never_made_silently(bare: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SYSTEM_KEY")
    with pytest.raises(CommandError, match="the first key of the system namespace is needed"):
        call_command("bootstrap_cluster")
    assert not Key.objects.exists()


def test_rp_9_new_duties_are_added_on_every_run(bare: None):
    call_command("bootstrap_cluster")
    name = Duty.objects.order_by("name").first().name
    Duty.objects.filter(name=name).delete()
    call_command("bootstrap_cluster")
    assert Duty.objects.filter(name=name).exists()
