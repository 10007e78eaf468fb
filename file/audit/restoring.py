"""What an object says of its file: everything that the ledger had, but for what stands in no metadata.

Who sent the file, the ack that was asked for, the idempotency key, the size of the parts and S3's request ids are not
to be had from an account. Pure: neither asks nor writes.
"""

from collections.abc import Callable, Collection, Sequence
from urllib.parse import unquote

from file.audit.inventory import Sighting
from file.ledger.audit.rebuild import Copy, RestoredFile
from file.ledger.read.queries import is_storable
from file.logic.naming import begun_at, name_of
from file.logic.values import (
    FILE_HEADERS,
    FILE_NAME,
    FILE_SHA256,
    RESERVED_METADATA,
    Digests,
)


def sha256_of(sighting: Sighting) -> bytes | None:
    """What was known of it when the object was begun."""
    try:
        digest = bytes.fromhex(sighting.found.metadata.get(FILE_SHA256, ""))
    except ValueError:
        return None
    return digest if len(digest) == 32 else None


def restored(
    sightings: Sequence[Sighting], digests: Digests, named: Collection[str], why_missing: Callable[[str], str]
) -> RestoredFile:
    """A file that lies in some accounts. `why_missing` gives the error code for the others that are `named` by its
    objects.
    """
    first = sightings[0]
    begun = begun_at(first.file_id)
    assert begun is not None  # or it would be a stranger
    found = {sighting.account for sighting in sightings}
    return RestoredFile(
        id=first.file_id,
        key=first.key,
        name=_name(first),
        content_type=first.found.content_type,
        content_headers=_content_headers(first),
        metadata={
            name: value for name, value in first.found.metadata.items() if not name.startswith(RESERVED_METADATA)
        },
        digests=digests,
        created_at=begun,
        copies=[copy_of(sighting) for sighting in sightings],
        missing={account: why_missing(account) for account in sorted(set(named) - found)},
    )


def copy_of(sighting: Sighting) -> Copy:
    return Copy(sighting.found.stored, sighting.found.last_modified)


def _content_headers(sighting: Sighting) -> dict[str, str]:
    """Those that were sent with the file, without what the store shows besides."""
    names = sighting.found.metadata.get(FILE_HEADERS, "").split(",")
    return {name: value for name, value in sighting.found.content_headers.items() if name in names}


def _name(sighting: Sighting) -> str:
    """As its sender gave it; the key's last segment if that cannot be read."""
    try:
        name = unquote(sighting.found.metadata.get(FILE_NAME, ""), errors="strict")
    except UnicodeDecodeError:
        name = ""
    return name if name and is_storable(name) else name_of(sighting.key)
