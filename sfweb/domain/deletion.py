"""Deleting everything that a namespace has: only with the word that shows that it is meant."""

from collections.abc import Mapping
from typing import Any

from sfweb.domain.callers import Caller, is_trusted_by
from sfweb.errors import Invalid, Unauthenticated
from sfweb.models import Namespace
from sfweb.models.state import State


def namespace_to_empty(caller: Caller, wanted: Mapping[str, Any]) -> Namespace:
    """The namespace whose things all go.

    `system` names one explicitly, so that it never empties the cluster by leaving a word out. Another caller may name
    its own only; a foreign one is answered 401, as the public interface defines.
    """
    if not wanted.get("confirm"):
        raise Invalid("confirm: parameter is not set true")
    name = wanted.get("namespace")
    if name is None and caller.is_system:
        raise Invalid("namespace: system user must specify parameter namespace")
    if name not in (None, caller.namespace) and not caller.is_system:
        raise Unauthenticated("you cannot delete what another namespace has", code="foreign_namespace")
    row = Namespace.objects.filter(name=name or caller.namespace, state=State.CREATED).first()
    if row is None or not is_trusted_by(caller, row):
        raise Invalid(f"namespace: there is no namespace {name}")
    return row
