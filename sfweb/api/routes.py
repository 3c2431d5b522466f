"""The whole address table of the API on one screen. A literal stands before a placeholder that would match it too."""

from django.urls import URLPattern, path

from sfweb.api import agent_operations as agents
from sfweb.api import (
    archives,
    blobs,
    cluster,
    consoles,
    graphics,
    instances,
    interfaces,
    keys,
    labels,
    limits,
    networks,
    nodes,
    operations,
    snapshots,
    tokens,
    uploads,
)
from sfweb.api import artifacts as art
from sfweb.api import instance_changes as changes
from sfweb.api import namespaces as ns
from sfweb.api import network_services as net
from sfweb.api.events import EVENT_OWNERS, Events
from sfweb.api.metadata import OWNERS, AllMetadata, OneMetadata
from sfweb.api.object_operations import WITH_OPERATIONS, ObjectOperations

POWER_VERBS = ("rebootsoft", "reboothard", "poweroff", "poweron", "pause", "unpause")

urlpatterns: list[URLPattern] = [
    path("auth", tokens.Tokens.as_view()),
    path("auth/namespaces", ns.Namespaces.as_view()),
    path("auth/namespaces/<str:namespace>", ns.NamespaceDetail.as_view()),
    path("auth/namespaces/<str:namespace>/keys", keys.Keys.as_view()),
    path("auth/namespaces/<str:namespace>/keys/<str:key_name>", keys.KeyDetail.as_view()),
    path("auth/namespaces/<str:namespace>/clean", ns.NamespaceClean.as_view()),
    path("auth/namespaces/<str:namespace>/limits", limits.Limits.as_view()),
    path("auth/namespaces/<str:namespace>/trust", ns.Trusts.as_view()),
    path("auth/namespaces/<str:namespace>/trust/<str:external_namespace>", ns.TrustDetail.as_view()),
    path("instances", instances.Instances.as_view()),
    path("instances/<str:ref>", instances.InstanceDetail.as_view()),
    path("instances/<str:ref>/interfaces", changes.InstanceInterfaces.as_view()),
    path("instances/<str:ref>/disks", changes.InstanceDisks.as_view()),
    path("instances/<str:ref>/disks/<str:device>", changes.InstanceDisk.as_view()),
    path("instances/<str:ref>/consoledata", consoles.ConsoleBytes.as_view()),
    path("instances/<str:ref>/console", consoles.ConsoleTickets.as_view()),
    path("instances/<str:ref>/vdiconsolehelper", graphics.ViewerFile.as_view()),
    path("instances/<str:ref>/vdiconsoleproxy", graphics.ViewerAddress.as_view()),
    path("instances/<str:ref>/screenshot", graphics.Screenshots.as_view()),
    path("screens/<str:ticket>", graphics.ViewerFileOnce.as_view()),
    *(path(f"instances/<str:ref>/{verb}", instances.InstancePower.as_view(verb=verb)) for verb in POWER_VERBS),
    path("instances/<str:ref>/agent/execute", agents.AgentExecute.as_view()),
    path("instances/<str:ref>/agent/put", agents.AgentPut.as_view()),
    path("instances/<str:ref>/agent/get", agents.AgentGet.as_view()),
    path("instances/<str:ref>/agentoperations", agents.InstanceAgentOperations.as_view()),
    path("instances/<str:ref>/snapshot", snapshots.InstanceSnapshots.as_view()),
    path("instances/<str:ref>/revert", snapshots.InstanceRevert.as_view()),
    path("snapshots", snapshots.SnapshotSets.as_view()),
    path("snapshots/<str:ref>/export", archives.SnapshotExport.as_view()),
    path("imports", archives.Imports.as_view()),
    path("snapshots/<str:ref>", snapshots.SnapshotSetDetail.as_view()),
    path("agentoperations/<str:ref>", agents.AgentOperationDetail.as_view()),
    path("networks", networks.Networks.as_view()),
    path("networks/<str:ref>", networks.NetworkDetail.as_view()),
    path("networks/<str:ref>/interfaces", networks.NetworkInterfaces.as_view()),
    path("networks/<str:ref>/addresses", networks.NetworkAddresses.as_view()),
    path("networks/<str:ref>/route", net.NetworkRoutes.as_view()),
    path("networks/<str:ref>/route/<str:address>", net.NetworkRoute.as_view()),
    path("networks/<str:ref>/dns", net.NetworkNames.as_view()),
    path("networks/<str:ref>/ping/<str:address>", net.NetworkPing.as_view()),
    path("interfaces/<str:ref>", interfaces.InterfaceDetail.as_view()),
    path("interfaces/<str:ref>/float", interfaces.InterfaceFloat.as_view()),
    path("interfaces/<str:ref>/defloat", interfaces.InterfaceDefloat.as_view()),
    path("artifacts", art.Artifacts.as_view()),
    path("artifacts/upload/<str:name>", art.ArtifactUpload.as_view()),
    path("artifacts/<str:ref>", art.ArtifactDetail.as_view()),
    path("artifacts/<str:ref>/versions", art.ArtifactVersions.as_view()),
    path("artifacts/<str:ref>/versions/<int:index>", art.ArtifactVersionDetail.as_view()),
    path("artifacts/<str:ref>/grants", art.ArtifactGrants.as_view()),
    path("artifacts/<str:ref>/grants/<str:namespace>", art.ArtifactGrantDetail.as_view()),
    path("artifacts/<str:ref>/share", art.ArtifactShare.as_view(shared=True)),
    path("artifacts/<str:ref>/unshare", art.ArtifactShare.as_view(shared=False)),
    path("labels", labels.Labels.as_view()),
    path("label/<path:name>", labels.Label.as_view()),
    path("images", labels.WellKnownImages.as_view()),
    path("upload", uploads.Uploads.as_view()),
    path("upload/<str:ref>", uploads.UploadChunk.as_view()),
    path("upload/<str:ref>/truncate/<str:offset>", uploads.UploadTruncation.as_view()),
    path("blobs", blobs.Blobs.as_view()),
    path("blobs/<str:ref>", blobs.BlobDetail.as_view()),
    path("blobs/<str:ref>/data", blobs.BlobBytes.as_view()),
    path("blobs/<str:ref>/checksum/<str:algorithm>", blobs.BlobChecksum.as_view()),
    path("blob_checksums/<str:algorithm>/<str:checksum>", blobs.BlobByChecksum.as_view()),
    path("nodes", nodes.Nodes.as_view()),
    path("nodes/<str:ref>", nodes.NodeDetail.as_view()),
    path("nodes/<str:ref>/processmetrics", nodes.NodeCpuMetrics.as_view()),
    path("admin/locks", cluster.Locks.as_view()),
    path("admin/resources", cluster.Resources.as_view()),
    path("admin/cacert", cluster.CaCertificate.as_view()),
    path("admin/vditokenpubkey", cluster.ProxyTokenKey.as_view()),
    path("operations", operations.Operations.as_view()),
    path("operations/<str:ref>", operations.OperationDetail.as_view()),
    path("operations/<str:ref>/cancel", operations.OperationCancel.as_view()),
    path("clusteroperations", operations.ClusterOperations.as_view()),
    path("clusteroperations/<str:ref>/chain", operations.ClusterOperationChain.as_view()),
    path("clusteroperations/<str:op_type>/<str:ref>", operations.ClusterOperationDetail.as_view()),
    *(
        path(f"{plural}/<str:ref>/{word}", ObjectOperations.as_view(plural=plural))
        for plural in WITH_OPERATIONS
        for word in ("clusteroperations", "operations")
    ),
    *(path(f"{plural}/<str:ref>/metadata", AllMetadata.as_view(plural=plural)) for plural in OWNERS),
    *(path(f"{plural}/<str:ref>/metadata/<str:key>", OneMetadata.as_view(plural=plural)) for plural in OWNERS),
    *(path(f"{plural}/<str:ref>/events", Events.as_view(plural=plural)) for plural in EVENT_OWNERS),
]
