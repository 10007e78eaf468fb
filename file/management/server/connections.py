"""Limits for connections: for slow request heads, for responses that a client does not receive, and for idle ones.

Granian has one timeout for idle connections and for request heads: it begins when a connection is opened or becomes
idle, and only a complete head ends it. So it has the length that an idle connection may have, and slow heads are found
here. Linux counts the bytes that have arrived on each connection (TCP_INFO), and the application knows when a request
begins: bytes that arrive on a connection without a request belong to an incomplete head. If it stays incomplete too
long, we shut down the receiving side, and the server closes the connection. Idle connections are closed in the same way
when connections become scarce (`eviction.py`).

The same check finds responses that a client does not receive. The server has the whole response then, so the request
has ended, and it waits for the client without a limit (a file that is still being read has a minimum rate of its own:
`file/api/endpoints/get.py`). Linux counts the bytes that the client has acknowledged, and the bytes that are not sent.

The cost per request is a few operations on a set and a dictionary. The process checks each of its open files four times
per limit, and counts them ten times a second. Without TCP_INFO (macOS) only the server's timeout works, and no idle
connection is closed early.
"""

import asyncio
import os
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from file import metrics
from file.management.server.eviction import Idle, Peer, address_of, is_scarce, to_evict
from file.management.server.openfiles import MOST_CONNECTIONS

# Of Linux's `struct tcp_info`, since 4.6: `tcpi_last_data_recv` (milliseconds ago), `tcpi_bytes_acked`,
# `tcpi_bytes_received` and `tcpi_notsent_bytes`.
_TCP_INFO = struct.Struct("=52xI64xQQ8xI")
# With this option, closing resets the connection at once and frees the data that the kernel has not sent.
_NOT_LINGERING = struct.pack("ii", 1, 0)
_FILES = "/proc/self/fd"
# A head is too slow after this number of checks, and one more, that saw it incomplete. Checks are counted and not
# seconds, because no request can begin while the event loop is blocked.
_CHECKS = 4
_FILES_AT_ONCE = 64
_COUNT_SECONDS = 0.1
_RECOUNT_SECONDS = 1.0  # how long the count of open files that are no connections is used
# A connection that was shut down and still exists has a response that the client does not read.
_LAST_SECONDS = 5.0
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


@dataclass(slots=True)
class _Quiet:
    """A connection without a request. `arrived`: its bytes when the last request ended; None until the next check."""

    arrived: int | None = 0
    checks: int = 0  # checks in a row that saw more bytes than that
    taken: int | None = None  # bytes of ours that the client had acknowledged at the last check
    stuck: int = 0  # checks in a row between which it received too few bytes
    since: float = field(default_factory=time.monotonic)
    ended_at: float | None = None


@dataclass(slots=True)
class _Check:
    """What one check of all connections saw. `regular`: it counts for the limits of heads and responses."""

    regular: bool
    met: set[Peer] = field(default_factory=set)
    by_address: Counter[str | bytes] = field(default_factory=Counter)
    idle: list[Idle] = field(default_factory=list)
    slow: int = 0  # connections with a slow head that were shut down
    untaken: int = 0  # connections with a response that was not received


def can_be_seen() -> bool:
    """Whether this system has the counters that `ConnectionWatch` needs."""
    if sys.platform != "linux":
        return False
    with socket.socket() as trial:
        info = trial.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    return len(info) == _TCP_INFO.size


