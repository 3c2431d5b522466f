"""The shape of everything that the API shows, as JSON Schema: what the OpenAPI document promises of each answer.

Members that are named here are always there, but for those marked `(*)`; more may be added, so nobody may refuse others.
"""

from typing import Any

Shape = dict[str, Any]

TEXT: Shape = {"type": "string"}
UUID: Shape = {"type": "string", "format": "uuid"}
NUMBER: Shape = {"type": "number"}
WHOLE: Shape = {"type": "integer"}
FLAG: Shape = {"type": "boolean"}
FREE: Shape = {"type": "object", "additionalProperties": True}
ANYTHING: Shape = {}
NULL: Shape = {"type": "null"}
BYTES: Shape = {"type": "string", "format": "binary"}


def maybe(shape: Shape) -> Shape:
    """That, or null."""
    if "type" in shape:
        return {**shape, "type": [shape["type"], "null"]}
    return {"anyOf": [shape, NULL]}


def many(shape: Shape) -> Shape:
    return {"type": "array", "items": shape}


def mapping(shape: Shape) -> Shape:
    return {"type": "object", "additionalProperties": shape}


def ref(name: str) -> Shape:
    """A named shape of `SHAPES`."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(**members: Shape) -> Shape:
    """An object with these members; a name that ends with `__` may be left out."""
    properties = {name.removesuffix("__").replace("_DASH_", "-"): shape for name, shape in members.items()}
    required = [name for name in members if not name.endswith("__")]
    return {"type": "object", "properties": properties, "required": required}


COMMON: Shape = {"uuid": UUID, "state": TEXT, "metadata": FREE, "version": WHOLE}
POINTERS: Shape = {"has_pending_operations": FLAG, "last_cluster_operation__": maybe(ref("OperationHandle"))}
ONE_BLOB: Shape = {
    **COMMON,
    "size": WHOLE,
    "modified": NUMBER,
    "fetched_at": NUMBER,
    "depends_on": maybe(UUID),
    "transcodes": FREE,
    "locations": many(TEXT),
    "reference_count": WHOLE,
    "sha512": maybe(TEXT),
    "checksums": mapping(TEXT),
    "copies": FREE,
    "error_message": maybe(TEXT),
    "last_used": maybe(NUMBER),
    "instances": many(UUID),
}
ONE_ARTIFACT: Shape = {
    **COMMON,
    "name": TEXT,
    "artifact_type": TEXT,
    "source_url": TEXT,
    "max_versions": WHOLE,
    "namespace": TEXT,
    "shared": FLAG,
    "error_message": maybe(TEXT),
    "visible_because": TEXT,
    **POINTERS,
}

SHAPES: dict[str, Shape] = {
    "Error": record(
        error={"type": ["string", "object"]},
        status=WHOLE,
        code=TEXT,
        details=ANYTHING,
        request_id=TEXT,
    ),
    "OperationHandle": record(op_type=TEXT, op_uuid=UUID),
    "NetworkDeletion": record(network_uuid=UUID, op_type=TEXT, op_uuid=UUID),
    "Operation": record(
        uuid=UUID,
        kind=TEXT,
        state=TEXT,
        object=TEXT,
        progress={**WHOLE, "minimum": 0, "maximum": 100},
        error=maybe(record(code=TEXT, message=TEXT)),
        requested_by=TEXT,
        request_id=TEXT,
        created_at=NUMBER,
        started_at=maybe(NUMBER),
        finished_at=maybe(NUMBER),
        cancel_requested_at=maybe(NUMBER),
        retry_of=maybe(UUID),
    ),
    "Step": record(
        uuid=UUID,
        purpose=TEXT,
        action=TEXT,
        node=TEXT,
        object=TEXT,
        state=TEXT,
        attempt=WHOLE,
        reason=TEXT,
        sent_at=maybe(NUMBER),
        finished_at=maybe(NUMBER),
        outcome=maybe(FREE),
    ),
    "Why": record(
        sentence=TEXT,
        waits_for={
            **TEXT,
            "enum": ["dependency", "key", "turn", "object", "node", "retry", "room", "step", "nothing", "ended"],
        },
    ),
    "OperationInFull": {
        "allOf": [
            ref("Operation"),
            record(
                stages=many(many(ref("Step"))),
                targets=many(record(type=TEXT, uuid=UUID)),
                needs=many(record(operation=UUID, kind=TEXT)),
                why=ref("Why"),
                events=TEXT,
            ),
        ]
    },
    "ClusterOperation": record(
        operation_type=TEXT,
        uuid=UUID,
        state={**TEXT, "enum": ["queued", "executing", "complete", "error", "abort"]},
        tasks=many(TEXT),
        error_report=maybe(TEXT),
        op_type=TEXT,
        op_uuid=UUID,
    ),
    "Event": record(
        uuid=UUID,
        event_uuid=UUID,
        event_type=TEXT,
        timestamp=NUMBER,
        fqdn=TEXT,
        duration=maybe(NUMBER),
        message=TEXT,
        type=TEXT,
        extra=maybe(FREE),
        request_id=TEXT,
    ),
    "BlockDevice": record(
        device=TEXT, bus=maybe(TEXT), size=maybe(WHOLE), blob_uuid=maybe(UUID), snapshot_ignores=FLAG
    ),
    "Interface": record(
        **COMMON,
        network_uuid=UUID,
        instance_uuid=UUID,
        macaddr=maybe(TEXT),
        ipv4=maybe(TEXT),
        order=WHOLE,
        model=TEXT,
        floating=maybe(TEXT),
    ),
    "Instance": record(
        **COMMON,
        **POINTERS,
        name=TEXT,
        namespace=TEXT,
        cpus=WHOLE,
        memory=WHOLE,
        disk_spec=many(
            record(base=maybe(TEXT), bus=maybe(TEXT), size=maybe(WHOLE), type=maybe(TEXT), blob_uuid=maybe(UUID))
        ),
        ssh_key=maybe(TEXT),
        user_data=maybe(TEXT),
        video=FREE,
        uefi=FLAG,
        secure_boot=FLAG,
        nvram_template=maybe(TEXT),
        configdrive=TEXT,
        machine_type=TEXT,
        side_channels=many(TEXT),
        agent_state=maybe(TEXT),
        agent_start_time=maybe(NUMBER),
        agent_system_boot_time=maybe(NUMBER),
        error_message=maybe(TEXT),
        interfaces=many(ref("Interface")),
        disks=many(ref("BlockDevice")),
        agent_operations_queue=many(ANYTHING),
        node=maybe(TEXT),
        power_state=maybe(TEXT),
        console_port=maybe(WHOLE),
        vdi_port=maybe(WHOLE),
        vdi_tls_port=maybe(WHOLE),
        requested_placement__=TEXT,
    ),
    "PlacementDiagnosis": record(
        asked=mapping(WHOLE),
        candidates=many(
            record(node=TEXT, score=NUMBER, terms=mapping(NUMBER), limit=mapping(WHOLE), used=mapping(WHOLE))
        ),
        rejected=many(
            record(
                node=TEXT,
                stage=TEXT,
                cause__=TEXT,
                constraints__=many(TEXT),
                dimensions=mapping(record(limit=WHOLE, used=WHOLE, asked=WHOLE, short_by=WHOLE, exceeded=FLAG)),
            )
        ),
    ),
    "Network": record(
        **COMMON,
        **POINTERS,
        name=TEXT,
        namespace=TEXT,
        netblock=TEXT,
        provide_dhcp=FLAG,
        provide_nat=FLAG,
        provide_dns=FLAG,
        floating_gateway=maybe(TEXT),
        vxlan_id=WHOLE,
        error_message=maybe(TEXT),
    ),
    "Address": record(address=TEXT, user=many(TEXT), when=NUMBER, type=TEXT, comment=TEXT),
    "Echoes": record(stdout=many(TEXT), stderr=many(TEXT)),
    "Artifact": record(
        **ONE_ARTIFACT,
        index=WHOLE,
        blob_uuid__=UUID,
        blobs=mapping(
            record(uuid=UUID, size=WHOLE, reference_count=WHOLE, depends_on=maybe(UUID), instances=many(UUID))
        ),
    ),
    "Grant": record(namespace=TEXT, permission=TEXT),
    "Blob": record(**ONE_BLOB, blobs__=mapping(record(uuid=UUID))),
    "Version": record(**ONE_BLOB, index=WHOLE),
    "CapturedDisk": record(
        **{**ONE_ARTIFACT, **ONE_BLOB}, blob_uuid=UUID, index=WHOLE, device=TEXT, created=NUMBER, snapshot_uuid=UUID
    ),
    "Captures": mapping(record(source_url=TEXT, artifact_uuid=UUID, blob_uuid=UUID)),
    "SnapshotSet": record(
        uuid=UUID,
        state=TEXT,
        namespace=TEXT,
        instance_uuid=UUID,
        instance_name=TEXT,
        reason=TEXT,
        recurring_operation=maybe(UUID),
        quiesced=maybe(FLAG),
        error_message=maybe(TEXT),
        created_at=NUMBER,
        disks=many(
            record(device=TEXT, artifact_uuid=UUID, blob_uuid=UUID, version=WHOLE, size=WHOLE, state=TEXT),
        ),
    ),
    "Reversion": record(operation=UUID, before=UUID),
    "AgentOperation": record(
        **COMMON,
        namespace=TEXT,
        instance_uuid=UUID,
        commands=many(FREE),
        results=mapping(FREE),
        error_message=maybe(TEXT),
        deadline=maybe(NUMBER),
        progress_timeout=maybe(NUMBER),
        last_progress=maybe(NUMBER),
        attempts=WHOLE,
        created_at=NUMBER,
        finished_at=maybe(NUMBER),
    ),
    "RecurringOperation": record(
        uuid=UUID,
        name=TEXT,
        namespace=TEXT,
        instance_uuid=UUID,
        instance_name=TEXT,
        kind={**TEXT, "enum": ["snapshot", "execute"]},
        arguments=FREE,
        every_seconds=maybe(WHOLE),
        cron=maybe(TEXT),
        timezone=TEXT,
        overlap={**TEXT, "enum": ["skip", "queue", "replace"]},
        state=TEXT,
        enabled=FLAG,
        paused_reason=maybe(TEXT),
        next_ticks=many(NUMBER),
        last_tick=maybe(NUMBER),
        last_state=maybe(TEXT),
        last_reason=maybe(TEXT),
        consecutive_failures=WHOLE,
        created_at=NUMBER,
    ),
    "Tick": record(
        uuid=UUID,
        due=NUMBER,
        state={**TEXT, "enum": ["started", "skipped", "succeeded", "failed", "cancelled"]},
        reason=maybe(TEXT),
        operation=maybe(UUID),
        created_at=NUMBER,
        finished_at=maybe(NUMBER),
    ),
    "Upload": record(**COMMON, node=TEXT, created_at=NUMBER, size=WHOLE),
    "Namespace": record(
        name=TEXT, state=TEXT, metadata=FREE, version=WHOLE, keys=many(TEXT), trust=record(full=many(TEXT))
    ),
    "NewKey": {"anyOf": [TEXT, record(key_name=TEXT, key=TEXT)]},
    "Key": record(
        uuid=UUID,
        name=TEXT,
        namespace=TEXT,
        state=TEXT,
        version=WHOLE,
        scopes=maybe(many(TEXT)),
        expires_at=maybe(NUMBER),
        created_at=NUMBER,
    ),
    "Claim": record(
        uuid=UUID,
        namespace=TEXT,
        state=TEXT,
        coverage_state=TEXT,
        limit=mapping(WHOLE),
        used=mapping(WHOLE),
        created_at=NUMBER,
        expires_at=NUMBER,
        deleted_at=maybe(NUMBER),
    ),
    "Limit": record(limit=maybe(WHOLE), used=WHOLE, is_default=FLAG),
    "Resources": record(total=mapping(WHOLE), per_node=mapping(FREE)),
    "Reservation": record(
        uuid=UUID,
        state=TEXT,
        instance_uuid=UUID,
        instance_name=TEXT,
        namespace=TEXT,
        node=TEXT,
        cpus=WHOLE,
        memory_mb=WHOLE,
        disk_gb=WHOLE,
        created_at=NUMBER,
        expires_at=maybe(NUMBER),
        released_at=maybe(NUMBER),
    ),
    "HeldKey": record(pid=NULL, node=TEXT, operation=TEXT),
    "Token": record(access_token=TEXT, token_type=TEXT, expires_in=WHOLE),
    "Node": record(
        **COMMON,
        name=TEXT,
        fqdn=TEXT,
        ip=maybe(TEXT),
        lastseen=NUMBER,
        release=TEXT,
        is_etcd_master=FLAG,
        is_hypervisor=FLAG,
        is_network_node=FLAG,
        is_eventlog_node=FLAG,
        is_database_node=FLAG,
        is_cluster_maintainer=FLAG,
        cordoned=FLAG,
        error_message=maybe(TEXT),
        clock_skew=maybe(NUMBER),
        capacity=maybe(mapping(WHOLE)),
    ),
    "Image": record(name=TEXT, url=TEXT),
    "ConsoleTicket": record(url=TEXT, ticket=TEXT, expires_in=WHOLE),
    "ScreenAddress": record(url=TEXT, expires_at=NUMBER),
}
