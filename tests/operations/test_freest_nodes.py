"""P2: what a placement reads does not grow with the cluster, and is what it would have chosen from all of it."""

import uuid

import pytest
from django.db import connection

from sftasks import statements
from sfweb.domain import placement
from sfweb.domain.placement_rules import Asked, Room
from sfweb.models import Blob, BlobLocation, Node, NodeCapacity, NodeObject
from sfweb.models.fields import FromNow, UtcNow

pytestmark = pytest.mark.django_db
ASKED = Asked(room=Room(cpus=2, memory_mb=64, disk_gb=1))


def make_nodes(number):
    """n0 has most free, then n1 and so on."""
    rows = [Node(name=f"n{at}", state="created", last_seen=UtcNow()) for at in range(number)]
    for at, row in enumerate(rows):
        row.save()
        NodeCapacity.objects.create(
            node=row, limit_cpus=1000, limit_memory_mb=10**6, limit_disk_gb=10**6, used_cpus=at, largest_cpus=8
        )
    return rows


def names(offers):
    return [offer.name for offer in offers]


def rows_read():
    """By this connection, of any table, so far."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
        return sum(int(value) for name, value in cursor.fetchall() if name != "Handler_read_rnd_deleted")


def test_p_2_a_placement_reads_few_nodes_of_many():
    make_nodes(200)
    before = rows_read()
    assert names(placement.freest([ASKED])) == [f"n{at}" for at in range(placement.FREEST + 1)]
    assert rows_read() - before < 60
    assert placement.place([ASKED])[0].name in ("n0", "n1", "n2")


def test_p_2_nodes_that_cannot_be_used_are_not_among_the_freest():
    rows = make_nodes(8)
    Node.objects.filter(pk=rows[0].pk).update(cordoned=True)
    Node.objects.filter(pk=rows[1].pk).update(last_seen=FromNow(-(10**6)))
    Node.objects.filter(pk=rows[2].pk).update(state="missing")
    NodeCapacity.objects.filter(node=rows[3]).update(largest_cpus=1)
    NodeCapacity.objects.filter(node=rows[4]).update(used_memory_mb=10**6 - 63)
    NodeCapacity.objects.filter(node=rows[5]).delete()
    assert names(placement.freest([ASKED])) == ["n6", "n7"]


def test_p_2_the_scarcest_share_decides_what_is_free():
    rows = make_nodes(3)
    NodeCapacity.objects.filter(node=rows[0]).update(used_disk_gb=900_000)
    assert names(placement.freest([ASKED])) == ["n1", "n2", "n0"]
    NodeCapacity.objects.filter(node=rows[1]).update(used_cpus=1001)
    assert NodeCapacity.objects.get(node=rows[1]).free_share == pytest.approx(-0.001), "over its limit"


def test_p_2_a_node_with_the_image_is_looked_at_although_others_have_more_free():
    rows = make_nodes(40)
    blob = Blob.objects.create(state="created", size=1)
    BlobLocation.objects.create(blob=blob, node=rows[30])
    asked = Asked(room=ASKED.room, blobs=frozenset([blob.pk]))
    assert "n30" in names(placement.freest([asked]))
    assert placement.place([asked])[0].name in ("n30", "n0", "n1")


def test_those_behind_are_the_holders_that_have_not_confirmed_the_generation(django_assert_num_queries):
    rows, some_network = make_nodes(5), uuid.uuid4()
    there = {"object_type": "network", "object_uuid": some_network, "applied_wanted": "present"}
    NodeObject.objects.create(node=rows[0], applied_generation=2, **there)
    NodeObject.objects.create(node=rows[1], applied_generation=1, **there)
    NodeObject.objects.create(node=rows[2], applied_generation=2, **{**there, "applied_wanted": None})
    NodeObject.objects.create(node=rows[3], applied_generation=2, **{**there, "applied_wanted": "absent"})
    NodeObject.objects.create(node=rows[4], applied_generation=0, wanted="absent", **there)
    with django_assert_num_queries(1):
        found = statements.behind("network", some_network, 2, [row.pk for row in rows[:3]])
    assert set(found) == {rows[1].pk, rows[2].pk}
    assert statements.behind("network", some_network, 2, [row.pk for row in rows[3:]]) == [rows[3].pk]
