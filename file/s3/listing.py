"""Listings, page by page: objects and open uploads under a prefix, and the versions under a key.

A page is requested as plain XML; if it cannot be parsed, object keys are requested percent-encoded: keys of others may
contain characters that XML cannot represent, and stores disagree about `encoding-type`. A large page is parsed in a
thread, and one account has one large page in memory at a time.

A listing always ends: no page is requested twice, circles of markers are detected, and the number of empty pages is
limited. A listing that breaks these rules counts as a failure of the account. Leaves to others: the content of a page
(`xml.py`), and what is ours (`objects.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TypeVar

from file.logic.backoff import retried
from file.logic.errors import AccountError, AccountFailingError
from file.logic.ports import ListedUpload
from file.logic.values import KiB
from file.s3.calls import Call
from file.s3.client import Answer, S3Client
from file.s3.xml import Entry, Markers, OpenUpload, Page, UnreadableAnswerError, Version, objects, uploads, versions

MAX_PAGES = 200  # about one key; S3's have 1,000 entries
_MAX_EMPTY_PAGES = 100  # one after the other: S3 sends some where much was deleted
_ATTEMPTS = 5  # for a listing of millions of objects, what goes wrong for the moment is tried again
_LONGEST_PAUSE_SECONDS = 5.0
_INLINE_BYTES = 16 * KiB  # a larger page is parsed in a thread
_parsing = ThreadPoolExecutor(max_workers=2, thread_name_prefix="parsing")
Ahead = tuple[timedelta, timedelta] | None  # how far, at least and at most, the account's clock is ahead of ours
T = TypeVar("T")


class EndlessListingError(AccountFailingError):
    """A listing does not end, or not within the limits."""


class Pages:
    """The position in one listing. `markers`: the query of the current page; `most`: the limit of pages."""

    def __init__(self, account: str, operation: str, *, most: int | None = None) -> None:
        self.markers: Markers = ()
        self._account = account
        self._operation = operation
        self._most = most
        self._asked = 1
        self._empty = 0
        # One marker is remembered, at growing distances, so that a circle of any length returns to it.
        self._landmark: Markers | None = None
        self._next_landmark = 1

    def go_on(self, markers: Markers, *, is_empty: bool, has_removed: bool = False) -> None:
        """Moves on after a page that is not the last. Raises `EndlessListingError` for a listing that does not advance.

        If an entry of the page was removed, the same page is requested again: the next page begins after the last
        entry, and stores behave differently if that entry no longer exists.
        """
        self._asked += 1
        if self._most is not None and self._asked > self._most:
            raise self._failing(f"lists more than {self._most} pages about one key")
        if has_removed:
            return
        if markers in (self.markers, self._landmark):
            raise self._failing("lists the same page again and again")
        self._empty = self._empty + 1 if is_empty else 0
        if self._empty > _MAX_EMPTY_PAGES:
            raise self._failing(f"lists more than {_MAX_EMPTY_PAGES} pages with nothing on them, and goes on")
        if self._asked >= self._next_landmark:
            self._landmark, self._next_landmark = markers, 2 * self._next_landmark
        self.markers = markers

    def _failing(self, why: str) -> EndlessListingError:
        return EndlessListingError(self._account, self._operation, why)


async def object_pages(client: S3Client, prefix: str, pause_seconds: float) -> AsyncIterator[Sequence[str]]:
    """The keys that begin with `prefix`. Raises `AccountError`."""
    pages = Pages(client.account.name, "list_objects")
    while True:
        query = [("list-type", "2"), ("prefix", prefix), *pages.markers]
        page = await patiently(lambda query=query: _object_page(client, query), pause_seconds)  # type: ignore[misc]
        yield page.entries
        if not page.next_markers:
            return
        pages.go_on(page.next_markers, is_empty=not page.entries)


async def keys_behind(client: S3Client, object_key: str, pause_seconds: float) -> Sequence[str]:
    """One page of keys under the account's prefix, after `object_key`. Raises `AccountError`."""
    query = [("list-type", "2"), ("prefix", client.account.prefix)]
    query += [("start-after", object_key)] if object_key else []
    return (await patiently(lambda: _object_page(client, query), pause_seconds)).entries


async def patiently(ask: Callable[[], Awaitable[T]], pause_seconds: float) -> T:
    """`pause_seconds`: the longest wait before the second attempt; it then doubles."""
    return await retried(ask, attempts=_ATTEMPTS, first_seconds=pause_seconds, longest_seconds=_LONGEST_PAUSE_SECONDS)


async def uploads_by_our_clock(client: S3Client, prefix: str) -> AsyncIterator[Sequence[ListedUpload]]:
    """The open uploads under all keys that begin with `prefix`. Raises `AccountError`."""
    pages = Pages(client.account.name, "list_uploads")
    while True:
        page, ahead = await upload_page(client, prefix, pages.markers)
        yield [
            ListedUpload(
                object_key=upload.key,
                upload_id=upload.upload_id,
                begun=None if upload.initiated is None or ahead is None else upload.initiated - ahead[0],
            )
            for upload in page.entries
        ]
        if not page.next_markers:
            return
        pages.go_on(page.next_markers, is_empty=not page.entries)


async def version_page(client: S3Client, key: str, markers: Markers = ()) -> Page[Version]:
    """One page of the versions and delete markers under all keys that begin with `key`. Raises `AccountError`."""
    query = [("versions", ""), ("prefix", key), *markers]
    return (await listed(client, Call("list_versions", "GET", None, query=query), versions))[0]


async def upload_page(client: S3Client, prefix: str, markers: Markers = ()) -> tuple[Page[OpenUpload], Ahead]:
    """One page of open uploads, and how the account's clock differs from ours. Raises `AccountError`."""
    query = [("uploads", ""), ("prefix", prefix), *markers]
    asked = datetime.now(UTC)
    page, answer = await listed(client, Call("list_uploads", "GET", None, query=query), uploads)
    date = answer.date
    return page, None if date is None else (date - datetime.now(UTC), date - asked)


async def _object_page(client: S3Client, query: Sequence[tuple[str, str]]) -> Page[str]:
    try:
        return (await listed(client, Call("list_objects", "GET", None, query=query), objects))[0]
    except AccountFailingError as error:
        if not isinstance(error.__cause__, UnreadableAnswerError):
            raise
    encoded = Call("list_objects", "GET", None, query=[*query, ("encoding-type", "url")])
    return (await listed(client, encoded, objects))[0]


async def listed(client: S3Client, call: Call, parse: Callable[[bytes], Page[Entry]]) -> tuple[Page[Entry], Answer]:
    """The page, parsed by `parse`, and the answer without its body.

    Raises `AccountError`, from `UnreadableAnswerError` if it is not a page of S3.
    """
    async with AsyncExitStack() as large:
        answer = await client.brief(call, large)
        read = partial(client.page, call.operation, parse, answer)
        try:
            if len(answer.body) <= _INLINE_BYTES:
                page = read()
            else:
                page = await asyncio.get_running_loop().run_in_executor(_parsing, read)
        except AccountError as error:
            del answer, read  # an error that is kept must not keep the body
            raise error.with_traceback(None) from error.__cause__
        return page, replace(answer, body=b"")
