"""What is known of each copy of a blob: its hashes, and whether it still was what it should be when it was read again.

A node's word is a claim: it counts for copies of its own only, and a hash that does not fit the blob's row makes the copy
a broken one, never the blob.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Coalesce

from sfweb.domain import events
from sfweb.domain.digests import LENGTHS, is_digest
from sfweb.domain.lookup import as_uuid
from sfweb.domain.storage import reporting_nodes
from sfweb.models import Blob, BlobHash, BlobLocation, Node, NodeObject
from sfweb.models.fields import UtcNow
from sfweb.models.state import State

log = logging.getLogger(__name__)
MOST_CHECKS = 64
PENDING, VERIFIED, FAILED = "pending", "verified", "failed"


def remember(blob: Blob, node: uuid.UUID, facts: Mapping[str, Any]) -> None:
    """A copy has come and was verified on its node; its hashes replace what was known of an earlier one (BL-3)."""
    hashes = facts.get("hashes")
    claimed = {**(hashes if isinstance(hashes, dict) else {}), "sha512": facts.get("sha512")}
    for algorithm in LENGTHS:
        value = claimed.get(algorithm)
        if is_digest(value, algorithm):
            BlobHash.objects.update_or_create(
                blob=blob,
                node_id=node,
                algorithm=algorithm,
                defaults={
                    "hash_value": value,
                    "file_size": blob.size or 0,
                    "computed_at": UtcNow(),
                    "last_verified_at": UtcNow(),
                    "status": VERIFIED,
                    "error_message": None,
                },
            )
    BlobLocation.objects.get_or_create(blob=blob, node_id=node)


def forget(blob: Blob, node: uuid.UUID) -> None:
    """The copy is gone."""
    BlobLocation.objects.filter(blob=blob, node_id=node).delete()
    BlobHash.objects.filter(blob=blob, node_id=node).delete()


def is_broken(blob: uuid.UUID, node: uuid.UUID) -> bool:
    return BlobHash.objects.filter(blob_id=blob, node_id=node, status=FAILED).exists()


def take_checks(node: Node, claimed: Sequence[Any]) -> None:
    """What the node found when it read its copies again; part of a transaction."""
    checks = {}
    for claim in claimed[:MOST_CHECKS]:
        identity = as_uuid(str(claim.get("blob"))) if isinstance(claim, dict) else None
        if identity is not None and isinstance(claim.get("check"), str):
            checks[identity] = claim
    rows = BlobHash.objects.select_related("blob").filter(node=node, algorithm="sha512", blob__in=list(checks))
    for row in rows:
        claim = checks[row.blob_id]
        if claim["check"][:32] != row.last_check:
            BlobHash.objects.filter(pk=row.pk).update(last_check=claim["check"][:32])
            _judge(node, row.blob, str(claim.get("reason") or "")[:255], claim.get("sha512"))


def _judge(node: Node, blob: Blob, reason: str, sha512: object) -> None:
    if not reason and sha512 != blob.sha512:
        reason = "the content is not what it was when it came"
    mine = BlobHash.objects.filter(blob=blob, node=node)
    if not reason:
        mine.update(status=VERIFIED, error_message=None, last_verified_at=UtcNow())
        return
    mine.update(status=FAILED, error_message=reason, last_verified_at=UtcNow())
    facts = {"blob": str(blob.pk), "node": node.name, "algorithm": "sha512", "reason": reason}
    log.warning("a copy of a blob failed its verification", extra=facts)
    replaceable = _has_another(blob, node)
    message = "a copy failed its verification" if replaceable else "the only copy failed its verification"
    events.record("audit", message, [("blob", blob.pk), ("node", node.pk)], extra=facts)
    if replaceable:
        BlobLocation.objects.filter(blob=blob, node=node).delete()
        rows = NodeObject.objects.filter(node=node, object_type="blob", object_uuid=blob.pk)
        rows.update(generation=Coalesce(F("generation"), 1) + 1)


def _has_another(blob: Blob, node: Node) -> bool:
    broken = BlobHash.objects.filter(blob=blob, status=FAILED).values("node")
    others = BlobLocation.objects.filter(blob=blob, node__state=State.CREATED).exclude(node=node)
    return others.exclude(node__in=broken).exists()


def wanted_copies() -> int:
    """On how many nodes a blob should lie: the setting, or as many nodes as there are."""
    return min(settings.BLOB_COPIES, max(1, reporting_nodes().count()))
