"""A request's body, counted and timed. The rest of a body after an early answer: `discarding.py`.

Every request has one `Body`, made by the middleware. All endpoints and Django read through it, so that the limit holds
for each of them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.types import Message, Receive, Scope

from file.api.timeouts import MinimumRate
from file.logic.errors import ClientGoneError, ClientTooSlowError, MalformedRequestError, RequestTooLargeError

# A piece of a body takes some 50 us of CPU time, however few bytes it has. Beyond an allowance, the pieces must have
# this many bytes on average. Clients that write line by line are well within it.
_PIECE_BYTES = 16
_ALLOWED_PIECES = 16_384
_LONGEST_LENGTH = len(str(2**64))  # digits of a Content-Length
T = TypeVar("T")

_RECEIVE_INTO = "mentum.receive_into"  # the extension of our server (`file/server/exchange.py`)

ReadInto = Callable[[memoryview], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`request_bytes` counts request line, headers and decoded body. 0 means no limit, also of the minimum rate."""

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
        self._receive_into: ReadInto | None = (scope.get("extensions") or {}).get(_RECEIVE_INTO)
        self._limits = limits
        self._padding = 0  # what the pieces until now lack of `_PIECE_BYTES` each
        self._rate = MinimumRate(limits.min_bytes_per_second, limits.grace_seconds)
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
        """The most bytes that the body can have, if that is known before it is read."""
        return self.declared if self.declared is not None else self._most

    def check_head(self) -> None:
        """Raises `MalformedRequestError`; `RequestTooLargeError` if the declared length is already too large."""
        if self._lengths and self.declared is None:
            raise MalformedRequestError("The header Content-Length must be one whole number.")
        if self._codings not in ([], [b"chunked"]):
            raise MalformedRequestError("The header Transfer-Encoding must be chunked.")
        if self._most is not None and (self.declared or 0) > self._most:
            raise self._too_large()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises `RequestTooLargeError`, `ClientTooSlowError`, `ClientGoneError`."""
        while not self.ended:
            if chunk := (await self.next_message()).get("body"):
                yield chunk

    @property
    def read_into(self) -> ReadInto | None:
        """Reads in place of `chunks`, straight into the caller's memory, if the server can do that."""
        return self._read_into if self._receive_into is not None and self.declared is not None else None

    async def _read_into(self, memory: memoryview) -> int:
        """One byte at least; 0 after the end. Raises as `chunks` does."""
        if self.ended or self._receive_into is None:
            return 0
        size = await self._in_time(self._receive_into(memory))
        if not size:
            self.gone = True
            raise ClientGoneError
        self._count(size, is_last=False)
        return size

    async def next_message(self) -> Message:
        """One ASGI message, checked. After the end of the body: the server's message as it is."""
        if self.ended:
            return await self._receive()
        message = await self._in_time(self._receive())
        if message["type"] == "http.disconnect":
            self.gone = True
            raise ClientGoneError
        self._count(len(message.get("body", b"")), is_last=not message.get("more_body", False))
        return message

    async def _in_time(self, step: Awaitable[T]) -> T:
        try:
            return await self._rate.wait(step)
        except TimeoutError:
            rate = self._limits.min_bytes_per_second
            raise ClientTooSlowError(f"The body arrives more slowly than {rate} bytes per second.") from None

    def _count(self, size: int, *, is_last: bool) -> None:
        """Checks the next piece of the body against the limits."""
        self._rate.paid(size)
        self.received += size
        self._padding += _PIECE_BYTES - size
        # All declared bytes are there: HTTP/1.1 has no more messages for this request.
        self.ended = is_last or self.received == self.declared
        if self.ended:
            self._rate.close()
        if self._most is not None and self.received > self._most:
            raise self._too_large()
        if self._padding > _PIECE_BYTES * _ALLOWED_PIECES:
            raise RequestTooLargeError(
                f"The body arrives in too many small pieces. From piece {_ALLOWED_PIECES} on, the pieces must have "
                f"{_PIECE_BYTES} bytes on average. Send the body in larger chunks."
            )
        if self.ended and self.declared is not None and self.received != self.declared:
            raise ClientGoneError

    def close(self) -> None:
        self._rate.close()

    def release(self) -> None:
        """Give up the reference to the connection: an error may still refer to this object."""
        self.close()
        self._receive = _gone
        self._receive_into = None

    async def skip(self) -> int:
        """The size of the next message of a body that is not needed any more. The message is not checked; after too
        many small pieces the client counts as gone.
        """
        message = await self._receive()
        size = len(message.get("body", b""))
        self._padding += _PIECE_BYTES - size
        self.gone = message["type"] == "http.disconnect" or self._padding > _PIECE_BYTES * _ALLOWED_PIECES
        self.ended = not message.get("more_body", False)
        return size

    def _too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(
            f"The request is larger than {self._limits.request_bytes} bytes, with its request line and headers "
            "(UPLOAD_MAX_REQUEST_BYTES)."
        )


async def _gone() -> Message:
    return {"type": "http.disconnect"}


def _whole(lengths: set[bytes]) -> int | None:
    """The one whole number of at most 64 bits. Leading zeros are allowed; Python refuses to read 4,300 digits."""
    if len(lengths) != 1:
        return None
    (length,) = lengths
    digits = length.lstrip(b"0") or b"0"
    return int(digits) if length.isdigit() and len(digits) <= _LONGEST_LENGTH else None
