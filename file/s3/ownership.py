"""Whose an object is that lies under a key of ours: ours, a stranger's, or not to be told.

Every object of ours carries its file's id as metadata. A store, or a gateway before it, may lose the metadata: then the
version or the ETag that the account told when it stored the object shows that it is ours. What is shown neither to be
ours nor to be another's is unknown: it is not removed, and not called removed. Pure: asks nothing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

from file.logic.naming import begun_at
from file.logic.values import FILE_ID
from file.s3.client import Answer, S3Client

_FILE_ID = f"x-amz-meta-{FILE_ID}"
_WHOLE_SECONDS = timedelta(seconds=2)  # both dates are cut to them


class Whose(Enum):
    OURS = "ours"
    STRANGERS = "stranger's"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Written:
    """What we wrote under a key: `version_id` and `etag` as the account told them, None where it did not."""

    file_id: str
    version_id: str | None = None
    etag: str | None = None


def file_id_of(client: S3Client, found: Answer) -> str | None:
    """The file's id that an object shows. The client remembers that its account gives metadata back."""
    shown = found.headers.get(_FILE_ID)
    if shown is not None:
        client.shows_metadata = True
    return shown


def whose(client: S3Client, found: Answer, written: Written, version_id: str | None = None) -> Whose:
    """`found`: what HEAD answered, asked for `version_id` or for what lies under the key now."""
    shown = file_id_of(client, found)
    if shown == written.file_id:
        return Whose.OURS
    version = version_id or found.headers.get("x-amz-version-id")
    if written.version_id is not None:  # a numbered version never changes
        return Whose.OURS if version == written.version_id else Whose.STRANGERS
    if written.etag:
        if version not in (None, "null") or not is_same_etag(found.headers.get("etag", ""), written.etag):
            return Whose.STRANGERS
        # Equal bytes of another file have the same ETag, too.
        return Whose.OURS if shown is None else Whose.UNKNOWN
    if shown is not None or client.shows_metadata or _is_older(found, written.file_id):
        return Whose.STRANGERS
    return Whose.UNKNOWN


def is_same_etag(one: str, other: str) -> bool:
    """Some stores leave the quotes out in one place and set them in another."""
    return bare_etag(one) == bare_etag(other)


def bare_etag(etag: str) -> str:
    return etag.removeprefix('"').removesuffix('"')


def _is_older(found: Answer, file_id: str) -> bool:
    """Whether the object was there before the file began to arrive; by the account's clock, if it tells it."""
    begun = begun_at(file_id)
    try:
        modified = parsedate_to_datetime(found.headers.get("last-modified", "")).astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    ahead = timedelta() if found.date is None else found.date - datetime.now(UTC)
    return begun is not None and modified + _WHOLE_SECONDS < begun + ahead
