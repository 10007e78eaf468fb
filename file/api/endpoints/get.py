"""GET and HEAD /files/{key}: an acknowledged file, or a range of it, from the first account that can return it.

The service has the first byte before it sends the head, so that a file which no account can return becomes a problem
with its reasons. A later failure closes the connection: a body that ends before its Content-Length is an error for
every client. When a reader leaves, S3 is not read any further. A slow reader slows down the reading from S3. A reader
below the minimum rate is disconnected: only the time counts in which the service waits for the client, not for S3.
"""

import asyncio
import base64
import re
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from file import metrics
from file.api.headers.preconditions import is_unchanged, validators_of, wanted_range
from file.api.requests import Request
from file.api.responses import problem
from file.api.timeouts import MinimumRate
from file.api.uploads import Uploads
from file.logic.accounts.placement import Placement
from file.logic.errors import (
    ClientGoneError,
    FileNotFoundHereError,
    RangeRefusedError,
    ReaderTooSlowError,
    RequestError,
    ShuttingDownError,
)
from file.logic.memory.places import Places
from file.logic.reading import ForReaders, Reading
from file.logic.values import CONTENT_HEADERS, RESERVED_METADATA, Erasure, FileState, Listed, Receipt

# A file that a browser shows must not act as a page of ours: no script, no form, and an origin of its own.
_CONTENT_SECURITY = "default-src 'none'; sandbox"
_UNSAFE_IN_QUOTES = re.compile(r"[^A-Za-z0-9 !#$&'()+,.;=@^_`{}~\[\]-]")


