"""The objects and uploads under one key of an account: their owners, and the removal of ours.

Every object of ours has its file's id as metadata. A store, or a gateway in front, may lose the metadata: then the
version or the ETag from the answer to our write shows that the object is ours. The owner of an object is unknown if
nothing shows it, or if the object equals ours without an id in an account that returns metadata: it is neither removed
nor called removed. Objects of others are never changed.

A delete always names a version (`null` if the bucket keeps none), on the condition that its ETag is unchanged. Listings
match by prefix, so keys are compared exactly here. The versions and uploads of one key are read page by page, one page
in memory, within limits: a listing without an end counts as a failure of the account.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from file.logic.errors import (
    AccessRefusedError,
    AccountError,
    AccountFailingError,
    KeyOccupiedError,
    ObjectLockedError,
    OwnershipUnknownError,
    PartRefusedError,
)
from file.logic.naming import begun_at
from file.logic.ports import FoundObject
from file.logic.values import CONTENT_HEADERS, FILE_ID, Account, Stored
from file.s3 import calls
from file.s3.client import Answer, S3Client
from file.s3.fields import METADATA, moment_of_header
from file.s3.listing import MAX_PAGES, EndlessListingError, Pages, upload_page, version_page
from file.s3.xml import Page, Version

_FILE_ID = f"{METADATA}{FILE_ID}"
_CLOCKS = timedelta(minutes=15)  # the clocks of our machines may differ by as much
_ABORT_ROUNDS = 3
_WALK_SECONDS = 600  # through all that lies under one key, with the wait for a turn
_MAX_VERSIONS = 25_000  # of one key
# What stores say that know no condition on a delete, or none together with a version.
_NO_CONDITION_HERE = ("NotImplemented", "InvalidArgument", "InvalidRequest")
_OF_A_BUCKET_WITH_VERSIONS = ("x-amz-version-id", "x-amz-delete-marker")  # also where it keeps none any more
_WHOLE_SECONDS = timedelta(seconds=2)  # dates and times of listings are cut to them


class Owner(Enum):
    """The owner of an object under a key of ours."""

    OURS = "ours"
    ANOTHER = "another's"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Written:
    """What we wrote under a key. `version_id` and `etag`: from the account's answer; None if it had none."""

    file_id: str
    version_id: str | None = None
    etag: str | None = None


def file_id_of(client: S3Client, found: Answer) -> str | None:
    """The file id in an object's metadata. The client remembers that its account returns metadata."""
    shown = found.headers.get(_FILE_ID)
    if not client.shows_metadata:
        client.shows_metadata = found.shows_metadata
    return shown


def owner_of(client: S3Client, found: Answer, written: Written, version_id: str | None = None) -> Owner:
    """The owner by `found`, the answer to HEAD for `version_id` or for the current object under the key."""
    shown = file_id_of(client, found)
    if shown == written.file_id:
        return Owner.OURS
    version = version_id or found.headers.get("x-amz-version-id")
    if written.version_id is not None and version == written.version_id:  # a numbered version never changes
        return Owner.OURS
    # Metadata that is shown was not lost; that of our object would be shown, too.
    if found.shows_metadata if shown is None else begun_at(shown) is not None:
        return Owner.ANOTHER
    if not written.etag:
        known_better = written.version_id is not None or client.shows_metadata or _is_older(found, written.file_id)
        return Owner.ANOTHER if known_better else Owner.UNKNOWN
    if calls.bare_etag(found.headers.get("etag", "")) != calls.bare_etag(written.etag):
        return Owner.ANOTHER
    # Our bytes without an id: certainly ours only if the store loses metadata and keeps one version.
    is_that_one = written.version_id is None and version in (None, "null")
    return Owner.OURS if is_that_one and not client.shows_metadata else Owner.UNKNOWN


def _is_older(found: Answer, file_id: str) -> bool:
    """Whether the object is older than the upload of the file, by the account's clock if it shows it."""
    begun = begun_at(file_id)
    modified = moment_of_header(found.headers.get("last-modified", ""))
    if begun is None or modified is None:
        return False
    ahead = timedelta() if found.date is None else found.date - datetime.now(UTC)
    return modified + _CLOCKS < begun + ahead


def stored_object(account: Account, key: str, answer: Answer, etag: str | None = None) -> Stored:
    """The account's description of the object."""
    # Cloudflare R2 gives an id with a put, and knows no versions.
    version_id = answer.headers.get("x-amz-version-id") if account.versions else None
    return Stored(
        account=account.name,
        bucket=account.s3_bucket_name,
        object_key=key,
        etag=etag or answer.headers.get("etag", ""),
        version_id=None if version_id == "null" else version_id,
        request_id=answer.request_id,
        checked_by="crc64nvme" if account.checksums else "md5",
    )


