"""Implements the port `Source` with S3 requests: the bytes of an object, if it is still the stored one.

Version, ETag, size, and our file's id are compared before the first byte is passed on, because the key may have a new
object, and an equal object of others is not ours. The body is read in pieces and never in memory as a whole.
Leaves to others: which account to ask, and whether the bytes are right (`file/logic/reading.py` has the checksum).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from file.logic.errors import AccountBusyError, AccountFailingError, AccountUnreachableError, ReplicaMissingError
from file.logic.fanout.containment import containing
from file.logic.values import Stored
from file.s3.calls import Call
from file.s3.client import Answer, S3Client
from file.s3.objects import bare_etag, file_id_of, is_same_etag

_OPERATION = "get"


class Downloads:
    """The reads of one account, at most `at_once`, independent of its writes."""

    def __init__(self, client: S3Client, *, at_once: int, stall_seconds: float) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(at_once)
        self._stall_seconds = stall_seconds

    @property
    def has_room(self) -> bool:
        """See `Source.has_room`."""
        return not self._slots.locked()

    @asynccontextmanager
    async def read(
        self, stored: Stored, *, file_id: str, start: int, stop: int, size: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Source.read`."""
        account = self._client.account.name
        version_id = stored.version_id if self._client.account.versions else None
        call = _call(stored, version_id, start, stop, size)
        async with AsyncExitStack() as stack:
            try:  # a slow client keeps its slot, so that there may be none for a long time
                async with asyncio.timeout(self._stall_seconds):
                    await stack.enter_async_context(self._slots)
            except TimeoutError:
                raise AccountBusyError(account, _OPERATION) from None
            with containing(account, _OPERATION):
                answer, pieces = await stack.enter_async_context(
                    self._client.streamed(call, stall_seconds=self._stall_seconds)
                )
                self._check(answer, call, stored, file_id, size)
            yield await stack.enter_async_context(aclosing(self._counted(pieces, stop - start)))

    def _check(self, answer: Answer, call: Call, stored: Stored, file_id: str, size: int) -> None:
        """Raises `AccountError` for another object, or for other bytes than requested."""
        etag = self._client.etag_of(_OPERATION, answer)
        asked = call.headers.get("range")
        there = answer.headers.get("content-length" if asked is None else "content-range", "")
        if answer.status != (200 if asked is None else 206) or not there:
            raise self._client.not_understood(_OPERATION, answer)
        is_same = not stored.etag or is_same_etag(etag, stored.etag)
        # A store may lose the metadata. A numbered version never changes; an equal object without one may be another's.
        is_numbered = bool(stored.version_id) and self._client.account.versions and not self._client.shows_metadata
        shown = file_id_of(self._client, answer)
        is_ours = shown == file_id or (shown is None and is_numbered)
        if not (is_ours and is_same and there.rpartition("/")[2] == str(size)):
            raise ReplicaMissingError(self._client.account.name, _OPERATION, request_id=answer.request_id)
        if asked is not None and there != f"{asked.replace('=', ' ')}/{size}":
            raise self._client.not_understood(_OPERATION, answer)

    async def _counted(self, pieces: AsyncIterator[bytes], expected: int) -> AsyncGenerator[bytes]:
        """Exactly the `expected` number of bytes, independent of headers. Raises `AccountError` for more or fewer."""
        account = self._client.account.name
        with containing(account, _OPERATION):
            async for piece in pieces:
                if len(piece) > expected:
                    raise AccountFailingError(account, _OPERATION, "gave more bytes than it has")
                expected -= len(piece)
                yield piece
        if expected:
            raise AccountUnreachableError(account, _OPERATION, "ended its answer before the last byte")


def _call(stored: Stored, version_id: str | None, start: int, stop: int, size: int) -> Call:
    """A read of no bytes: there is no empty range, so HEAD is used."""
    headers = {"if-match": f'"{bare_etag(stored.etag)}"'} if stored.etag else {}
    if 0 < stop - start < size:
        headers["range"] = f"bytes={start}-{stop - 1}"
    query = [] if version_id is None else [("versionId", version_id)]
    return Call(_OPERATION, "GET" if start < stop else "HEAD", stored.object_key, query=query, headers=headers)
