"""What the flow records about a file: the metadata of each object, and the intent in the ledger."""

from collections.abc import Sequence

from file.logic.accounts.hashes import AccountHashes
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
    Identity,
    IncomingFile,
    Intent,
    Limits,
    ObjectDescription,
    Place,
)


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