class ConnectionWatch:
    """The application, and a watch on the connections to `port` while the application runs."""

    def __init__(self, application: ASGIApp, port: int, limits: ConnectionLimits) -> None:
        self._application = application
        self._port = port
        self._pause_seconds = limits.head_seconds / _CHECKS
        self._most = limits.connections
        self._least_bytes = limits.min_bytes_per_second * self._pause_seconds  # to receive between two checks
        self._busy: dict[Peer, object] = {}
        self._quiet: dict[Peer, _Quiet] = {}
        self._others = 0  # open files that were no connections at the last check
        self._checked_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._live(scope, receive, send)
            return
        peer = _peer(*scope["client"])
        self._quiet.pop(peer, None)
        turn = self._busy[peer] = object()
        try:
            await self._application(scope, receive, send)
        finally:
            if self._busy.get(peer) is turn:  # or the next request has begun meanwhile
                del self._busy[peer]
                self._quiet[peer] = _Quiet(None)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching = asyncio.ensure_future(self._watch())
        try:
            await self._application(scope, receive, send)
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def _watch(self) -> None:
        pause = self._pause_seconds
        due = time.monotonic() + pause
        while True:
            await asyncio.sleep(min(pause, _COUNT_SECONDS))
            regular = time.monotonic() >= due
            try:
                if regular or self._may_be_scarce():
                    await self.check(regular=regular)
            except OSError as error:  # the limit of open files is reached
                _log.warning("slow_heads_not_seen", detail=error.strerror)
            if regular:
                due = time.monotonic() + pause

    def _may_be_scarce(self) -> bool:
        """By the number of open files alone, which is cheap (a check takes 5 us per file)."""
        files = os.stat(_FILES).st_size or len(os.listdir(_FILES))  # noqa: PTH116, PTH208 - before Linux 6.2 it is 0
        if not is_scarce(files, self._most):
            return False
        return is_scarce(files - self._others, self._most) or time.monotonic() - self._checked_at > _RECOUNT_SECONDS

    async def check(self, *, regular: bool) -> None:
        """Check every connection once, and shut down those that are too slow or have to make place."""
        before, check = set(self._quiet), _Check(regular)
        files = os.listdir(_FILES)  # noqa: PTH208 - they are many, and only numbers
        for number, file in enumerate(files, 1):
            if number % _FILES_AT_ONCE == 0:
                await asyncio.sleep(0)
            with borrowed(int(file)) as connection:
                if connection is not None:
                    self._see(int(file), connection, check)
        for peer in before - check.met:  # they were closed
            self._quiet.pop(peer, None)
        self._others = len(files) - check.by_address.total()
        self._checked_at = time.monotonic()
        if check.slow:
            _log.info("slow_heads_ended", connections=check.slow)
        if check.untaken:
            metrics.SLOW_READERS.inc(check.untaken)
            _log.info("untaken_answers_ended", connections=check.untaken)
        if ended := sum(map(self._evict, to_evict(check.idle, check.by_address, self._most))):
            metrics.IDLE_CONNECTIONS_ENDED.inc(ended)
            _log.warning("idle_connections_ended", connections=ended, of=check.by_address.total(), most=self._most)

    def _see(self, file: int, connection: socket.socket, check: _Check) -> None:
        try:
            here = connection.getsockname()
            if not isinstance(here, tuple) or not isinstance(here[0], str) or here[1] != self._port:
                return
            peer = _peer(*connection.getpeername()[:2])
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            silent, taken, arrived, unsent = _TCP_INFO.unpack(info)
            # The same client port to two of our addresses: we cannot know which of the two has the request.
            if peer in check.met:
                self._quiet[peer] = _Quiet(None)
                return
            check.met.add(peer)
            if peer not in self._busy:
                quiet = self._quiet.setdefault(peer, _Quiet())
                if quiet.ended_at is not None:
                    if time.monotonic() - quiet.ended_at > _LAST_SECONDS:
                        connection.shutdown(socket.SHUT_RDWR)
                    return
                if check.regular and self._is_not_taken(quiet, taken, unsent):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_LINGERING)
                    connection.shutdown(socket.SHUT_RDWR)
                    check.untaken += 1
                    return
                if check.regular and _is_slow(quiet, arrived):
                    connection.shutdown(socket.SHUT_RD)
                    check.slow += 1
                    return
                check.idle.append(Idle(file, peer, quiet.since, silent / 1000))
            check.by_address[address_of(peer)] += 1
        except OSError:
            return  # the listening socket, or a client that has gone

    def _is_not_taken(self, quiet: _Quiet, taken: int, unsent: int) -> bool:
        is_stuck = unsent and quiet.taken is not None and taken - quiet.taken < self._least_bytes
        quiet.stuck = quiet.stuck + 1 if is_stuck else 0
        quiet.taken = taken
        return quiet.stuck > _CHECKS

    def _evict(self, idle: Idle) -> bool:
        """Shut it down if it is still the same connection, and still idle."""
        quiet = self._quiet.get(idle.peer)
        if quiet is None or quiet.since != idle.since:
            return False
        with borrowed(idle.file) as connection:
            try:
                if connection is None or _peer(*connection.getpeername()[:2]) != idle.peer:
                    return False
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                return False
        quiet.ended_at = time.monotonic()
        return True


def _is_slow(quiet: _Quiet, arrived: int) -> bool:
    if quiet.arrived is None or quiet.arrived > arrived:
        quiet.arrived = arrived
    quiet.checks = quiet.checks + 1 if arrived > quiet.arrived else 0
    return quiet.checks > _CHECKS


@contextmanager
def borrowed(file: int) -> Iterator[socket.socket | None]:
    """The socket with this file descriptor, if it is one. The server keeps it.

    Nothing may be closed here, not even a duplicate of the descriptor: if it is the file of the SQLite ledger, POSIX
    releases this process's locks on the database with it, and two processes would write at the same time.
    """
    try:
        # This family fits addresses of both families, so that the family of the socket need not be looked up.
        connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=file)
    except OSError:  # closed, or no socket
        yield None
        return
    try:
        yield connection
    finally:
        connection.detach()


def _peer(host: str, port: str | int) -> Peer:
    """With IPv6 in binary form, because the text of an address has more than one spelling."""
    return (socket.inet_pton(socket.AF_INET6, host.partition("%")[0]) if ":" in host else host, str(port))
