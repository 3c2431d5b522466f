"""Namespaces and who may act for whom. Who asks must already be known to be allowed."""

from django.db import IntegrityError, transaction

from sfweb.domain import claims, events, schedules
from sfweb.domain.callers import Caller
from sfweb.domain.keys import put_key
from sfweb.domain.names import check_hostname
from sfweb.errors import Forbidden, Invalid, NotFound
from sfweb.models import Artifact, Instance, Key, Namespace, Network, Trust, Upload
from sfweb.models.fields import UtcNow
from sfweb.models.namespace import SYSTEM
from sfweb.models.state import State, transition


def create_namespace(caller: Caller, name: str, key_name: str | None = None, key: str | None = None) -> Namespace:
    """A new namespace that trusts `system`. A deleted one's name stays taken until its row goes."""
    check_hostname(name, "namespace")
    if (key_name is None) != (key is None):
        raise Invalid("key_name: key_name and key are given together or not at all")
    try:
        with transaction.atomic():
            row = Namespace.objects.create(name=name)
            system = row if name == SYSTEM else Namespace.objects.get(name=SYSTEM)
            Trust.objects.create(namespace=row, trusted=system)
            _tell(caller, row, "namespace created")
            if key_name is not None and key is not None:
                put_key(caller, row, key_name, key)
    except IntegrityError:
        raise Forbidden("namespace exists", code="exists") from None
    return row


def delete_namespace(caller: Caller, namespace: Namespace) -> None:
    """Refused for `system` and while anything lives in it. Its keys go with it, so its tokens end at once."""
    if namespace.name == SYSTEM:
        raise Forbidden("the system namespace cannot be deleted")
    with transaction.atomic():
        Namespace.objects.select_for_update().get(pk=namespace.pk)
        for model in (Instance, Network, Artifact, Upload):
            if model.objects.filter(namespace=namespace).exclude(state=State.DELETED).exists():
                raise Invalid(f"you cannot delete a namespace with {model.__name__.lower()}s", code="namespace_in_use")
        transition(namespace, State.DELETED, deleted_at=UtcNow())
        claims.end_of_namespace(namespace.pk)
        schedules.end_all_of(caller, namespace)
        Key.objects.filter(namespace=namespace).delete()
        Trust.objects.filter(namespace=namespace).delete()
        _tell(caller, namespace, "namespace deleted")


def add_trust(caller: Caller, namespace: Namespace, trusted: str) -> None:
    """Let the namespace called `trusted` act on `namespace`; twice is once."""
    row = Namespace.objects.filter(name=trusted, state=State.CREATED).first()
    if row is None:
        raise NotFound(f"namespace not found: {trusted}")
    with transaction.atomic():
        _, is_new = Trust.objects.get_or_create(namespace=namespace, trusted=row)
        if is_new:
            _tell(caller, namespace, f"trust in {trusted} added")


def remove_trust(caller: Caller, namespace: Namespace, trusted: str) -> None:
    """Take the right back; the trust in `system` stays, silently."""
    if trusted == SYSTEM:
        return
    with transaction.atomic():
        if Trust.objects.filter(namespace=namespace, trusted__name=trusted).delete()[0]:
            _tell(caller, namespace, f"trust in {trusted} removed")


def _tell(caller: Caller, namespace: Namespace, message: str) -> None:
    events.record("audit", f"{message} by {caller}", [("namespace", namespace.uuid)], request_id=caller.request_id)
