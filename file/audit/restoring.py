"""What an object says of its file, as rows: everything that the ledger had, but for what stands in no metadata.

Who sent the file, the ack that was asked for, the idempotency key, the size of the parts and S3's request ids are not
to be had from an account. Pure: neither asks nor writes.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from django.db.models.functions import Now

from file.audit.inventory import Sighting
from file.ledger.read.queries import is_storable
from file.logic.naming import begun_at, name_of
from file.logic.values import (
    FILE_HEADERS,
    FILE_NAME,
    FILE_SHA256,
    RESERVED_METADATA,
    Account,
    Digests,
    FileState,
    ReplicaState,
    checksum_text,
)
from file.models import File, Replica


@dataclass(frozen=True, slots=True)
class Restored:
    """A file's rows, and one of the objects that they were made from."""

    file: File
    replicas: list[Replica]
    sighting: Sighting


def sha256_of(sighting: Sighting) -> bytes | None:
    """What was known of it when the object was begun."""
    try:
        digest = bytes.fromhex(sighting.found.metadata.get(FILE_SHA256, ""))
    except ValueError:
        return None
    return digest if len(digest) == 32 else None


def restored(
    sightings: Sequence[Sighting],
    digests: Digests,
    named: Collection[str],
    places: Mapping[str, Account],
    why_missing: Callable[[str], str],
) -> Restored:
    """The rows of a file that lies in some accounts. `why_missing` gives the error code for the others that are `named`
    by its objects.
    """
    first = sightings[0]
    begun = begun_at(first.file_id)
    assert begun is not None  # or it would be a stranger
    found = {sighting.account: sighting for sighting in sightings}
    wanted = sorted({*named, *found})
    missing = {account: why_missing(account) for account in wanted if account not in found}
    file = File(
        id=uuid.UUID(first.file_id),
        key=first.key,
        name=_name(first),
        content_type=first.found.content_type,
        size=digests.size,
        sha256=digests.sha256.hex(),
        crc64nvme=checksum_text(digests.crc64nvme),
        content_headers=_content_headers(first) or None,
        metadata={
            name: value for name, value in first.found.metadata.items() if not name.startswith(RESERVED_METADATA)
        },
        ack="all",
        wanted={account: "/".join(_place(places, account)) for account in wanted},
        state=FileState.PARTIAL if missing else FileState.STORED,
        who="",
        created_at=begun,
        stored_at=min(sighting.found.last_modified for sighting in sightings),
    )
    replicas = [_stored(file, sighting) for sighting in sightings]
    replicas += [_missing(file, account, code, places) for account, code in missing.items()]
    return Restored(file, replicas, first)


def _content_headers(sighting: Sighting) -> dict[str, str]:
    """Those that were sent with the file, without what the store shows besides."""
    names = sighting.found.metadata.get(FILE_HEADERS, "").split(",")
    return {name: value for name, value in sighting.found.content_headers.items() if name in names}


def _stored(file: File, sighting: Sighting) -> Replica:
    stored = sighting.found.stored
    return Replica(
        file=file,
        account=stored.account,
        bucket=stored.bucket,
        object_key=stored.object_key,
        state=ReplicaState.STORED,
        etag=stored.etag,
        version_id=stored.version_id,
        checksum=stored.checked_by,
        created_at=file.created_at,
        stored_at=sighting.found.last_modified,
    )


def _missing(file: File, account: str, code: str, places: Mapping[str, Account]) -> Replica:
    """Due now, unless there is nowhere to look."""
    bucket, prefix = _place(places, account)
    due: Any = Now() if account in places else None
    return Replica(
        file=file,
        account=account,
        bucket=bucket,
        object_key=prefix + file.key,
        state=ReplicaState.PENDING,
        error_code=code,
        created_at=file.created_at,
        next_attempt_at=due,
    )


def _place(places: Mapping[str, Account], account: str) -> tuple[str, str]:
    """Bucket and prefix; nowhere, for an account that is not configured any more."""
    return (places[account].s3_bucket_name, places[account].prefix) if account in places else ("", "")


def _name(sighting: Sighting) -> str:
    """As its sender gave it; the key's last segment if that cannot be read."""
    try:
        name = unquote(sighting.found.metadata.get(FILE_NAME, ""), errors="strict")
    except UnicodeDecodeError:
        name = ""
    return name if name and is_storable(name) else name_of(sighting.key)
