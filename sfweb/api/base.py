"""What every view is made of: checked input, the caller, the answer with its operation.

`@takes(SomeInput)` stands on every verb. It merges the JSON body with the query string (the body wins), checks both
against the serializer, and passes what is valid as `wanted`. A null member is an absent one; an unknown one is refused.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sfweb.api.auth import IsSystem
from sfweb.api.idempotency import once
from sfweb.domain.callers import Caller
from sfweb.errors import Invalid
from sfweb.models import Operation
from sfweb.models.state import OperationState

MAX_NUMBER = 2**31 - 1
MOST_ROWS = 10_000
"""No list is longer than this, whether it was asked for a page or for all."""
SHOWN_STATES = {
    OperationState.WAITING: "queued",
    OperationState.RUNNING: "executing",
    OperationState.UNWINDING: "executing",
    OperationState.SUCCEEDED: "complete",
    OperationState.FAILED: "error",
    OperationState.CANCELLED: "abort",
}
"""The public client's words for an operation's state."""


class Text(serializers.CharField):
    """Text and only text, as it was sent."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        kwargs.setdefault("max_length", 1024)
        super().__init__(required=kwargs.pop("required", False), **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Number(serializers.IntegerField):
    """A whole number within bounds; numeric text is accepted, because the public client sends some."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("min_value", 0)
        kwargs.setdefault("max_value", MAX_NUMBER)
        super().__init__(required=kwargs.pop("required", False), **kwargs)

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """True or false; text says what it says, so "false" is false."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=kwargs.pop("required", False), **kwargs)


class FreeObject(serializers.JSONField):
    """Any JSON object."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("an object is needed")
        return data


class Input(serializers.Serializer):
    """What one request may say."""

    is_closed = True
    """For the OpenAPI document: what is not named is refused."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("an object is needed")
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise serializers.ValidationError({unknown[0]: "unknown parameter"})
        return super().to_internal_value({name: value for name, value in data.items() if value is not None})


class Nothing(Input):
    """A request that says nothing beside its address."""


class Page(Input):
    """Part of a list; without `limit` all of it, up to MOST_ROWS, as the public client expects."""

    limit = Number(min_value=1, max_value=MOST_ROWS)
    offset = Number()


class InNamespace(Input):
    """`namespace` scopes what the address names."""

    namespace = Text(max_length=64)


def takes(
    input_class: type[Input] = Nothing,
    *,
    creates: bool = False,
    shown: Callable[[UUID], Any] | None = None,
    again: Callable[[Request, Sequence[UUID]], Response] | None = None,
    answered: "Callable[[Request, Operation, Any], Response] | None" = None,
) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Check the request against `input_class`. With `creates` a repeat with the same Idempotency-Key is answered alike.

    shown     renders the created object, for a repeat whose first answer was lost
    answered  makes an answer of that, as the verb does; `started` if not said
    again     answers such a repeat where several objects are created
    """

    def decorate(method: Callable[..., Response]) -> Callable[..., Response]:
        @functools.wraps(method)
        def checked(view: "ApiView", request: Request, **path: str) -> Response:
            given = _given(request, path)
            serializer = input_class(data=given)
            serializer.is_valid(raise_exception=True)
            wanted = serializer.validated_data

            def answer() -> Response:
                return method(view, request, wanted, **path)

            def repeated(operation: UUID, made: Sequence[UUID]) -> Response:
                if again is not None:
                    return again(request, made)
                assert shown is not None
                return (answered or started)(request, Operation.objects.get(pk=operation), shown(made[0]))

            return once(request, given, answer, repeated if shown or again else None) if creates else answer()

        checked.input_class = input_class  # type: ignore[attr-defined]
        checked.creates = creates  # type: ignore[attr-defined]
        return checked

    return decorate


def _given(request: Request, path: Mapping[str, str]) -> dict[str, Any]:
    said = request.data
    if not isinstance(said, dict):
        raise Invalid("body: an object is needed")
    given = {**request.query_params.dict(), **said}
    for name in path:
        if name in given:
            raise Invalid(f"{name}: is part of the address and cannot be given again")
    return given


class ApiView(APIView):
    """The base of all views; knows who calls."""

    @property
    def caller(self) -> Caller:
        caller: Caller = self.request.user
        return caller

    @property
    def own_uuid(self) -> Any:
        return self.caller.namespace_uuid


class SystemView(ApiView):
    """A view for keys of the system namespace only."""

    permission_classes: ClassVar[Any] = [IsSystem]


def address(request: Request, path: str) -> str:
    """The absolute address of `path`, as the outside knows this cluster."""
    return (
        f"{settings.API_PUBLIC_URL.rstrip('/')}{path}" if settings.API_PUBLIC_URL else request.build_absolute_uri(path)
    )


def operation_handle(operation: Operation) -> dict[str, str]:
    """How the public client speaks of an operation."""
    return {"op_type": operation.kind, "op_uuid": str(operation.uuid)}


def operation_summary(operation: Operation) -> dict[str, Any]:
    """One operation without its steps. Times are seconds since 1970."""
    return {
        "uuid": str(operation.uuid),
        "kind": operation.kind,
        "state": operation.state,
        "object": operation.object_key,
        "progress": operation.progress,
        "error": {"code": operation.error_code, "message": operation.error_message} if operation.error_code else None,
        "requested_by": operation.requested_by,
        "request_id": operation.request_id,
        "created_at": seconds(operation.created_at),
        "started_at": seconds(operation.started_at),
        "finished_at": seconds(operation.finished_at),
        "cancel_requested_at": seconds(operation.cancel_requested_at),
        "retry_of": str(operation.retry_of_id) if operation.retry_of_id else None,
    }


def started(request: Request, operation: Operation, view: Any, status: int = 200) -> Response:
    """Answer with the object and name its operation; with 202 and the operation where the caller asked for that."""
    link = address(request, f"/operations/{operation.uuid}")
    if "respond-async" in request.headers.get("Prefer", ""):
        operation.refresh_from_db()
        response = Response(operation_summary(operation), status=202)
        response["Preference-Applied"] = "respond-async"
        response["Location"] = link
    else:
        response = Response(view, status=status)
    response["Link"] = f'<{link}>; rel="operation"'
    return response


def accepted(request: Request, operation: Operation, view: Any) -> Response:
    """As `started`, for the routes that are ours: 202, with the operation's address in `Location` as well."""
    response = started(request, operation, view, status=202)
    response["Location"] = address(request, f"/operations/{operation.uuid}")
    return response


def seconds(moment: Any) -> float | None:
    """Seconds since 1970, as the public client reads all times."""
    return moment.timestamp() if moment else None