class Records(Protocol):
    """The ledger, for readers. Only acknowledged files exist in it."""

    async def file(self, key: str) -> Receipt | None: ...

    async def receipt(self, file_id: str) -> Receipt | None: ...

    async def erasure(self, file_id: str) -> Erasure | None: ...

    async def page(
        self, *, prefix: str = "", after: str = "", limit: int, state: FileState | None = None
    ) -> Sequence[Listed]: ...


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """`at_once` readers in all. One principal may have `share` of them. 0 bytes per second means no limit."""

    at_once: int
    share: float
    wait_seconds: float
    min_bytes_per_second: int
    grace_seconds: float

    @property
    def of_an_account(self) -> int:
        """Readers per account: the rest of an account's reads is for HEAD and for catch-up."""
        return max(1, self.at_once * 3 // 4)


class Readings:
    """The reads that are running, and their sources. Belongs to one event loop."""

    def __init__(self, records: Records, limits: ReaderLimits, placement: Placement) -> None:
        self.records = records
        self.limits = limits
        self.places = Places(limits.at_once, share=limits.share)
        self._placement = placement
        self._slots = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(limits.of_an_account))  # by account
        self._draining = False
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        return len(self._under_way)

    def place(self, who: str) -> AbstractAsyncContextManager[None]:
        """To be held while a file is read. Raises `BusyError` on entering."""
        return self.places.place(who, wait_seconds=self.limits.wait_seconds)

    def begin(self, receipt: Receipt, start: int, stop: int) -> Reading:
        """Raises `ShuttingDownError`, `UnreadableError`."""
        if self._draining:
            raise ShuttingDownError
        sources = [
            ForReaders(source, self._slots[source.account.name], wait_seconds=self.limits.wait_seconds)
            for source in self._placement.sources()
        ]
        return Reading(receipt, sources, start=start, stop=stop)

    def start(self, sending: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that `drain` may cancel."""
        task = asyncio.ensure_future(sending)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def drain(self, seconds: float) -> None:
        """Begin no more reads; wait for the running ones, then cancel them."""
        self._draining = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=seconds)
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)


async def get_file(request: Request, *, readings: Readings, uploads: Uploads) -> Response:
    line = request.line
    key = request.key(longest_prefix_bytes=uploads.longest_prefix_bytes)
    receipt = await readings.records.file(key)
    if receipt is None or receipt.digests is None:
        raise FileNotFoundHereError
    size = receipt.digests.size
    line |= {"id": receipt.id, "key": receipt.key, "sent": 0}
    validators = validators_of(receipt)
    kept = _content_headers(receipt)
    always = {"etag": validators.etag, "last-modified": validators.last_modified, **_caching(kept)}
    if is_unchanged(request.headers, validators):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=always)
    headers = always | _headers(receipt) | kept
    if request.method == "HEAD":  # asks for no byte, but an account must have the file
        headers["content-length"] = str(size)
        return _Reply(request, readings, readings.begin(receipt, 0, 0), HTTPStatus.OK, headers)
    try:
        part = wanted_range(request.headers, validators, size)
    except RangeRefusedError as error:
        line["code"] = error.code
        return problem(error, {"content-range": f"bytes */{size}"})
    start, stop = part or (0, size)
    headers["content-length"] = str(stop - start)
    status = HTTPStatus.OK
    if part is not None:
        status = HTTPStatus.PARTIAL_CONTENT
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return _Reply(request, readings, readings.begin(receipt, start, stop), status, headers)


class _Reply(Response):
    """Sends the pieces of a reading. Raises before the head is sent, or ends the body early."""

    def __init__(
        self, request: Request, readings: Readings, reading: Reading, status: HTTPStatus, headers: dict[str, str]
    ) -> None:
        super().__init__(status_code=status, headers=headers)
        # Starlette would add a Content-Length.
        self.raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        self._line = request.line
        self._who = request.principal.name
        self._readings = readings
        self._reading = reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = self._readings.start(self._send_in_turn(send))
        leaving = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():  # the reader may have left, or the body of its request is malformed
                raise ClientGoneError
            if sending.cancelled():  # by `drain`
                raise ShuttingDownError
            sending.result()
        finally:
            self._line["account"] = self._reading.account
            for task in (sending, leaving):
                task.cancel()
            await asyncio.wait((sending, leaving))

    async def _send_in_turn(self, send: Send) -> None:
        if self._reading.is_of_nothing:  # HEAD
            return await self._send(send)
        async with self._readings.place(self._who):
            return await self._send(send)

    async def _send(self, send: Send) -> None:
        limits = self._readings.limits
        with closing(MinimumRate(limits.min_bytes_per_second, limits.grace_seconds)) as rate:
            async with aclosing(self._reading.pieces()) as pieces:
                piece = await anext(pieces, b"")
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                while piece:
                    try:
                        await rate.wait(send({"type": "http.response.body", "body": piece, "more_body": True}))
                    except TimeoutError:
                        metrics.SLOW_READERS.inc()
                        raise ReaderTooSlowError from None
                    rate.paid(len(piece))
                    self._line["sent"] += len(piece)
                    await asyncio.sleep(0)  # nothing above may have waited: let the loop notice that the reader left
                    piece = await anext(pieces, b"")
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive) -> None:
    try:
        while (await receive())["type"] != "http.disconnect":
            pass
    except ClientGoneError:
        return
    except RequestError:  # of a request body that is not read: it is not received any more
        await asyncio.Event().wait()


def _headers(receipt: Receipt) -> dict[str, str]:
    assert receipt.digests is not None
    headers = {
        "content-type": receipt.content_type,
        "accept-ranges": "bytes",
        "repr-digest": f"sha-256=:{base64.b64encode(receipt.digests.sha256).decode()}:",
        "content-disposition": _disposition(receipt.name),
        "content-security-policy": _CONTENT_SECURITY,
    }
    for name, value in receipt.metadata.items():
        if not name.lower().startswith(RESERVED_METADATA) and value.isascii() and value.isprintable():
            headers[f"x-amz-meta-{name}"] = value
    return headers


def _content_headers(receipt: Receipt) -> dict[str, str]:
    """As they were sent. After a rebuild of the ledger they may be anything that an account returned."""
    return {
        name: value
        for name, value in receipt.content_headers.items()
        if name in CONTENT_HEADERS and value.isascii() and value.isprintable()
    }


def _caching(kept: Mapping[str, str]) -> dict[str, str]:
    """As the sender wanted it; by default only the client may store the file, and must ask before each use."""
    if "expires" not in kept:
        return {"cache-control": kept.get("cache-control", "private, no-cache")}
    return {"cache-control": kept.get("cache-control", "private"), "expires": kept["expires"]}


def _disposition(name: str) -> str:
    """To be saved, not shown. RFC 6266: a plain name for old clients, and the exact one percent-encoded (RFC 8187)."""
    plain = _UNSAFE_IN_QUOTES.sub("_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
