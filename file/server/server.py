"""All connections to one listening socket: their number is limited, one timer looks at them, and they end together.

Accepts connections up to the limit; further clients wait in the kernel's queue. When connections become scarce, idle
ones are closed (`eviction.py`). What one connection does is in `connection.py`.
"""

import asyncio
import errno
import math
import socket
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp

from file import metrics
from file.logic.values import KiB
from file.server.connection import Connection
from file.server.eviction import Idle, address_of, is_scarce, to_evict
from file.server.exchange import Place
from file.server.openfiles import MOST_CONNECTIONS

# What is read from a connection at once.
_READ_BYTES = 256 * KiB
# How much of a response the kernel keeps unsent per connection (Linux). By default it keeps some MiB for a client that
# does not read. Data that is sent and not acknowledged does not count.
_UNSENT_BYTES = 256 * KiB
# The length of the kernel's queue, at its default maximum. If it is full, a client tries again only after seconds.
_BACKLOG = 4096
_ACCEPTED_AT_ONCE = 64
# The timer looks so often within the time that a head may take, or a connection may be idle.
_TICKS = 4
_EVICTION_SECONDS = 0.1
_SHORTAGE_SECONDS = 0.5  # how long nothing is accepted when the system has no files or no memory for a connection
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long a connection may be idle between two requests, and how long a request head may take.

    `min_bytes_per_second`: the lowest rate, over `head_seconds`, at which a client must receive the rest of a response;
    0 for no limit.
    `connections`: the most connections, with idle ones; further clients wait in the kernel's queue.
    """

    idle_seconds: float
    head_seconds: float
    min_bytes_per_second: int = 0
    connections: int = MOST_CONNECTIONS


def listening_socket(host: str, port: int) -> socket.socket:
    """`host` is a numeric address. Its connections inherit its options. Raises OSError if the address is not free."""
    is_ipv6 = ":" in host
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=is_ipv6)
    listening.setblocking(False)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)
    return listening


class Server:
    """Serves the application on a listening socket, from `begin` to `close`. Belongs to one event loop."""

    def __init__(self, application: ASGIApp, listening: socket.socket, limits: ConnectionLimits) -> None:
        self.application = application
        self.scratch = memoryview(bytearray(_READ_BYTES))
        self.is_closing = False
        self._pause_seconds = min(limits.head_seconds, limits.idle_seconds) / _TICKS
        self.head_ticks = math.ceil(limits.head_seconds / self._pause_seconds)
        self.idle_ticks = math.ceil(limits.idle_seconds / self._pause_seconds)
        self.least_bytes = limits.min_bytes_per_second * self._pause_seconds
        self.connections: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self.place: Place = listening.getsockname()[:2]
        self._most = limits.connections
        self._is_open = True
        self._accepts = False
        self._attaching: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.TimerHandle | None = None
        self._evicting: asyncio.TimerHandle | None = None
        self._all_closed = asyncio.Event()

    def begin(self) -> None:
        """Accept connections."""
        self._sweeping = self._loop.call_later(self._pause_seconds, self._sweep)
        self._go_on()

    def stop_accepting(self) -> None:
        """Accept no more connections. Those that are open go on."""
        self._pause()
        self._is_open = False
        self._listening.close()

    async def close(self, end: float) -> None:
        """Close idle connections, wait for requests until `end` on the loop's clock, and break off what is left."""
        self.stop_accepting()
        self.is_closing = True
        for connection in list(self.connections):
            if connection.exchange is not None:
                connection.exchange.outgoing.closes = True
            elif connection.is_leaving or connection.incoming.data:  # no request of it will be answered
                connection.evict()
            else:
                connection.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                while self.connections:
                    self._all_closed.clear()
                    await self._all_closed.wait()
        for connection in list(self.connections):
            connection.break_off()
        for timer in (self._sweeping, self._evicting):
            if timer is not None:
                timer.cancel()

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._all_closed.set()
        self._go_on()

    # --- accepting

    def _go_on(self) -> None:
        if self._is_open and not self._accepts and len(self.connections) < self._most:
            self._accepts = True
            self._loop.add_reader(self._listening, self._accept)

    def _pause(self) -> None:
        if self._accepts:
            self._accepts = False
            self._loop.remove_reader(self._listening)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if len(self.connections) >= self._most:
                self._pause()
                break
            try:
                accepted, client = self._listening.accept()
            except OSError as error:
                if error.errno in _SHORTAGES:
                    _log.warning("no_connection_accepted", detail=error.strerror)
                    self._pause()
                    self._loop.call_later(_SHORTAGE_SECONDS, self._go_on)
                break  # nobody waits, or the client has gone
            accepted.setblocking(False)
            connection = Connection(self, client[:2])
            self.connections.add(connection)
            task = self._loop.create_task(self._attach(connection, accepted))
            self._attaching.add(task)
            task.add_done_callback(self._attaching.discard)
        if self._evicting is None and is_scarce(len(self.connections), self._most):
            self._evicting = self._loop.call_later(_EVICTION_SECONDS, self._make_room)

    async def _attach(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:  # the client has gone
            accepted.close()
            self.closed(connection)

    # --- the timers

    def _sweep(self) -> None:
        self._sweeping = self._loop.call_later(self._pause_seconds, self._sweep)
        ended = Counter(map(Connection.tick, list(self.connections)))
        if slow := ended["slow_head"]:
            _log.info("slow_heads_ended", connections=slow)
        if untaken := ended["untaken_answer"]:
            metrics.SLOW_READERS.inc(untaken)
            _log.info("untaken_answers_ended", connections=untaken)

    def _make_room(self) -> None:
        """Closes idle connections, and looks again as long as connections are scarce."""
        self._evicting = None
        if self.is_closing or not is_scarce(len(self.connections), self._most):  # also those that are not attached yet
            return
        there = []
        for connection in [each for each in self.connections if not each.is_lost]:
            if connection.is_leaving:
                connection.evict()
            else:
                there.append((connection, address_of(connection.client[0])))
        now = self._loop.time()
        idle = [Idle(each, address, each.since, now - each.heard) for each, address in there if each.exchange is None]
        evicted = list(to_evict(idle, Counter(address for _, address in there), self._most))
        for chosen in evicted:
            chosen.connection.evict()
        if evicted:
            metrics.IDLE_CONNECTIONS_ENDED.inc(len(evicted))
            _log.warning("idle_connections_ended", connections=len(evicted), of=len(there), most=self._most)
        self._evicting = self._loop.call_later(_EVICTION_SECONDS, self._make_room)
