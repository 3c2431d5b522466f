"""Namespaces, keys, trust, and what hangs on objects."""

from sfweb.admin.pages import ReadOnlyPage


class NamespacePage(ReadOnlyPage):
    list_display = ("name", "state", "created_at")
    list_filter = ("state",)
    search_fields = ("name", "uuid")
    ordering = ("name",)


class KeyPage(ReadOnlyPage):
    list_display = ("name", "namespace", "state", "scopes", "expires_at", "created_at")
    list_filter = ("state",)
    search_fields = ("name", "namespace__name")
    list_select_related = ("namespace",)
    secret_fields = ("digest", "nonce")


class TrustPage(ReadOnlyPage):
    list_display = ("namespace", "trusted")
    search_fields = ("namespace__name", "trusted__name")
    list_select_related = ("namespace", "trusted")


class MetadataPage(ReadOnlyPage):
    list_display = ("object_type", "object_uuid", "key")
    list_filter = ("object_type",)
    search_fields = ("object_uuid", "key")


class IdempotencyPage(ReadOnlyPage):
    list_display = ("key", "namespace", "path", "status", "created_at")
    search_fields = ("key", "namespace__name")
    list_select_related = ("namespace",)
    secret_fields = ("answer", "headers", "body_digest")


class ClaimPage(ReadOnlyPage):
    list_display = (
        "uuid",
        "namespace",
        "state",
        "limit_cpus",
        "used_cpus",
        "limit_memory_mb",
        "used_memory_mb",
        "expires_at",
    )
    list_filter = ("state",)
    search_fields = ("uuid", "namespace__name")
    list_select_related = ("namespace",)
