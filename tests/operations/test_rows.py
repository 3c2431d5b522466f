"""Rows by written-out statements are what Django's own queries give."""

import pytest

from sfweb.domain.rows import select
from sfweb.models import Instance, Namespace, Network, Node, NodeObject, Operation, Step


@pytest.mark.parametrize("model", [Instance, Namespace, Network, Node, NodeObject, Operation, Step])
def test_what_is_selected_is_what_django_would_read(guest, model):
    rows = list(model.objects.order_by("pk"))
    assert rows
    key = model._meta.pk.column
    found = select(model, f"WHERE {key} IS NOT NULL AND %s = 1 ORDER BY {key}", [1])
    fields = [field.attname for field in model._meta.concrete_fields]
    assert [[getattr(row, name) for name in fields] for row in found] == [
        [getattr(row, name) for name in fields] for row in rows
    ]
    assert {type(getattr(found[0], name)) for name in fields} == {type(getattr(rows[0], name)) for name in fields}
    assert not found[0]._state.adding and found[0].get_deferred_fields() == set()
