"""Every list, name lookup and page of events reads what it shows, by an index: 2,000 instances, 50,000 events (SQ-1, SQ-6, EV-7).

MariaDB's ANALYZE runs each statement that a request makes and counts the rows that it really read of each table.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sfweb.domain import event_retention
from sfweb.models import Event, EventObject, Operation
from tests.api.world import World

pytestmark = [pytest.mark.real, pytest.mark.django_db(transaction=True)]

INSTANCES, EVENTS, OPERATIONS, OTHERS = 2000, 50_000, 20_000, 1000
PAGE = 100
MOST_READ = 3 * PAGE
"""Rows of one table that one statement for a page of 100 may read; each table here has far more."""
SMALL = ("namespaces", "nodes", "node_capacity", "namespace_trusts", "namespace_keys", "artifact_grants")
"""Tables that have few rows in any cluster; a scan is the best way to read them."""

UNIQUE = "UUID()"
SPREAD = "UTC_TIMESTAMP(6) - INTERVAL seq SECOND"


@pytest.fixture
def crowd(world: World) -> World:
    """Most rows are the owner's; every tenth object is another's. One instance has all events and most operations."""
    owner, other, node = world.owner.pk, world.other.pk, world.node.pk
    whose = f"IF(seq % 10 = 0, '{other}', '{owner}')"
    state = "ELT(1 + (seq % 40 = 0) + 2 * (seq % 41 = 0), 'created', 'deleted', 'error', 'error')"
    same = {"uuid": UNIQUE, "created_at": SPREAD}
    named = {**same, "namespace_id": whose, "name": "CONCAT('x', seq)", "state": state}
    many("instances", INSTANCES, {**named, "node_id": f"'{node}'", "cpus": "1", "memory_mb": "64"}, "instances")
    execute(
        "INSERT INTO placement_reservations (uuid, instance_id, node_id, cpus, memory_mb, disk_gb, state, created_at)"
        " SELECT UUID(), uuid, node_id, 1, 64, 1, IF(name LIKE '%7', 'claimed', 'consumed'), created_at"
        " FROM instances WHERE name LIKE 'x%'"
    )
    many("networks", OTHERS, {**named, "netblock": "'10.0.0.0/24'"}, "networks")
    many("artifacts", OTHERS, {**named, "source_url": "CONCAT('http://e.com/', seq)", "kind": "'image'"}, "artifacts")
    many("blobs", OTHERS, {**same, "state": state, "sha512": "SHA2(seq, 512)"}, "blobs")
    many("snapshot_sets", OTHERS, {**same, "namespace_id": whose, "state": state, "instance_uuid": UNIQUE}, "snapshots")
    recurs = {"kind": "'snapshot'", "instance_id": f"'{world.instance.pk}'", "cron": "'0 3 * * *'", "next_tick": SPREAD}
    many("recurring_operations", OTHERS, {**named, **recurs}, "schedules")
    ticked = {"schedule_id": f"'{world.schedule.pk}'", "due": SPREAD, "state": "'succeeded'"}
    many("recurring_operation_ticks", OTHERS, {**same, **ticked}, "ticks")
    on = f"'{world.instance.pk}'"
    ended = "IF(seq % 500 = 0, 'waiting', 'succeeded')"
    many(
        "operations",
        OPERATIONS,
        {**same, "kind": "'instance_power'", "namespace_id": whose, "object_key": "CONCAT('x', seq)", "state": ended},
        "operations",
    )
    targets = f"INSERT INTO operation_targets (operation_id, target_type, target_uuid) SELECT uuid, 'instance', {on}"
    execute(f"{targets} FROM operations WHERE kind = 'instance_power'")
    kinds = "ELT(1 + seq % 3, 'audit', 'mutate', 'usage')"
    many("events", EVENTS, {"uuid": UNIQUE, "type": kinds, "at": SPREAD, "message": "'m'"}, "events")
    execute(
        "INSERT INTO event_objects (object_type, object_uuid, event_uuid, event_type, at)"
        f" SELECT 'instance', {on}, uuid, type, at FROM events WHERE message = 'm'"
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE " + ", ".join(t for t in connection.introspection.table_names(cursor)))
        cursor.fetchall()
    return world


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def many(table: str, number: int, columns: dict[str, str], name: str) -> None:
    """So many rows by one statement; columns that are not named get what a row without them would have."""
    from django.apps import apps

    model = next(one for one in apps.get_app_config("sfweb").get_models() if one._meta.db_table == table)
    for field in model._meta.concrete_fields:
        if (
            field.column in columns
            or field.null
            or field.primary_key
            or (field.db_default is not None and field.has_db_default())
        ):
            continue
        value = field.get_db_prep_save(field.get_default(), connection)
        columns[field.column] = f"'{value}'" if isinstance(value, str) else str(int(value or 0))
    names = ", ".join(f"`{column}`" for column in columns)
    execute(f"INSERT INTO `{table}` ({names}) SELECT {', '.join(columns.values())} FROM seq_1_to_{number}")


def requests(world: World) -> Iterator[tuple[str, str]]:
    """(who, path) of everything that is read."""
    events = f"/instances/{world.instance.pk}/events"
    page = f"limit={PAGE}"
    for who in ("owner", "system"):
        for plural in ("instances", "networks", "artifacts", "snapshots", "operations", "labels"):
            yield who, f"/{plural}?{page}"
        for plural in ("instances", "networks"):
            yield who, f"/{plural}?order=created&{page}"
            yield who, f"/{plural}?order=-created&{page}"
            yield who, f"/{plural}?name=x77"
            yield who, f"/{plural}?state=error&{page}"
            yield who, f"/{plural}?all=true&{page}"
            yield who, f"/{plural}/x77"
        yield who, f"/recurring_operations?{page}"
        yield who, f"/recurring_operations?state=error&{page}"
        yield who, f"/recurring_operations/{world.schedule.pk}/ticks?{page}"
        yield who, "/artifacts/x77"
        yield who, "/artifacts?name=x77"
        yield who, f"/instances?namespace=owner&{page}"
        yield who, f"/instances/{world.instance.pk}"
        yield who, f"/operations?state=waiting&{page}"
        yield who, f"/operations?before={deep(Operation)}&{page}"
        target = f"target_object_type=instance&target_uuid={world.instance.pk}"
        yield who, f"/clusteroperations?{target}&{page}"
        yield who, f"/instances/{world.instance.pk}/clusteroperations?all=true&{page}"
        yield who, f"/instances/{world.instance.pk}/clusteroperations?{page}"
    yield "system", f"/blobs?{page}"
    yield "system", f"/admin/reservations?{page}"
    yield "system", f"/admin/reservations?state=claimed&{page}"
    yield "system", f"/instances?node=n1&{page}"
    last = EventObject.objects.order_by("at")[EVENTS // 2].event_uuid
    for path in (f"{events}?{page}", f"{events}?before={last}&{page}", f"{events}?event_type=audit&{page}"):
        yield "owner", path
    yield "owner", f"{events}?before={Event.objects.filter(type='audit')[9000].pk}&event_type=audit&{page}"


def rows_read() -> int:
    """Rows that this connection has read so far, however it found them."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for _, value in cursor.fetchall())