async def look(client: S3Client, key: str) -> Answer | None:
    """The current object under the key; None if there is none, or a delete marker. Raises `AccountError`."""
    answer = await client.brief(calls.head(key, checksum=client.account.checksums))
    if answer.status == 404:
        return None
    client.etag_of("head", answer)
    return answer


async def find_object(client: S3Client, key: str, file_id: str, checksum: str | None = None) -> Stored | None:
    """The object under `key` if it carries `file_id` and its CRC64NVME does not differ. Raises `AccountError`."""
    found = await look(client, key)
    if found is None or file_id_of(client, found) != file_id:
        return None
    if checksum is not None and found.headers.get(calls.CHECKSUM, checksum) != checksum:
        return None
    return stored_object(client.account, key, found)


def found_object(client: S3Client, key: str, answer: Answer) -> FoundObject:
    """The whole answer of HEAD for an object. Raises `AccountError` if it has no size or date."""
    headers = answer.headers
    size, modified = headers.get("content-length", ""), moment_of_header(headers.get("last-modified", ""))
    if not size.isdecimal() or modified is None:
        raise client.not_understood("head", answer)
    file_id_of(client, answer)
    return FoundObject(
        stored=stored_object(client.account, key, answer),
        size=int(size),
        content_type=headers.get("content-type", ""),
        content_headers={name: headers[name] for name in CONTENT_HEADERS if headers.get(name)},
        metadata={name.removeprefix(METADATA): value for name, value in headers.items() if name.startswith(METADATA)},
        crc64nvme=_checksum(headers.get(calls.CHECKSUM, "")),
        last_modified=modified,
        may_lose_metadata=not client.shows_metadata,
    )


