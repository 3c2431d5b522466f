"""What users hang on objects: one JSON value per key. Two keys of instances mean something to placement."""

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from django.db import IntegrityError, transaction

from sfweb.domain import affinity, events
from sfweb.domain.callers import Caller
from sfweb.domain.events import Target
from sfweb.errors import Invalid
from sfweb.models import Metadata

MAX_KEY = 255
MAX_VALUE = 256 * 1024
"""Longest value, in characters of JSON."""


def metadata_of(object_types: str | Collection[str], uuids: Iterable[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
    """The metadata of many objects, of one type or of several, by one query; an object without any has an empty mapping."""
    found: dict[uuid.UUID, dict[str, Any]] = {key: {} for key in uuids}
    types = (object_types,) if isinstance(object_types, str) else object_types
    rows = Metadata.objects.filter(object_type__in=types, object_uuid__among=found).order_by("key")
    for owner, key, value in rows.values_list("object_uuid", "key", "value"):
        found[owner][key] = value
    return found


def set_metadata(caller: Caller, owner: Target, key: str, value: Any) -> None:
    """Write one value. A falsy value is refused, as the public interface always did."""
    check_item(owner[0], key, value)
    rows = Metadata.objects.filter(object_type=owner[0], object_uuid=owner[1], key=key)
    with transaction.atomic():
        if not rows.exists():
            try:
                with transaction.atomic():
                    Metadata.objects.create(object_type=owner[0], object_uuid=owner[1], key=key, value=value)
            except IntegrityError:  # somebody made it meanwhile: the later wish wins
                rows.update(value=value)
        else:
            rows.update(value=value)
        events.record("audit", f"metadata {key} set by {caller}", [owner], request_id=caller.request_id)
        if owner[0] == "instance" and key == "affinity" and affinity.parse(value).by_weights:
            events.record("audit", affinity.OLD_FORM, [owner], request_id=caller.request_id)


def delete_metadata(caller: Caller, owner: Target, key: str) -> None:
    """Remove one key; that it is not there is fine."""
    with transaction.atomic():
        if Metadata.objects.filter(object_type=owner[0], object_uuid=owner[1], key=key).delete()[0]:
            events.record("audit", f"metadata {key} deleted by {caller}", [owner], request_id=caller.request_id)


def check_item(object_type: str, key: str, value: Any) -> None:
    """Refuse a key or value that may not be stored."""
    if not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise Invalid(f"key: must be 1 to {MAX_KEY} printable characters")
    if not value:
        raise Invalid("value: no metadata value specified")
    if len(json.dumps(value)) > MAX_VALUE:
        raise Invalid(f"value: longer than {MAX_VALUE} characters")
    if object_type == "instance" and key in _RESERVED:
        _RESERVED[key](value)


def check_all(object_type: str, values: Mapping[str, Any]) -> None:
    """Refuse a whole mapping as given when an object is created."""
    for key, value in values.items():
        check_item(object_type, key, value)


def _check_tags(value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise Invalid('value: value for "tags" key should be a list of text')


_RESERVED: Mapping[str, Callable[[Any], object]] = {"tags": _check_tags, "affinity": affinity.parse}