@pytest.mark.timeout(240)
def test_ev_11_a_page_of_the_prune_examines_what_it_deletes(crowd: World):
    before = rows_read()
    assert event_retention.prune_page("audit", 1.0) == event_retention.PAGE
    assert rows_read() - before < 8 * event_retention.PAGE, "50,000 events are there"
    before = rows_read()
    assert event_retention.forget_page("instance", [crowd.instance.pk]) == event_retention.PAGE
    assert rows_read() - before < 8 * event_retention.PAGE


def test_ev_13_how_many_events_there_are_is_not_counted(crowd: World):
    before = rows_read()
    assert 0.5 * EVENTS < event_retention.estimated_rows() < 2 * EVENTS
    assert rows_read() - before < 100


def deep(model: Any) -> Any:
    return model.objects.order_by("created_at").filter(namespace__name="owner")[OPERATIONS // 3].pk


def read_too_much(sql: str) -> list[str]:
    """Tables of which the statement read more than it should, with how."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE " + sql.replace("%", "%%"), [])
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    found = []
    for row in rows:
        table, read = str(row["table"]), float(row.get("r_rows") or 0)
        if read > MOST_READ and not table.startswith(("<", "U", "V")) and table not in SMALL:
            found.append(f"{table}: {read:.0f} rows by {row['type']} of {row['key']} ({row['Extra']})")
    return found


@pytest.mark.timeout(240)
def test_every_list_lookup_and_page_reads_what_it_shows(crowd: World):
    found: dict[str, list[str]] = {}
    for who, path in requests(crowd):
        with CaptureQueriesContext(connection) as asked:
            answer = crowd.person(who).get(path)
        assert answer.status_code == 200, (path, answer.content)
        for query in asked.captured_queries:
            if query["sql"].startswith("SELECT") and "FROM" in query["sql"]:
                for wrong in read_too_much(query["sql"]):
                    found.setdefault(wrong, []).append(f"{who} {path}: {query['sql']}")
    assert not found, "\n".join(f"{wrong}\n    {place}" for wrong, places in found.items() for place in places)


def test_what_chooses_a_page_joins_nothing(world: World):
    """Where one namespace has all rows, MariaDB would begin at that namespace and sort everything for each page."""
    for plural in ("instances", "networks", "artifacts", "blobs", "snapshots", "nodes", "recurring_operations"):
        with CaptureQueriesContext(connection) as asked:
            assert world.person("system").get(f"/{plural}?limit=5").status_code == 200
        choosing = [query["sql"] for query in asked.captured_queries if " AS `pk` FROM " in query["sql"]]
        assert len(choosing) == 1 and "JOIN" not in choosing[0], (plural, choosing)
