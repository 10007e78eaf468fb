"""One connection of a client: it reads heads, runs one exchange after the other, and ends in one of four ways.

What arrives while a request is under way is kept, up to a limit (`incoming.py`). The next request begins after the
answer to the one before, and not before the client has read so much of it that we may write again.

The ways to end: `leave` after what was written; `refuse` with an answer of our own; `break_off` with a reset, so that
a short answer never looks complete; or the client goes. A request that is under way is never cancelled: it learns that
its client is gone.

`tick` is called by one timer for all connections (`server.py`). Ticks are counted, and no clock is read: a connection
is not ended because the event loop was late.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Literal, Protocol, cast

import structlog
from starlette.types import ASGIApp

from file.logic.errors import ClientTooSlowError, RequestError
from file.server.exchange import Exchange, Place
from file.server.incoming import Incoming
from file.server.responses import failure, refusal
from file.server.untaken import Untaken

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
    place: Place  # the address that it listens on
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

    def __init__(self, server: Keeper, client: Place) -> None:
        self._loop = asyncio.get_running_loop()
        self.incoming = Incoming()
        self.is_leaving = False
        self.is_lost = True  # until there is a transport
        self.exchange: Exchange | None = None
        self.since = self.heard = self._loop.time()
        self.client = client
        self._server = server
        self._ticks = 0
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._untaken = Untaken(self._transport)
        self.incoming.open(self._transport)
        self.is_lost = False
        if self._server.is_closing:
            self.leave()

    def get_buffer(self, sizehint: int) -> memoryview:
        target = self.incoming.target
        return self._server.scratch if target is None else target

    def buffer_updated(self, nbytes: int) -> None:
        if self.is_leaving:
            return
        incoming = self.incoming
        if incoming.target is not None and self.exchange is not None:
            self.exchange.received(nbytes)
            return
        if incoming.is_used:
            self._ticks = 0
        incoming.add(bytes(self._server.scratch[:nbytes]))
        if self.exchange is not None:
            self.exchange.wake()
        else:
            self.heard = self._loop.time()
            self._begin()

    def eof_received(self) -> bool:
        self.incoming.has_ended = True
        if self.exchange is not None:
            self.exchange.wake()
        elif not (self._untaken.is_full and self.incoming.data):  # there, the next request waits until we can write
            self._transport.close()
        return True  # we can still write

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.incoming.close()
        if self.exchange is not None:
            self.exchange.wake()
        self.resume_writing()
        self._server.closed(self)

    def pause_writing(self) -> None:
        self._untaken.is_full = True

    def resume_writing(self) -> None:
        self._untaken.go_on()
        self._begin()

    def write(self, pieces: list[bytes]) -> None:
        self._transport.writelines(pieces)

    async def until_writable(self) -> None:
        if not self.is_lost:
            await self._untaken.until_less()

    # --- one request after the other

    def _begin(self) -> None:
        """Begins the next request if its head is there and nothing else is under way."""
        incoming = self.incoming
        if self.exchange is not None or self.is_leaving or self.is_lost or self._untaken.is_full or incoming.is_used:
            return
        try:
            head = incoming.next_head()
        except RequestError as error:
            self.refuse(refusal(error))
            return
        if head is not None:
            self.exchange = Exchange(head, self)
            self._task = self._loop.create_task(self._serve(self.exchange))

    async def _serve(self, exchange: Exchange) -> None:
        try:
            scope = exchange.scope(self.client, self._server.place)
            await self._server.application(scope, exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - of the application, whose task ends here
            _log.exception("application_failed")
        finally:
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        self.exchange = self._task = None
        self.since = self.heard = self._loop.time()
        self._ticks = 0
        self._untaken.forget()
        outgoing = exchange.outgoing
        if self.is_lost:
            return
        if outgoing.ended and not (outgoing.closes or self._server.is_closing):
            self.incoming.go_on()
            self._begin()
            waits = bool(self.incoming.data) and self._untaken.is_full  # the next request, until we can write
            if self.incoming.has_ended and not waits and self.exchange is None:
                self.leave()
        elif outgoing.ended or (self.incoming.has_ended and not outgoing.begun):
            self.leave()
        elif not outgoing.begun:
            self.refuse(failure())
        elif outgoing.shows_its_end and not self._untaken.is_full:
            self._close()
        else:
            self.break_off()

    # --- the end

    def leave(self) -> None:
        """End the connection after what was written: we end our side, and the client has a moment to end its own."""
        if self.is_lost or self.is_leaving:
            return
        if self._server.is_closing and self.incoming.is_used and not self._untaken.size:
            self._close()
        else:
            self._linger()

    def refuse(self, answer: bytes) -> None:
        """End the connection with this answer."""
        self._transport.write(answer)
        self._linger()

    def break_off(self) -> None:
        """Reset the connection at once: what the client has not taken is lost."""
        if self.is_lost:
            return
        self.is_lost = self.is_leaving = True
        with suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_LINGERING)
        self._transport.abort()

    def evict(self) -> None:
        """Close this connection at once. If it is leaving, the client may first take what was written."""
        if not self._untaken.size:
            self._close()
        elif not self.is_leaving:
            self.break_off()

    def tick(self) -> Ended:
        """Ends a connection without a request if it has waited too long. Returns why, if its client was too slow."""
        if self.exchange is not None or self.is_lost:
            return None
        still_reads = self._untaken.tick(self._server.least_bytes)
        if self._untaken.stuck_ticks > self._server.head_ticks:
            self.break_off()
            return "untaken_answer"
        if still_reads and (self._untaken.is_full or self.incoming.is_used):
            return None  # if it is full, the next request waits, too
        self._ticks += 1
        if self.is_leaving:
            if self._ticks > _LINGER_TICKS:
                self.break_off()
        elif not self.incoming.is_used:
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
        self.incoming.clear()
        self.incoming.go_on()
        self._ticks = 0
        self._untaken.forget()
        if self.incoming.has_ended:
            self._close()
        else:
            self.is_leaving = True
            self._transport.write_eof()

    def _close(self) -> None:
        """Closes the connection as soon as everything is written."""
        self.is_leaving = True
        self._transport.close()
