"""Children name their parent; no parent's row lists its children (SQ-4)."""

import json

from django.apps import apps
from django.db import connection
from django.db.models import JSONField

from sfweb.models import (
    Artifact,
    Blob,
    Disk,
    Instance,
    Interface,
    Namespace,
    Network,
    Node,
    Operation,
    SnapshotSet,
    Step,
)


def test_sq_4_parents_keep_no_lists_of_their_children(guest):
    """A list in a parent's row is lost when two children come at once; children name their parent, by an index."""
    children = [str(row.pk) for kind in (Interface, Disk, Step) for row in kind.objects.all()]
    assert len(children) > 3
    for kind in (Namespace, Node, Network, Instance, Artifact, Blob, SnapshotSet, Operation):
        columns = [field.attname for field in kind._meta.concrete_fields if isinstance(field, JSONField)]
        for row in kind.objects.all():
            kept = json.dumps([getattr(row, column) for column in columns], default=str)
            assert not [child for child in children if child in kept], (kind, columns)
    with connection.cursor() as cursor:
        for kind in apps.get_app_config("sfweb").get_models():
            found = connection.introspection.get_constraints(cursor, kind._meta.db_table).values()
            first = {one["columns"][0] for one in found if one["index"] or one["primary_key"] or one["unique"]}
            parents = {field.column for field in kind._meta.concrete_fields if field.is_relation}
            assert parents <= first, f"{kind.__name__}: {parents - first} has no index"
