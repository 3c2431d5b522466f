"""Artifacts, blobs, uploads."""

from sfweb.admin.pages import ReadOnlyPage


class ArtifactPage(ReadOnlyPage):
    list_display = ("name", "namespace", "kind", "state", "shared", "source_url", "created_at")
    list_filter = ("state", "kind", "shared")
    search_fields = ("name", "uuid", "source_url", "namespace__name")
    list_select_related = ("namespace",)
    ordering = ("-created_at",)


class VersionPage(ReadOnlyPage):
    list_display = ("artifact", "index", "blob", "created_at")
    search_fields = ("artifact__name", "artifact__uuid", "blob__uuid")
    list_select_related = ("artifact", "blob")


class SnapshotSetPage(ReadOnlyPage):
    list_display = ("uuid", "instance_name", "namespace", "state", "reason", "schedule_uuid", "quiesced", "created_at")
    list_filter = ("state", "reason", "quiesced")
    search_fields = ("uuid", "instance_uuid", "schedule_uuid", "instance_name", "namespace__name")
    secret_fields = ("settings",)
    list_select_related = ("namespace",)


class BlobPage(ReadOnlyPage):
    list_display = ("uuid", "state", "format", "size", "virtual_size", "created_at", "last_used")
    list_filter = ("state", "format")
    search_fields = ("uuid", "sha512", "source_url")
    ordering = ("-created_at",)


class LocationPage(ReadOnlyPage):
    list_display = ("blob", "node", "verified_at")
    search_fields = ("blob__uuid", "node__name")
    list_select_related = ("blob", "node")


class HashPage(ReadOnlyPage):
    list_display = ("blob", "node", "algorithm", "status", "error_message", "computed_at", "last_verified_at")
    list_filter = ("status", "algorithm")
    search_fields = ("blob__uuid", "node__name", "hash_value")
    list_select_related = ("blob", "node")


class GrantPage(ReadOnlyPage):
    list_display = ("artifact", "namespace", "permission", "created_at")
    search_fields = ("artifact__name", "artifact__uuid", "namespace__name")
    list_select_related = ("artifact", "namespace")


class ScreenshotPage(ReadOnlyPage):
    list_display = ("blob", "instance", "created_at")
    search_fields = ("blob__uuid", "instance__name", "instance__uuid")
    list_select_related = ("blob", "instance")


class UploadPage(ReadOnlyPage):
    list_display = ("uuid", "namespace", "node", "state", "size", "created_at")
    list_filter = ("state",)
    search_fields = ("uuid", "namespace__name", "node__name")
    list_select_related = ("namespace", "node")
    ordering = ("-created_at",)
