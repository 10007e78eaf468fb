"""What the flow records about a file: the metadata of each object, the intent in the ledger, and the log lines."""

from collections.abc import Sequence

import structlog

from file.logic.accounts.hashes import AccountHashes
from file.logic.fanout.retries import Attempts
from file.logic.naming import check_metadata, encode_name
from file.logic.parts import PartReader, part_size_of
from file.logic.ports import StorageAccount
from file.logic.values import (
    FILE_ACCOUNT_HASHES,
    FILE_HEADERS,
    FILE_ID,
    FILE_INSTALLATION,
    FILE_NAME,
    FILE_SHA256,
    Ack,
    Failed,
    Identity,
    IncomingFile,
    Intent,
    Limits,
    ObjectDescription,
    Pending,
    Place,
    Receipt,
    Removal,
)

_log = structlog.get_logger()


def describe(
    file: IncomingFile,
    identity: Identity,
    accounts: Sequence[str],
    sha256: bytes | None,
    installation: str,
    hashes: AccountHashes,
) -> ObjectDescription:
    """The description of the object for every account. Raises `MetadataRefusedError`."""
    ours = {
        FILE_ID: file.id,
        FILE_NAME: encode_name(identity.name),
        FILE_ACCOUNT_HASHES: hashes.of(file.id, accounts),
        FILE_INSTALLATION: installation,
    }
    if sha256 is not None:
        ours[FILE_SHA256] = sha256.hex()
    if file.content_headers:
        ours[FILE_HEADERS] = ",".join(file.content_headers)
    check_metadata(file.metadata, ours=ours)
    return ObjectDescription(
        file_id=file.id,
        key=identity.key,
        content_type=file.content_type,
        metadata={**file.metadata, **ours},
        content_headers=file.content_headers,
    )


def intent_of(
    file: IncomingFile,
    identity: Identity,
    buckets: Sequence[StorageAccount],
    ack: Ack,
    limits: Limits,
    reader: PartReader,
) -> Intent:
    """The intent of the upload, after the first part was read."""
    known = reader.checked
    return Intent(
        id=file.id,
        key=identity.key,
        key_is_chosen=identity.key_is_chosen,
        name=identity.name,
        content_type=file.content_type,
        content_headers=file.content_headers,
        metadata=file.metadata,
        size=known.size if known else file.size,
        sha256=known.sha256 if known else file.sha256,
        part_size=None if known else part_size_of(1, file.size, limits, limits.memory),
        ack=ack.text,
        places=tuple(
            Place(bucket.account.name, bucket.account.s3_bucket_name, bucket.account.prefix + identity.key)
            for bucket in buckets
        ),
        who=file.who,
        idempotency_key=file.idempotency_key,
        expected_id=file.expected_id,
    )


def log_outcomes(receipt: Receipt, calls: Sequence[Attempts]) -> None:
    """Writes one log line per account with its outcome."""
    for of_account, outcome in zip(calls, receipt.outcomes, strict=True):
        entry = {
            "id": receipt.id,
            "key": receipt.key,
            "size": receipt.digests.size if receipt.digests else None,
            "account": outcome.account,
            "bucket": outcome.bucket,
            "seconds": round(of_account.seconds, 4),
            "attempts": of_account.count,
            "s3_request_id": outcome.request_id,
        }
        if isinstance(outcome, Failed):
            error = outcome.error
            _log.warning(
                "account_failed",
                **entry,
                code=error.code,
                detail=error.detail,
                operation=error.operation,
                s3_code=error.s3_code,
                removal=outcome.removal.value,
                cause=repr(error.__cause__) if error.__cause__ else None,
                object_key=outcome.object_key if outcome.removal is Removal.PENDING else None,
            )
        elif isinstance(outcome, Pending):
            _log.warning("account_pending", **entry, code=outcome.code)
        else:
            _log.info("account_stored", **entry, version_id=outcome.version_id)
