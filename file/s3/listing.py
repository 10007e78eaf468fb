"""Everything that lies in an account under its prefix, page by page, and what S3 says of one object.

A page is asked for as plain XML, as all our listings are, and once more percent-encoded if that cannot be read: a
stranger's key may have what XML cannot carry. What goes wrong for the moment is tried again here, for a listing of
millions of objects meets an account's every mood. Knows nothing of what is ours; see `file/audit/inventory.py`.
"""

import asyncio
import base64
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

from file.logic.errors import AccountError, AccountFailingError
from file.logic.fanout.containment import contained, containing
from file.logic.ports import FoundObject, ListedUpload
from file.logic.values import CONTENT_HEADERS
from file.s3.client import Answer, Call, S3Client
from file.s3.fields import METADATA, moment_of_header
from file.s3.objects import look, stored_object, upload_pages
from file.s3.ownership import file_id_of
from file.s3.paging import Pages
from file.s3.xml import ObjectPage, UnreadableAnswerError, objects

_OPERATION = "list_objects"
_ATTEMPTS = 5
_LONGEST_PAUSE_SECONDS = 5.0
T = TypeVar("T")


class S3Listing:
    """Of one account. `pause_seconds` is the longest before the second attempt; then it doubles."""

    def __init__(self, client: S3Client, *, pause_seconds: float = 0.5) -> None:
        self.account = client.account
        self._client = client
        self._pause_seconds = pause_seconds
        self._prefix = client.account.prefix

    async def pages(self, under: str = "") -> AsyncGenerator[Sequence[str]]:
        """See `StorageAccount.pages`."""
        with containing(self.account.name, _OPERATION):
            async for keys in self._pages(self._prefix + under):
                yield keys

    async def _pages(self, prefix: str) -> AsyncGenerator[Sequence[str]]:
        pages = Pages(self.account.name, _OPERATION)
        while True:
            query = [("list-type", "2"), ("prefix", prefix), *pages.markers]
            page = await self._patiently(lambda query=query: self._page(query))  # type: ignore[misc]
            yield page.keys
            if not page.next_markers:
                return
            pages.go_on(page.next_markers, is_empty=not page.keys)

    @contained(_OPERATION)
    async def keys_behind(self, object_key: str) -> Sequence[str]:
        """See `StorageAccount.keys_behind`."""
        query = [("list-type", "2"), ("prefix", self._prefix), *([("start-after", object_key)] if object_key else [])]
        return (await self._patiently(lambda: self._page(query))).keys

    async def open_uploads(self, under: str = "") -> AsyncGenerator[Sequence[ListedUpload]]:
        """See `StorageAccount.open_uploads`. What fails ends it: a page cannot be asked for by itself."""
        with containing(self.account.name, "list_uploads"):
            async for uploads in self._open_uploads(self._prefix + under):
                yield uploads

    async def _open_uploads(self, prefix: str) -> AsyncGenerator[Sequence[ListedUpload]]:
        async for page, ahead in upload_pages(self._client, prefix):
            yield [
                ListedUpload(
                    object_key=upload.key,
                    upload_id=upload.upload_id,
                    begun=None if upload.initiated is None or ahead is None else upload.initiated - ahead[0],
                )
                for upload in page.uploads
            ]

    @contained("head")
    async def look(self, object_key: str) -> FoundObject | None:
        """See `StorageAccount.look`."""
        answer = await self._patiently(lambda: look(self._client, object_key))
        return None if answer is None else self._found(object_key, answer)

    async def _page(self, query: Sequence[tuple[str, str]]) -> ObjectPage:
        try:
            return (await self._client.listed(Call(_OPERATION, "GET", None, query=query), objects))[0]
        except AccountFailingError as error:
            if not isinstance(error.__cause__, UnreadableAnswerError):
                raise
        encoded = Call(_OPERATION, "GET", None, query=[*query, ("encoding-type", "url")])
        return (await self._client.listed(encoded, objects))[0]

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(_ATTEMPTS):
            try:
                return await ask()
            except AccountError as error:
                if not error.retryable or attempt + 1 == _ATTEMPTS:
                    raise
            longest = min(_LONGEST_PAUSE_SECONDS, self._pause_seconds * 2**attempt)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - jitter, no secret
        raise AssertionError  # the last attempt returns or raises

    def _found(self, object_key: str, answer: Answer) -> FoundObject:
        headers = answer.headers
        size, modified = headers.get("content-length", ""), moment_of_header(headers.get("last-modified", ""))
        if not size.isdecimal() or modified is None:
            raise self._client.not_understood("head", answer)
        file_id_of(self._client, answer)
        return FoundObject(
            stored=stored_object(self.account, object_key, answer),
            size=int(size),
            content_type=headers.get("content-type", ""),
            content_headers={name: headers[name] for name in CONTENT_HEADERS if headers.get(name)},
            metadata={
                name.removeprefix(METADATA): value for name, value in headers.items() if name.startswith(METADATA)
            },
            crc64nvme=_checksum(headers.get("x-amz-checksum-crc64nvme", "")),
            last_modified=modified,
            may_lose_metadata=not self._client.shows_metadata,
        )


def _checksum(text: str) -> int | None:
    """None where the store shows none, or one of parts: `<checksum>-<parts>`."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == 8 else None
