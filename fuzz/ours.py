"""What our own reader finds in the bytes of a connection: `file.server.connection`, with a transport in memory.

The application reads each body to its end and answers 204. So this is the whole path of a request through the server:
where its head ends, its body, whether another request follows, and what is refused. It reads bodies as ASGI does, or
into memory of its own, where the server offers that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from file.server.connection import Connection
from file.server.exchange import RECEIVE_INTO
from fuzz.judges import Message, Reading

ReceiveInto = Callable[[memoryview], Awaitable[int]]
_READ_BYTES = 256 * 1024
_MEMORY_BYTES = 100
_CLIENT, _SERVER = ("127.0.0.1", 1), ("127.0.0.1", 2)
_STEPS = 2  # of the event loop without an event, after which nothing more happens before the next bytes
_ANSWERS = (b"HTTP/1.1 204 ", b"HTTP/1.1 100 ")  # all others are refusals
_MALFORMED = "the body is malformed"


async def read_by_us(segments: Sequence[bytes], *, into_memory: bool = False) -> Reading:
    return await _OurReader(into_memory=into_memory).read(segments)


@dataclass(slots=True)
class _Taken:
    """A request, as far as the application has read it."""

    scope: Scope
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False


class _Transport(asyncio.Transport):
    """Takes everything that is written."""

    def __init__(self) -> None:
        super().__init__()
        self.is_paused = False
        self.refusal: str | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not bytes(data[:13]).startswith(_ANSWERS):
            self.refusal = bytes(data).partition(b"\r\n\r\n")[2].decode()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write_eof(self) -> None: ...

    def close(self) -> None: ...

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class _OurReader:
    """Reads one connection. It is the application of the connection, and all that the connection needs of a server."""

    is_closing = False
    place = _SERVER
    head_ticks = idle_ticks = 1
    least_bytes = 0.0

    def __init__(self, *, into_memory: bool) -> None:
        self.application: ASGIApp = self
        self._into_memory = into_memory
        self.scratch = memoryview(bytearray(_READ_BYTES))
        self._memory = memoryview(b"")
        self._transport = _Transport()
        self._taken: list[_Taken] = []
        self._events = 0

    async def read(self, segments: Sequence[bytes]) -> Reading:
        connection = Connection(self, _CLIENT)
        connection.connection_made(self._transport)
        self._memory = memoryview(bytearray(_MEMORY_BYTES + sum(map(len, segments)) // 50))
        for segment in segments:
            unread = memoryview(segment)
            while unread:
                buffer = connection.get_buffer(-1)
                size = min(len(buffer), len(unread))
                buffer[:size] = unread[:size]
                connection.buffer_updated(size)
                unread = unread[size:]
                await self._until_it_waits(connection)
                assert not self._transport.is_paused, "the application waits for bytes, and nothing is read"
        reading = self._reading(connection)
        connection.connection_lost(None)
        await self._until_it_waits(connection)
        return reading

    async def _until_it_waits(self, connection: Connection) -> None:
        steps = 0
        while connection.exchange is not None and steps < _STEPS:
            events = self._events
            await asyncio.sleep(0)
            steps = steps + 1 if events == self._events else 0

    def _reading(self, connection: Connection) -> Reading:
        refusal = self._transport.refusal
        keeps = refusal is not None or not connection.is_leaving
        if self._taken and not self._taken[-1].is_whole and connection.is_leaving:
            refusal = _MALFORMED
        last = len(self._taken) - 1
        messages = [_message(taken, keeps=n < last or keeps) for n, taken in enumerate(self._taken)]
        return Reading(tuple(messages), refusal)

    # --- what the connection calls

    def closed(self, connection: Connection) -> None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        taken = _Taken(scope)
        self._taken.append(taken)
        receive_into = scope["extensions"].get(RECEIVE_INTO) if self._into_memory else None
        if receive_into is not None:
            await self._read_into_memory(taken, receive_into)
        while not taken.is_whole:
            message = await receive()
            self._events += 1
            if message["type"] == "http.disconnect":
                break
            taken.body += message["body"]
            taken.is_whole = not message["more_body"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def _read_into_memory(self, taken: _Taken, receive_into: ReceiveInto) -> None:
        """All but the end of the body, in pieces of any size."""
        while size := await receive_into(self._memory):
            self._events += 1
            taken.body += self._memory[:size]


def _message(taken: _Taken, *, keeps: bool) -> Message:
    scope = taken.scope
    return Message(
        method=scope["method"].encode(),
        target=scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b""),
        version=scope["http_version"].encode(),
        fields=tuple(scope["headers"]),
        body=bytes(taken.body),
        is_whole=taken.is_whole,
        keeps=keeps,
    )
