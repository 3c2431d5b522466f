"""What all pages of the administration share: they show, they do not edit."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest

from sfweb.domain.callers import Caller
from sfweb.errors import SteadyfistError
from sfweb.logs import request_id


class ReadOnlyPage(admin.ModelAdmin):
    """Rows are looked at. Only an action changes something, and it does so as an operation's request."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    secret_fields: tuple[str, ...] = ()
    """Columns that no page shows (SE-16)."""

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [field for field in super().get_fields(request, obj) if field not in self.secret_fields]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [field.name for field in self.opts.fields if field.name not in self.secret_fields]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_staff)

    def has_act_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_staff)


def caller_of(request: HttpRequest) -> Caller:
    """The operator, as an operation's request wants to know who asks."""
    key = request.user.proven_key
    return Caller(
        namespace=key.namespace, namespace_uuid=key.namespace_uuid, key_name=key.name, request_id=request_id.get()
    )


def for_each(page: admin.ModelAdmin, request: HttpRequest, rows: Any, act: Callable[[Caller, Any], Any]) -> None:
    """Do `act` to each chosen row and tell what became of it; one refusal does not stop the others."""
    caller, done = caller_of(request), 0
    for row in rows:
        try:
            act(caller, row)
            done += 1
        except SteadyfistError as error:
            page.message_user(request, f"{row}: {error}", messages.ERROR)
    if done:
        page.message_user(request, f"{done} requested", messages.SUCCESS)
