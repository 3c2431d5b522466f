"""The capability page. The client finds a capability by looking for its token anywhere in the text.

A token stands here only when its endpoint answers (those of `screens` where VDI_DIRECT allows it), and no other text on
the page may contain one.
"""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

CAPABILITIES = {
    "agents": (
        "agentoperations-crud",
        "instance-agentoperations",
        "instance-agentoperations-all",
        "instance-execute",
        "instance-get",
        "instance-put-blob",
    ),
    "artifacts": ("artifact-clusteroperations", "artifact-metadata"),
    "blobs": (
        "blob-checksums",
        "blob-data-limit",
        "blob-events",
        "blob-hash-sha1",
        "blob-hash-sha256",
        "blob-hash-xxh128",
        "blob-metadata",
        "blob-search-by-hash",
        "blob-single-checksum",
    ),
    "cluster": (
        "cluster-cacert",
        "cluster-operation-chain",
        "cluster-operations-by-target",
        "cluster-resources",
        "get-cluster-operations",
        "object-pending-operations",
    ),
    "events": ("events-by-type",),
    "instances": (
        "get-instance-namespace",
        "hot-plug-interface",
        "instance-clusteroperations",
        "instance-screenshot",
    ),
    "interfaces": ("interface-metadata",),
    "networks": (
        "extra-dns-entries",
        "get-network-namespace",
        "list-addresses",
        "network-clusteroperations",
        "network-delete-async",
        "provide-dns",
        "route-addresses",
    ),
    "screens": ("vdi-console-helper", "vdi-console-proxy"),
    "nodes": ("node-get", "node-metadata", "node-process-metrics"),
}


def show_capabilities(request: HttpRequest) -> HttpResponse:
    """Public: the client reads it before it has a token."""
    shown = {family: tokens for family, tokens in CAPABILITIES.items() if settings.VDI_DIRECT or family != "screens"}
    rows = "".join(f"<li>{family}: {', '.join(tokens)}</li>\n" for family, tokens in shown.items())
    links = '<p><a href="/docs/">Interface</a>, <a href="/admin/">administration</a></p>'
    return HttpResponse(
        f"<!doctype html>\n<html><head><title>Steadyfist</title></head><body>\n<h1>Steadyfist</h1>\n"
        f"<ul>\n{rows}</ul>\n{links}\n</body></html>\n"
    )