def _checksum(text: str) -> int | None:
    """The CRC64NVME; None if the store shows none, or one of parts: `<checksum>-<parts>`."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == 8 else None


async def remove_versions(client: S3Client, key: str, written: Written) -> int:
    """Delete every version of `key` that is ours. Returns the number of others. Raises `AccountError`.

    A version that is locked, or may be ours, does not stop the removal of the rest: its error is raised at the end. It
    is also an error if a bucket keeps versions but does not list them, or if the listing has no end: there may be
    further versions.
    """
    if not client.account.versions:
        written = replace(written, version_id=None)  # the id that a put was given is no version then
    removal = _Removal(client, key, written)
    async with _walk(client, "list_versions"):
        return await removal.run()


class _Removal:
    """Removes what we wrote under one key, page after page of versions."""

    def __init__(self, client: S3Client, key: str, written: Written) -> None:
        self._client = client
        self._key = key
        self._written = written
        self._versions = 0  # that were listed under the key, delete markers too
        self._others = 0
        self._keeps_versions = written.version_id is not None
        self._kept: AccountError | None = None

    async def run(self) -> int:
        unlisted: AccountError | None = None
        if self._client.account.versions:
            unlisted = await self._remove_listed()
        if unlisted is not None or not self._versions:
            # A listing may not show the object: SeaweedFS lists `a//b` as `a/b`.
            known = self._written.version_id
            await self._remove([None] if known is None else [known, None])
        if self._kept is not None:
            raise self._kept
        if unlisted is not None and (self._keeps_versions or not isinstance(unlisted, AccessRefusedError)):
            raise unlisted
        return self._others if self._versions else 0

    async def _remove_listed(self) -> AccountError | None:
        """The reason if not all versions were listed."""
        pages = Pages(self._client.account.name, "list_versions", most=MAX_PAGES)
        page: Page[Version] | None = None
        has_removed = False
        while True:
            try:
                if page is not None:
                    pages.go_on(page.next_markers, is_empty=not page.entries, has_removed=has_removed)
                page = await version_page(self._client, self._key, pages.markers)
                found = [version for version in page.entries if version.key == self._key]
                self._versions += len(found)
                if self._versions > _MAX_VERSIONS:
                    why = f"lists more than {_MAX_VERSIONS} versions of one key"
                    raise EndlessListingError(self._client.account.name, "list_versions", why)
            except (AccessRefusedError, EndlessListingError) as error:
                return error
            others = self._others
            has_removed = await self._remove([v.version_id for v in found if not v.is_delete_marker])
            # Keys are listed in order: after ours, there is nothing of ours.
            if not page.next_markers or (page.entries and page.entries[-1].key > self._key):
                return None
            if has_removed:  # the page is requested once more
                self._others = others

    async def _remove(self, version_ids: Sequence[str | None]) -> bool:
        """Removes the versions that are ours. Returns whether there were any."""
        has_removed = False
        for named in version_ids:
            # 404: it is gone; 405: it is a delete marker
            shown = await self._client.brief(calls.head(self._key, version_id=named, tolerate=(404, 405)))
            self._keeps_versions |= not shown.headers.keys().isdisjoint(_OF_A_BUCKET_WITH_VERSIONS)
            try:
                if await _remove_if_ours(self._client, self._key, named, shown, self._written):
                    has_removed = True
                else:
                    self._others += 1
            except (ObjectLockedError, OwnershipUnknownError) as error:
                self._kept = error
        return has_removed


async def abort_upload(client: S3Client, key: str, upload_id: str) -> None:
    """Abort until the upload is gone: parts under way may survive the first abort. Raises `AccountError`."""
    for _ in range(_ABORT_ROUNDS):
        await client.brief(calls.abort(key, upload_id))
        if (await client.brief(calls.list_parts(key, upload_id))).status == 404:
            return
    raise AccountFailingError(client.account.name, "abort", "still has the upload after it was aborted")


async def abort_uploads_between(client: S3Client, key: str, since: datetime, until: datetime) -> None:
    """Abort the open uploads under exactly `key` begun between two moments of our clock. Raises `AccountError`.

    The start of an upload is by the account's clock, so it is compared with the date of the listing.
    """
    pages = Pages(client.account.name, "list_uploads", most=MAX_PAGES)
    async with _walk(client, "list_uploads"):
        while True:
            page, ahead = await upload_page(client, key, pages.markers)
            has_aborted = False
            for upload in page.entries:
                if upload.key != key:
                    continue
                if upload.initiated is None or ahead is None:
                    raise AccountFailingError(client.account.name, "list_uploads", "does not say when an upload began")
                least, most = ahead
                if since + least - _WHOLE_SECONDS <= upload.initiated <= until + most + _WHOLE_SECONDS:
                    await abort_upload(client, key, upload.upload_id)
                    has_aborted = True
            if not page.next_markers or (page.entries and page.entries[-1].key > key):
                return
            pages.go_on(page.next_markers, is_empty=not page.entries, has_removed=has_aborted)


@asynccontextmanager
async def _walk(client: S3Client, operation: str) -> AsyncIterator[None]:
    """Limits the walks through the content of one key: few at once, each with a time limit."""
    try:
        async with asyncio.timeout(_WALK_SECONDS), client.walks:
            yield
    except TimeoutError:
        why = f"was not done with what it has under one key within {_WALK_SECONDS} seconds"
        raise AccountFailingError(client.account.name, operation, why) from None


async def _remove_if_ours(client: S3Client, key: str, version_id: str | None, found: Answer, written: Written) -> bool:
    """Removes a version if it is ours. Returns whether it was; raises `OwnershipUnknownError` if this is unknown."""
    _refuse_versions(client.account, found, is_shown=True)
    if found.status == 404:
        return True  # gone since it was listed
    if found.status >= 400:
        return False
    owner = owner_of(client, found, written, version_id)
    if owner is Owner.UNKNOWN:
        raise OwnershipUnknownError(client.account.name, "delete", request_id=found.request_id)
    if owner is Owner.ANOTHER:
        return False
    named = version_id or found.headers.get("x-amz-version-id", "null") if client.account.versions else None
    delete = calls.delete(key, named)
    try:
        if named not in ("null", None) or not client.account.conditional_writes:
            _refuse_versions(client.account, await client.brief(delete))  # a numbered version never changes
            return True
        try:  # "null" may have been replaced since we looked
            conditional = calls.delete(key, named, etag=found.headers.get("etag", "*"))
            _refuse_versions(client.account, await client.brief(conditional))
        except KeyOccupiedError:  # replaced since we looked: the next look shows by what
            raise AccountFailingError(client.account.name, "delete", "shows another object than it deletes") from None
        except PartRefusedError as error:
            if error.s3_code not in _NO_CONDITION_HERE:
                raise
            _refuse_versions(client.account, await client.brief(delete))
    except AccessRefusedError as error:
        # As far as the object shows it, which needs s3:GetObjectRetention and s3:GetObjectLegalHold.
        held = found.headers.get("x-amz-object-lock-legal-hold") == "ON"
        if held or "x-amz-object-lock-retain-until-date" in found.headers:
            raise ObjectLockedError(client.account.name, "delete", request_id=error.request_id) from error
        raise
    return True


def _refuse_versions(account: Account, answer: Answer, *, is_shown: bool = False) -> None:
    """Only a delete marker would be added, and the object would stay. An id is a version if HEAD shows it."""
    version_id = answer.headers.get("x-amz-version-id", "null") if is_shown else "null"
    if not account.versions and (version_id != "null" or answer.headers.get("x-amz-delete-marker") == "true"):
        raise PartRefusedError(account.name, "delete", 'keeps versions, although its "versions" is false')
