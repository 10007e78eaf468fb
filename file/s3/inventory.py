"""What lies in an account under one key: versions and open uploads, and taking ours out.

An object is ours if it carries the file's id; everything else under the key is a stranger's and is left alone. Delete
always names a version (`null` where the bucket keeps none), with the ETag that was looked at as its condition.
Listings match by prefix, so that keys are compared exactly here. They are asked for as plain XML: our keys have nothing
that XML cannot carry, and stores disagree about `encoding-type`.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from file.logic.errors import AccessRefusedError, AccountFailingError, PartRefusedError
from file.logic.values import FILE_ID
from file.s3.answers import UploadPage, Version, uploads, versions
from file.s3.client import Answer, Call, S3Client

_ABORT_ROUNDS = 3
# What stores say that know no condition on a delete, or none together with a version.
_NO_CONDITION_HERE = ("NotImplemented", "InvalidArgument", "InvalidRequest")
_WHOLE_SECONDS = timedelta(seconds=2)  # dates and times of listings are cut to them


async def remove_versions(client: S3Client, key: str, file_id: str) -> None:
    """Delete every version of `key` that carries `file_id`. Raises `AccountError`."""
    found: list[Version] = []
    with suppress(AccessRefusedError):  # no permission to list
        found = [version async for version in _versions_of(client, key)]
    # What a listing does not show may be there all the same: SeaweedFS lists `a//b` as `a/b`.
    for version in found or [Version(key=key, version_id=None)]:
        if not version.is_delete_marker:
            await _remove_if_ours(client, key, version.version_id, file_id)


async def abort_upload(client: S3Client, key: str, upload_id: str) -> None:
    """Abort until the upload is gone: a part that was in flight may outlive the first abort. Raises `AccountError`."""
    query = [("uploadId", upload_id)]
    for _ in range(_ABORT_ROUNDS):
        await client.brief(Call("abort", "DELETE", key, query=query, tolerate=(404,)))
        left = await client.brief(Call("list_parts", "GET", key, query=[("max-parts", "1"), *query], tolerate=(404,)))
        if left.status == 404:
            return
    raise AccountFailingError(client.account.name, "abort", "still has the upload after it was aborted")


async def abort_uploads_since(client: S3Client, key: str, since: datetime) -> None:
    """Abort the open uploads under exactly `key` begun at or after `since`, by our clock. Raises `AccountError`.

    An upload tells when it began by the account's clock, so that the listing's own date is what it is compared with.
    """
    elapsed = datetime.now(UTC) - since
    for page, answer in [found async for found in _upload_pages(client, key)]:
        begun = None if answer.date is None else answer.date - elapsed - _WHOLE_SECONDS
        for upload in page.uploads:
            if upload.key != key:
                continue
            if upload.initiated is None or begun is None:
                raise AccountFailingError(client.account.name, "list_uploads", "does not say when an upload began")
            if upload.initiated >= begun:
                await abort_upload(client, key, upload.upload_id)


async def _remove_if_ours(client: S3Client, key: str, version_id: str | None, file_id: str) -> None:
    query = [] if version_id is None else [("versionId", version_id)]
    found = await client.brief(Call("head", "HEAD", key, query=query, tolerate=(404, 405)))
    if found.status >= 400 or found.headers.get(f"x-amz-meta-{FILE_ID}") != file_id:
        return
    named = version_id or found.headers.get("x-amz-version-id", "null")
    delete = Call("delete", "DELETE", key, query=[("versionId", named)], tolerate=(404, 412))
    if named != "null" or not client.account.conditional_writes:
        await client.brief(delete)  # a numbered version never changes
        return
    try:  # "null" may have been replaced since we looked
        await client.brief(replace(delete, headers={"if-match": found.headers.get("etag", "*")}))
    except PartRefusedError as error:
        if error.s3_code not in _NO_CONDITION_HERE:
            raise
        await client.brief(delete)


async def _versions_of(client: S3Client, key: str) -> AsyncIterator[Version]:
    markers: list[tuple[str, str]] = []
    while True:
        query = [("versions", ""), ("prefix", key), *markers]
        page = client.understood(
            "list_versions", versions, await client.brief(Call("list_versions", "GET", None, query=query))
        )
        for version in page.versions:
            if version.key == key:
                yield version
        # Keys are listed in order: past ours, nothing of ours follows.
        if not page.next_markers or (page.versions and page.versions[-1].key > key):
            return
        markers = list(page.next_markers)


async def _upload_pages(client: S3Client, key: str) -> AsyncIterator[tuple[UploadPage, Answer]]:
    markers: list[tuple[str, str]] = []
    while True:
        query = [("uploads", ""), ("prefix", key), *markers]
        answer = await client.brief(Call("list_uploads", "GET", None, query=query))
        page = client.understood("list_uploads", uploads, answer)
        yield page, answer
        if not page.next_markers or (page.uploads and page.uploads[-1].key > key):
            return
        markers = list(page.next_markers)
