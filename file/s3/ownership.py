"""Whose an object is that lies under a key of ours: ours, a stranger's, or not to be told.

Every object of ours carries its file's id as metadata. A store, or a gateway before it, may lose the metadata: then the
version or the ETag that the account told when it stored the object shows that it is ours. What is shown neither to be
ours nor to be another's is unknown, and so is an equal object without an id where the account gives metadata back: it
is not removed, and not called removed. Pure: asks nothing.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from file.logic.naming import begun_at
from file.logic.values import FILE_ID
from file.s3.client import Answer, S3Client
from file.s3.fields import METADATA, moment_of_header

_FILE_ID = f"{METADATA}{FILE_ID}"
_CLOCKS = timedelta(minutes=15)  # so far the clocks of our machines may be apart


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
    if not client.shows_metadata:
        client.shows_metadata = found.shows_metadata
    return shown


def whose(client: S3Client, found: Answer, written: Written, version_id: str | None = None) -> Whose:
    """`found`: what HEAD answered, asked for `version_id` or for what lies under the key now."""
    shown = file_id_of(client, found)
    if shown == written.file_id:
        return Whose.OURS
    version = version_id or found.headers.get("x-amz-version-id")
    if written.version_id is not None and version == written.version_id:  # a numbered version never changes
        return Whose.OURS
    # What is shown was not lost, and ours would be shown with it.
    if found.shows_metadata if shown is None else begun_at(shown) is not None:
        return Whose.STRANGERS
    if not written.etag:
        known_better = written.version_id is not None or client.shows_metadata or _is_older(found, written.file_id)
        return Whose.STRANGERS if known_better else Whose.UNKNOWN
    if not is_same_etag(found.headers.get("etag", ""), written.etag):
        return Whose.STRANGERS
    # Our very bytes, and nothing that shows whose: ours for certain only where metadata is lost, and one version kept.
    is_that_one = written.version_id is None and version in (None, "null")
    return Whose.OURS if is_that_one and not client.shows_metadata else Whose.UNKNOWN


def is_same_etag(one: str, other: str) -> bool:
    """Some stores leave the quotes out in one place and set them in another."""
    return bare_etag(one) == bare_etag(other)


def bare_etag(etag: str) -> str:
    return etag.removeprefix('"').removesuffix('"')


def _is_older(found: Answer, file_id: str) -> bool:
    """Whether the object was there before the file began to arrive; by the account's clock, if it tells it."""
    begun = begun_at(file_id)
    modified = moment_of_header(found.headers.get("last-modified", ""))
    if begun is None or modified is None:
        return False
    ahead = timedelta() if found.date is None else found.date - datetime.now(UTC)
    return modified + _CLOCKS < begun + ahead
