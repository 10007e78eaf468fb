"""One connection of a client: it reads heads, runs one exchange after the other, and ends in one of four ways.

What arrives while a request is under way is kept, up to `_UNREAD_BYTES`; then reading pauses. The next request begins
after the answer to the one before, and not before the client has read so much of it that we may write again.

The ways to end: `leave` after what was written; `refuse` with an answer of our own; `break_off` with a reset, so that
a short answer never looks complete; or the client goes. A request that is under way is never cancelled: it learns that
its client is gone.

`tick` is called by one timer for all connections (`server.py`). Ticks are counted, and no clock is read: a connection
is not ended because the event loop was late.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress
from typing import Literal, Protocol, cast

import structlog
from starlette.types import ASGIApp

from file.logic.errors import ClientTooSlowError, RequestError
from file.logic.values import KiB
from file.server.exchange import Exchange, Place
from file.server.head import END, MAX_HEAD_BYTES, check_begin, read_head
from file.server.responses import failure, refusal

# What is kept of bytes that nobody has asked for yet.
_UNREAD_BYTES = 256 * KiB
# How long a client has to end the connection after we have ended our side, and after it has taken all answers.
_LINGER_TICKS = 2
# With this option, closing resets the connection at once and frees the data that the kernel has not sent.
_NOT_LINGERING = struct.pack("ii", 1, 0)
_TOO_SLOW = "The head of the request arrives too slowly."
_log = structlog.get_logger()

Ended = Literal["slow_head", "untaken_answer", None]


class Keeper(Protocol):
    """What a connection needs of the server. `least_bytes` of an answer must be taken per tick; 0: no limit."""

    application: ASGIApp
    scratch: memoryview  # every connection receives into it, and copies what it keeps
    is_closing: bool
    head_ticks: int
    idle_ticks: int
    least_bytes: float

    def closed(self, connection: "Connection") -> None: ...


class Connection(asyncio.BufferedProtocol):
    """`exchange`: the request under way. `since`: when it ended, or when the connection was opened. `heard`: when the
    last byte of a head arrived, at least `since`.
    """

    def __init__(self, server: Keeper) -> None:
        self._loop = asyncio.get_running_loop()
        self.data = b""
        self.start = 0
        self.target: memoryview | None = None
        self.has_ended = self.is_leaving = False
        self.is_lost = True  # until there is a transport
        self.exchange: Exchange | None = None
        self.since = self.heard = self._loop.time()
        self.client: Place = ("", 0)
        self._here: Place = ("", 0)
        self._server = server
        self._searched = 0  # bytes of an unfinished head that were searched for its end
        self._is_paused = self._is_full = False
        self._writable: asyncio.Future[None] | None = None
        self._ticks = self._stuck_ticks = 0
        self._untaken: int | None = None  # bytes of answers, at the last tick; None: not known
        self._task: asyncio.Task[None] | None = None

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.client = transport.get_extra_info("peername")[:2]
        self._here = transport.get_extra_info("sockname")[:2]
        self.is_lost = False
        if self._server.is_closing:
            self.leave()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.scratch if self.target is None else self.target

    def buffer_updated(self, nbytes: int) -> None:
        if self.is_leaving:
            return
        if self.target is not None and self.exchange is not None:
            goes_on = self.exchange.received(nbytes)
            self.target = self.target[nbytes:] if nbytes < len(self.target) else None
            if goes_on and self.target is None:  # the rest stays in the kernel until there is memory for it
                self._pause()
            return
        arrived = bytes(self._server.scratch[:nbytes])
        if self.start == len(self.data):
            self.data, self.start = arrived, 0
            self._ticks = 0
        else:
            self.data, self.start = self.data[self.start :] + arrived, 0
        if len(self.data) >= _UNREAD_BYTES:
            self._pause()
        if self.exchange is not None:
            self.exchange.wake()
        else:
            self.heard = self._loop.time()
            self._begin()

    def eof_received(self) -> bool:
        self.has_ended = True
        if self.exchange is not None:
            self.exchange.wake()
        elif not (self._is_full and self.data):  # there, the next request waits until we can write
            self._transport.close()
        return True  # we can still write

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.data = b""
        self.start = 0
        if self.exchange is not None:
            self.exchange.wake()
        self.resume_writing()
        self._server.closed(self)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._begin()

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    # --- what an exchange calls

    def read_on(self) -> None:
        if self.start == len(self.data):
            self.data, self.start = b"", 0
        if self._is_paused and len(self.data) - self.start < _UNREAD_BYTES:
            self._is_paused = False
            if not self.is_lost:
                self._transport.resume_reading()

    def write(self, pieces: list[bytes]) -> None:
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    async def until_writable(self) -> None:
        if self._is_full and not self.is_lost:
            self._writable = self._loop.create_future()
            await self._writable

    # --- one request after the other

    def _begin(self) -> None:
        """Begins the next request if its head is there and nothing else is under way."""
        if self.exchange is not None or self.is_leaving or self.is_lost or self._is_full or not self.data:
            return
        data, self.start = self.data[self.start :], 0
        first = 2 if data.startswith(b"\r\n") else 0  # RFC 9112, 2.2: old clients send it after a body
        try:
            end = data.find(END, max(first, self._searched - len(END) + 1)) + len(END)
            if end < len(END):
                if data != b"\r" and len(data) > first:
                    check_begin(data[first:], max(0, self._searched - first - 1))
                self.data, self._searched = data, len(data)
                return
            if end > MAX_HEAD_BYTES:
                check_begin(data, 0)
            head = read_head(data[first:end])
        except RequestError as error:
            self.refuse(refusal(error))
            return
        self.data, self.start, self._searched = data, end, 0
        self.exchange = Exchange(head, self)
        self.read_on()
        self._task = self._loop.create_task(self._serve(self.exchange))

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._server.application(exchange.scope(self.client, self._here), exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - of the application, whose task ends here
            _log.exception("application_failed")
        finally:
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        self.exchange = self._task = self._untaken = None
        self.since = self.heard = self._loop.time()
        self._ticks = self._stuck_ticks = 0
        outgoing = exchange.outgoing
        if self.is_lost:
            return
        if not outgoing.begun:
            self.refuse(failure())
        elif not outgoing.ended:
            self.break_off()
        elif outgoing.closes or self._server.is_closing:
            self.leave()
        else:
            self.read_on()
            self._begin()
            if self.has_ended and self.exchange is None:
                self.leave()

    # --- the end

    def leave(self) -> None:
        """End the connection after what was written: we end our side, and the client has a moment to end its own."""
        if self.is_lost or self.is_leaving:
            return
        if self.has_ended or (self._server.is_closing and not self.data and not self._unsent()):
            self.is_leaving = True
            self._transport.close()
        else:
            self._linger()

    def end_soon(self) -> None:
        """Leave as soon as there is no request."""
        if self.exchange is None:
            self.leave()
        else:
            self.exchange.outgoing.closes = True

    def refuse(self, answer: bytes) -> None:
        """End the connection with this answer."""
        self._transport.write(answer)
        self._linger()

    def break_off(self) -> None:
        """Reset the connection."""
        if self.is_lost:
            return
        self.is_lost = self.is_leaving = True
        with suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_LINGERING)
        self._transport.abort()

    def evict(self) -> None:
        """Close this idle connection at once, also if its client has not read everything."""
        if self._unsent():
            self.break_off()
        else:
            self.is_leaving = True
            self._transport.close()

    def tick(self) -> Ended:
        """Ends a connection without a request if it has waited too long. Returns why, if its client was too slow."""
        if self.exchange is not None or self.is_lost:
            return None
        if self._untaken != 0:
            before, self._untaken = self._untaken, self._unsent()
            is_stuck = self._untaken and before is not None and before - self._untaken < self._server.least_bytes
            self._stuck_ticks = self._stuck_ticks + 1 if is_stuck else 0
            if self._stuck_ticks > self._server.head_ticks:
                self.break_off()
                return "untaken_answer"
            if self._untaken and (self._is_full or not self.data):
                return None  # the client still reads; if we are full, its next request waits for that, too
        self._ticks += 1
        if self.is_leaving:
            if self._ticks > _LINGER_TICKS:
                self.break_off()
        elif self.data:
            if self._ticks > self._server.head_ticks:
                self.refuse(refusal(ClientTooSlowError(_TOO_SLOW)))
                return "slow_head"
        elif self._ticks > self._server.idle_ticks:
            self.leave()
        return None

    def _linger(self) -> None:
        """Sends nothing more, and throws away what arrives until the client ends the connection: closing it now could
        reset it before the client has read the answer.
        """
        self.is_leaving = True
        self.data, self.start, self._ticks, self._untaken = b"", 0, 0, None
        self.read_on()
        if self.has_ended:
            self._transport.close()
        else:
            self._transport.write_eof()

    def _unsent(self) -> int:
        """The bytes that were written and that the client has not acknowledged; on macOS only those in our memory."""
        size = self._transport.get_write_buffer_size()
        with suppress(OSError):
            waiting = fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
            size += int.from_bytes(waiting, "little")
        return size
