"""What lies in an account under one key: versions and open uploads, and taking ours out.

What is ours is decided in `ownership.py`; everything else under the key is a stranger's and is left alone. Delete
always names a version (`null` where the bucket keeps none), with the ETag that was looked at as its condition.
Listings match by prefix, so that keys are compared exactly here. They are asked for as plain XML: our keys have nothing
that XML cannot carry, and stores disagree about `encoding-type`. What belongs to one key is walked through page by
page, one page in memory, and within bounds: a listing without an end is the account's failure.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from file.logic.errors import (
    AccessRefusedError,
    AccountError,
    AccountFailingError,
    KeyOccupiedError,
    ObjectLockedError,
    OwnershipUnknownError,
    PartRefusedError,
)
from file.logic.values import Account, Stored
from file.s3.client import Answer, Call, S3Client
from file.s3.ownership import Whose, Written, file_id_of, whose
from file.s3.paging import MAX_PAGES, EndlessListingError, Markers, Pages
from file.s3.xml import UploadPage, VersionPage, uploads, versions

_ABORT_ROUNDS = 3
_WALK_SECONDS = 600  # through all that lies under one key, with the wait for a turn
_MAX_VERSIONS = 25_000  # of one key
Ahead = tuple[timedelta, timedelta] | None
# What stores say that know no condition on a delete, or none together with a version.
_NO_CONDITION_HERE = ("NotImplemented", "InvalidArgument", "InvalidRequest")
_OF_A_BUCKET_WITH_VERSIONS = ("x-amz-version-id", "x-amz-delete-marker")  # also where it keeps none any more
_WHOLE_SECONDS = timedelta(seconds=2)  # dates and times of listings are cut to them


def stored_object(account: Account, key: str, answer: Answer, etag: str | None = None) -> Stored:
    """What the account says of the object that it stored, or has."""
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
    """What lies under the key now, or None; a delete marker is none. Raises `AccountError`."""
    headers = {"x-amz-checksum-mode": "ENABLED"} if client.account.checksums else {}
    answer = await client.brief(Call("head", "HEAD", key, headers=headers, tolerate=(404,)))
    if answer.status == 404:
        return None
    client.etag_of("head", answer)
    return answer


async def find_object(client: S3Client, key: str, file_id: str, checksum: str | None = None) -> Stored | None:
    """The object under `key` if it carries `file_id`, and shows no other CRC64NVME. Raises `AccountError`."""
    found = await look(client, key)
    if found is None or file_id_of(client, found) != file_id:
        return None
    if checksum is not None and found.headers.get("x-amz-checksum-crc64nvme", checksum) != checksum:
        return None
    return stored_object(client.account, key, found)


async def remove_versions(client: S3Client, key: str, written: Written) -> int:
    """Delete every version of `key` that is what we wrote. Returns how many others there are. Raises `AccountError`.

    One that is locked, or may be ours and does not show it, does not keep the rest: it is told at the end. So is that
    versions may not be listed, where the bucket keeps them, or that the listing has no end: there may be others that
    cannot be seen.
    """
    if not client.account.versions:
        written = replace(written, version_id=None)  # an id that a put was given is none then
    removal = _Removal(client, key, written)
    async with _walk(client, "list_versions"):
        return await removal.run()


class _Removal:
    """What we wrote under one key goes, a page of its versions after the other."""

    def __init__(self, client: S3Client, key: str, written: Written) -> None:
        self._client = client
        self._key = key
        self._written = written
        self._versions = 0  # that were listed under the key, delete markers too
        self._strangers = 0
        self._keeps_versions = written.version_id is not None
        self._kept: AccountError | None = None

    async def run(self) -> int:
        unlisted: AccountError | None = None
        if self._client.account.versions:
            unlisted = await self._remove_listed()
        if unlisted is not None or not self._versions:
            # What a listing does not show may be there all the same: SeaweedFS lists `a//b` as `a/b`.
            known = self._written.version_id
            await self._remove([None] if known is None else [known, None])
        if self._kept is not None:
            raise self._kept
        if unlisted is not None and (self._keeps_versions or not isinstance(unlisted, AccessRefusedError)):
            raise unlisted
        return self._strangers if self._versions else 0

    async def _remove_listed(self) -> AccountError | None:
        """Why not all versions were listed, if they were not."""
        pages = Pages(self._client.account.name, "list_versions", most=MAX_PAGES)
        page: VersionPage | None = None
        has_removed = False
        while True:
            try:
                if page is not None:
                    pages.go_on(page.next_markers, is_empty=not page.versions, has_removed=has_removed)
                page = await _version_page(self._client, self._key, pages.markers)
                found = [version for version in page.versions if version.key == self._key]
                self._count(len(found))
            except (AccessRefusedError, EndlessListingError) as error:
                return error
            strangers = self._strangers
            has_removed = await self._remove([v.version_id for v in found if not v.is_delete_marker])
            # Keys are listed in order: past ours, nothing of ours follows.
            if not page.next_markers or (page.versions and page.versions[-1].key > self._key):
                return None
            if has_removed:  # the page is asked for once more
                self._strangers = strangers

    def _count(self, found: int) -> None:
        self._versions += found
        if self._versions > _MAX_VERSIONS:
            why = f"lists more than {_MAX_VERSIONS} versions of one key"
            raise EndlessListingError(self._client.account.name, "list_versions", why)

    async def _remove(self, version_ids: Sequence[str | None]) -> bool:
        """Those that are ours. Whether there were any."""
        has_removed = False
        for named in version_ids:
            shown = await _look_at(self._client, self._key, named)
            self._keeps_versions |= not shown.headers.keys().isdisjoint(_OF_A_BUCKET_WITH_VERSIONS)
            try:
                if await _remove_if_ours(self._client, self._key, named, shown, self._written):
                    has_removed = True
                else:
                    self._strangers += 1
            except (ObjectLockedError, OwnershipUnknownError) as error:
                self._kept = error
        return has_removed


async def abort_upload(client: S3Client, key: str, upload_id: str) -> None:
    """Abort until the upload is gone: a part that was in flight may outlive the first abort. Raises `AccountError`."""
    query = [("uploadId", upload_id)]
    for _ in range(_ABORT_ROUNDS):
        await client.brief(Call("abort", "DELETE", key, query=query, tolerate=(404,)))
        left = await client.brief(Call("list_parts", "GET", key, query=[("max-parts", "1"), *query], tolerate=(404,)))
        if left.status == 404:
            return
    raise AccountFailingError(client.account.name, "abort", "still has the upload after it was aborted")


async def abort_uploads_between(client: S3Client, key: str, since: datetime, until: datetime) -> None:
    """Abort the open uploads under exactly `key` begun between two moments of our clock. Raises `AccountError`.

    An upload tells when it began by the account's clock, so that the listing's own date is what it is compared with.
    """
    pages = Pages(client.account.name, "list_uploads", most=MAX_PAGES)
    async with _walk(client, "list_uploads"):
        while True:
            page, ahead = await _upload_page(client, key, pages.markers)
            has_aborted = False
            for upload in page.uploads:
                if upload.key != key:
                    continue
                if upload.initiated is None or ahead is None:
                    raise AccountFailingError(client.account.name, "list_uploads", "does not say when an upload began")
                least, most = ahead
                if since + least - _WHOLE_SECONDS <= upload.initiated <= until + most + _WHOLE_SECONDS:
                    await abort_upload(client, key, upload.upload_id)
                    has_aborted = True
            if not page.next_markers or (page.uploads and page.uploads[-1].key > key):
                return
            pages.go_on(page.next_markers, is_empty=not page.uploads, has_removed=has_aborted)


async def upload_pages(client: S3Client, prefix: str) -> AsyncIterator[tuple[UploadPage, Ahead]]:
    """The open uploads under all keys that begin so. Each page with how far, at least and at most, the account's clock
    is ahead of ours. Raises `AccountError`.
    """
    pages = Pages(client.account.name, "list_uploads")
    while True:
        page, ahead = await _upload_page(client, prefix, pages.markers)
        yield page, ahead
        if not page.next_markers:
            return
        pages.go_on(page.next_markers, is_empty=not page.uploads)


@asynccontextmanager
async def _walk(client: S3Client, operation: str) -> AsyncIterator[None]:
    """Around a walk through what lies under one key: few of them at once, each for so long at most."""
    try:
        async with asyncio.timeout(_WALK_SECONDS), client.walks:
            yield
    except TimeoutError:
        why = f"was not done with what it has under one key within {_WALK_SECONDS} seconds"
        raise AccountFailingError(client.account.name, operation, why) from None


async def _look_at(client: S3Client, key: str, version_id: str | None) -> Answer:
    """A version, or what lies under the key now. 404: it is gone; 405: it is a delete marker."""
    query = [] if version_id is None else [("versionId", version_id)]
    return await client.brief(Call("head", "HEAD", key, query=query, tolerate=(404, 405)))


async def _remove_if_ours(client: S3Client, key: str, version_id: str | None, found: Answer, written: Written) -> bool:
    """Whether it was ours. Raises `OwnershipUnknownError` if that cannot be told."""
    _refuse_versions(client.account, found, is_shown=True)
    if found.status == 404:
        return True  # gone since it was listed
    if found.status >= 400:
        return False
    owner = whose(client, found, written, version_id)
    if owner is Whose.UNKNOWN:
        raise OwnershipUnknownError(client.account.name, "delete", request_id=found.request_id)
    if owner is Whose.STRANGERS:
        return False
    named = version_id or found.headers.get("x-amz-version-id", "null") if client.account.versions else None
    query = [] if named is None else [("versionId", named)]
    delete = Call("delete", "DELETE", key, query=query, tolerate=(404,))
    try:
        if named not in ("null", None) or not client.account.conditional_writes:
            _refuse_versions(client.account, await client.brief(delete))  # a numbered version never changes
            return True
        try:  # "null" may have been replaced since we looked
            conditional = replace(delete, headers={"if-match": found.headers.get("etag", "*")})
            _refuse_versions(client.account, await client.brief(conditional))
        except KeyOccupiedError:  # replaced since we looked, then: whoever looks again sees by whom
            raise AccountFailingError(client.account.name, "delete", "shows another object than it deletes") from None
        except PartRefusedError as error:
            if error.s3_code not in _NO_CONDITION_HERE:
                raise
            _refuse_versions(client.account, await client.brief(delete))
    except AccessRefusedError as error:
        if _is_locked(found):
            raise ObjectLockedError(client.account.name, "delete", request_id=error.request_id) from error
        raise
    return True


def _refuse_versions(account: Account, answer: Answer, *, is_shown: bool = False) -> None:
    """What would be called deleted would still be there, behind a marker. An id is a version if HEAD shows it."""
    version_id = answer.headers.get("x-amz-version-id", "null") if is_shown else "null"
    if not account.versions and (version_id != "null" or answer.headers.get("x-amz-delete-marker") == "true"):
        raise PartRefusedError(account.name, "delete", 'keeps versions, although its "versions" is false')


def _is_locked(found: Answer) -> bool:
    """As far as the object tells: without s3:GetObjectRetention and s3:GetObjectLegalHold it does not."""
    headers = found.headers
    return headers.get("x-amz-object-lock-legal-hold") == "ON" or "x-amz-object-lock-retain-until-date" in headers


async def _version_page(client: S3Client, key: str, markers: Markers) -> VersionPage:
    query = [("versions", ""), ("prefix", key), *markers]
    return (await client.listed(Call("list_versions", "GET", None, query=query), versions))[0]


async def _upload_page(client: S3Client, prefix: str, markers: Markers) -> tuple[UploadPage, Ahead]:
    query = [("uploads", ""), ("prefix", prefix), *markers]
    asked = datetime.now(UTC)
    page, answer = await client.listed(Call("list_uploads", "GET", None, query=query), uploads)
    date = answer.date
    return page, None if date is None else (date - datetime.now(UTC), date - asked)
