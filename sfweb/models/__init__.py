"""Every table. One noun per file."""

from sfweb.models.agent import AgentOperation
from sfweb.models.allocation import IdempotencyKey, Metadata, PoolAllocation
from sfweb.models.artifact import (
    KEPT_VERSIONS,
    Artifact,
    ArtifactGrant,
    ArtifactKind,
    ArtifactVersion,
    Permission,
)
from sfweb.models.blob import Blob, BlobHash, BlobLocation, Upload
from sfweb.models.claim import ClusterCapacity, NamespaceClaim
from sfweb.models.cluster import BootstrapOperation, Duty, SchemaVersion
from sfweb.models.console import ConsoleTicket, Screenshot
from sfweb.models.event import Event, EventObject
from sfweb.models.instance import Disk, Instance, PlacementReservation
from sfweb.models.namespace import Key, Namespace, Trust
from sfweb.models.network import (
    FLOATING,
    Address,
    AddressKind,
    CarrierLease,
    DhcpLease,
    DnsEntry,
    Interface,
    Network,
)
from sfweb.models.node import Node, NodeCapacity, NodeCredential, NodeObject, Wanted
from sfweb.models.notice import ChannelKind, Delivery, Notice, NoticeChannel
from sfweb.models.operation import DependencyKind, Operation, OperationDependency, OperationTarget, Step
from sfweb.models.recurring import Overlap, Schedule, ScheduleKind, Tick
from sfweb.models.snapshot import SnapshotSet

__all__ = [
    "FLOATING",
    "KEPT_VERSIONS",
    "Address",
    "AddressKind",
    "AgentOperation",
    "Artifact",
    "ArtifactGrant",
    "ArtifactKind",
    "ArtifactVersion",
    "Blob",
    "BlobHash",
    "BlobLocation",
    "BootstrapOperation",
    "CarrierLease",
    "ChannelKind",
    "ClusterCapacity",
    "ConsoleTicket",
    "Delivery",
    "DependencyKind",
    "DhcpLease",
    "Disk",
    "DnsEntry",
    "Duty",
    "Event",
    "EventObject",
    "IdempotencyKey",
    "Instance",
    "Interface",
    "Key",
    "Metadata",
    "Namespace",
    "NamespaceClaim",
    "Network",
    "Node",
    "NodeCapacity",
    "NodeCredential",
    "NodeObject",
    "Notice",
    "NoticeChannel",
    "Operation",
    "OperationDependency",
    "OperationTarget",
    "Overlap",
    "Permission",
    "PlacementReservation",
    "PoolAllocation",
    "Schedule",
    "ScheduleKind",
    "SchemaVersion",
    "Screenshot",
    "SnapshotSet",
    "Step",
    "Tick",
    "Trust",
    "Upload",
    "Wanted",
]
