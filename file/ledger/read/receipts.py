"""Turns rows into receipts, and into the progress of an erasure."""

import base64
from collections.abc import Sequence

from file.logic.values import Digests, Erasure, ErasureOfAccount, Pending, Receipt, ReplicaState, Stored
from file.models import File, Replica


def receipt_of(file: File, replicas: Sequence[Replica]) -> Receipt:
    """The receipt of an acknowledged file, with one outcome per replica; without accounts that are losing the file."""
    leaving = (ReplicaState.ERASING, ReplicaState.ERASED)
    return Receipt(
        id=str(file.pk),
        key=file.key,
        name=file.name,
        content_type=file.content_type,
        digests=digests_of(file),
        outcomes=tuple(
            _outcome(replica) for replica in sorted(replicas, key=lambda r: r.account) if replica.state not in leaving
        ),
        metadata=file.metadata,
        content_headers=file.content_headers or {},
        created_at=file.created_at,
        stored_at=file.stored_at,
    )


def digests_of(file: File) -> Digests:
    """The digests of an acknowledged file."""
    assert file.size is not None
    assert file.sha256 is not None
    assert file.crc64nvme is not None
    return Digests(file.size, bytes.fromhex(file.sha256), int.from_bytes(base64.b64decode(file.crc64nvme), "big"))


def _outcome(replica: Replica) -> Stored | Pending:
    if replica.state != ReplicaState.STORED:
        return Pending(
            account=replica.account,
            bucket=replica.bucket,
            object_key=replica.object_key,
            code=replica.error_code,
            retryable=replica.state != ReplicaState.BLOCKED,
            request_id=replica.request_id,
        )
    return Stored(
        account=replica.account,
        bucket=replica.bucket,
        object_key=replica.object_key,
        etag=replica.etag or "",
        version_id=replica.version_id,
        request_id=replica.request_id,
        checked_by=replica.checksum or "crc64nvme",
    )


def erasure_of(alias: str, file_id: str) -> Erasure | None:
    """The progress of the erasure; None if the file is not being erased."""
    file = File.objects.using(alias).filter(pk=file_id, key_hash__isnull=False).first()
    if file is None:
        return None
    replicas = Replica.objects.using(alias).filter(file_id=file_id).order_by("account")
    return Erasure(
        id=str(file.pk),
        key_hash=file.key_hash or "",
        size=file.size,
        created_at=file.created_at,
        stored_at=file.stored_at,
        erased_at=file.erased_at,
        accounts=tuple(
            ErasureOfAccount(
                account=replica.account,
                bucket=replica.bucket,
                erased_at=replica.erased_at,
                code=replica.error_code,
                strangers=replica.strangers or 0,
            )
            for replica in replicas
        ),
    )
