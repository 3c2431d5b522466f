"""The pages of operators: everything can be seen, states cannot be edited, and every action is an operation request."""

from django.contrib import admin
from django.contrib.auth.models import Group, User
from django_celery_beat import models as beat

from sfweb import models
from sfweb.admin import cluster, computing, operations, owners, storage

for unused in (Group, User, beat.PeriodicTask, beat.IntervalSchedule, beat.CrontabSchedule, beat.SolarSchedule):
    if admin.site.is_registered(unused):
        admin.site.unregister(unused)
if admin.site.is_registered(beat.ClockedSchedule):
    admin.site.unregister(beat.ClockedSchedule)

PAGES = {
    models.Namespace: owners.NamespacePage,
    models.Key: owners.KeyPage,
    models.Trust: owners.TrustPage,
    models.Metadata: owners.MetadataPage,
    models.IdempotencyKey: owners.IdempotencyPage,
    models.Instance: computing.InstancePage,
    models.AgentOperation: computing.AgentOperationPage,
    models.Disk: computing.DiskPage,
    models.Interface: computing.InterfacePage,
    models.Network: computing.NetworkPage,
    models.Address: computing.AddressPage,
    models.CarrierLease: computing.CarrierPage,
    models.DhcpLease: computing.DhcpLeasePage,
    models.DnsEntry: computing.DnsEntryPage,
    models.PlacementReservation: computing.ReservationPage,
    models.Artifact: storage.ArtifactPage,
    models.ArtifactVersion: storage.VersionPage,
    models.SnapshotSet: storage.SnapshotSetPage,
    models.Blob: storage.BlobPage,
    models.BlobLocation: storage.LocationPage,
    models.BlobHash: storage.HashPage,
    models.ArtifactGrant: storage.GrantPage,
    models.Screenshot: storage.ScreenshotPage,
    models.Upload: storage.UploadPage,
    models.Node: cluster.NodePage,
    models.NodeCapacity: cluster.CapacityPage,
    models.ClusterCapacity: cluster.ClusterCapacityPage,
    models.NamespaceClaim: owners.ClaimPage,
    models.NodeObject: cluster.NodeObjectPage,
    models.PoolAllocation: cluster.AllocationPage,
    models.Duty: cluster.DutyPage,
    models.BootstrapOperation: cluster.BootstrapPage,
    models.SchemaVersion: cluster.SchemaPage,
    models.Schedule: operations.SchedulePage,
    models.Tick: operations.TickPage,
    models.Operation: operations.OperationPage,
    models.Step: operations.StepPage,
    models.OperationDependency: operations.DependencyPage,
    models.OperationTarget: operations.TargetPage,
    models.Event: operations.EventPage,
    models.EventObject: operations.EventObjectPage,
    models.NoticeChannel: cluster.NoticeChannelPage,
    models.Notice: cluster.NoticePage,
    models.Delivery: cluster.DeliveryPage,
    beat.PeriodicTask: cluster.PeriodicTaskPage,
    beat.IntervalSchedule: cluster.IntervalPage,
}
"""Every table that may be seen. Credentials of nodes may not."""

for model, page in PAGES.items():
    admin.site.register(model, page)
