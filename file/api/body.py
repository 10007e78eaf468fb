"""A request's body, counted and timed. What is left of it after an early answer: `discarding.py`.

Every request has one `Body`, made by the outermost layer; the ways in and Django read through it, so that the limit
holds for all of them. Time counts against the client only while we wait for it, and bytes pay for what has passed,
never for what will: a fast beginning buys no silence later.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope

from file.api.patience import Patience
from file.logic.errors import ClientGoneError, ClientTooSlowError, MalformedRequestError, RequestTooLargeError

# A piece of a body costs the same however few bytes are in it, some 50 us: each counts as so many at least, beyond an
# allowance; clients that write line by line are well within it.
_PIECE_BYTES = 16
_ALLOWED_PIECES = 16_384
_LONGEST_LENGTH = len(str(2**64))  # digits of a Content-Length


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`request_bytes` counts request line, headers and decoded body; 0 is no limit. So is 0 bytes a second."""

    request_bytes: int
    min_bytes_per_second: int
    grace_seconds: float


def head_size(scope: Scope) -> int:
    """Bytes of request line and headers, as HTTP/1.1 writes them."""
    target = len(scope["raw_path"]) + (len(scope["query_string"]) + 1 if scope["query_string"] else 0)
    line = len(scope["method"]) + 1 + target + len(" HTTP/1.1\r\n")
    return line + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) + 2


class Body:
    """`declared` is the Content-Length, None where there is none."""

    def __init__(self, scope: Scope, receive: Receive, limits: BodyLimits) -> None:
        self.received = 0
        self.gone = False
        self._receive = receive
        self._limits = limits
        self._owed_seconds = 0.0
        self._padding = 0  # what the pieces until now lack of `_PIECE_BYTES` each
        self._patience = Patience()
        self._lengths = {value for name, value in scope["headers"] if name == b"content-length"}
        self._codings = [value.strip().lower() for name, value in scope["headers"] if name == b"transfer-encoding"]
        self.declared = _whole(self._lengths)
        # A request has a body only if it says so (RFC 9112, 6.3).
        self.ended = not self.declared and not self._codings
        self._most = limits.request_bytes - head_size(scope) if limits.request_bytes else None

    @property
    def min_bytes_per_second(self) -> int:
        return self._limits.min_bytes_per_second

    @property
    def at_most(self) -> int | None:
        """What the body can have at most, where that is known before it is read."""
        return self.declared if self.declared is not None else self._most

    def check_head(self) -> None:
        """Raises `RequestTooLargeError` if the head already says that it is too large, `MalformedRequestError`."""
        if self._lengths and self.declared is None:
            raise MalformedRequestError("The header Content-Length is not one whole number.")
        if self._codings not in ([], [b"chunked"]):
            raise MalformedRequestError("The header Transfer-Encoding may only be chunked.")
        if self._most is not None and (self.declared or 0) > self._most:
            raise self._too_large()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `RequestTooLargeError`, `ClientTooSlowError`, `ClientGoneError`."""
        while not self.ended:
            if chunk := (await self.next_message()).get("body"):
                yield chunk

    async def next_message(self) -> Message:
        """One ASGI message, checked; after the body's end, whatever the server says."""
        if self.ended:
            return await self._receive()
        message = await self._in_time()
        if message["type"] == "http.disconnect":
            self.gone = True
            raise ClientGoneError
        size = len(message.get("body", b""))
        self.received += size
        self._padding += _PIECE_BYTES - size
        # What was declared is all there: HTTP/1.1 has nothing more to tell of this request.
        self.ended = not message.get("more_body", False) or self.received == self.declared
        if self.ended:
            self._patience.close()
        if self._most is not None and self.received > self._most:
            raise self._too_large()
        if self._padding > _PIECE_BYTES * _ALLOWED_PIECES:
            raise RequestTooLargeError(
                f"The body comes in too many small pieces: beyond {_ALLOWED_PIECES} of them, they have to have "
                f"{_PIECE_BYTES} bytes each on average. Send it in larger chunks."
            )
        if self.ended and self.declared is not None and self.received != self.declared:
            raise ClientGoneError
        return message

    def close(self) -> None:
        """It is not read any more."""
        self._patience.close()

    def let_go(self) -> None:
        """Of the connection, whoever still holds this."""
        self.close()
        self._receive = _gone

    async def skip(self) -> int:
        """The size of the next message, of a body that is not needed any more: it is not checked, and too many small
        pieces are not read any further, as if the client had gone.
        """
        message = await self._receive()
        size = len(message.get("body", b""))
        self._padding += _PIECE_BYTES - size
        self.gone = message["type"] == "http.disconnect" or self._padding > _PIECE_BYTES * _ALLOWED_PIECES
        self.ended = not message.get("more_body", False)
        return size

    async def _in_time(self) -> Message:
        rate, grace = self._limits.min_bytes_per_second, self._limits.grace_seconds
        if not rate:
            return await self._receive()
        began = time.monotonic()
        try:
            # What is owed grows by what was waited at most, so the limit never moves back.
            self._patience.begin(max(0.0, grace - self._owed_seconds))
            try:
                message = await self._receive()
            finally:
                self._patience.end()
        except TimeoutError:
            raise ClientTooSlowError(f"The body arrives slower than {rate} bytes a second.") from None
        waited, paid = time.monotonic() - began, len(message.get("body", b"")) / rate
        self._owed_seconds = max(0.0, self._owed_seconds + waited - paid)
        return message

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(
            f"The request is larger than {self._limits.request_bytes} bytes, its line and headers included "
            "(UPLOAD_MAX_REQUEST_BYTES)."
        )


async def _gone() -> Message:
    return {"type": "http.disconnect"}


def _whole(lengths: set[bytes]) -> int | None:
    """The one whole number of at most 64 bits. Zeros before it are allowed, and Python reads no 4,300 digits."""
    if len(lengths) != 1:
        return None
    (told,) = lengths
    digits = told.lstrip(b"0") or b"0"
    return int(digits) if told.isdigit() and len(digits) <= _LONGEST_LENGTH else None
