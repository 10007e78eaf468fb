"""A short limit for the heads of requests, beside the server's long limit for idle connections.

Granian has one timeout for both: it begins when a connection is opened or becomes idle, and only a whole head ends it.
So it is as long as a connection may be idle, and heads that take longer than they may are found here. Linux tells of
every connection how many bytes have arrived (TCP_INFO), and the application is told when a request begins: bytes that
arrive while a connection has no request belong to a head that is not whole. If that lasts, we end the connection's
reading, and the server closes it. This costs a request a few operations on a set and a dictionary, and the process a
look at each of its open files four times a limit. Without TCP_INFO (macOS) the server's timeout is the only one.

The same look finds answers that are not taken. The server has the whole answer then, so no request is under way any
more, and it waits for the client without a limit (a file that is still being read has a minimum rate of its own:
`file/api/reading.py`). Linux tells how many bytes the client has acknowledged, and how many of ours are not sent.
"""

import asyncio
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from file.logic import metrics

# `tcpi_bytes_acked`, `tcpi_bytes_received` and `tcpi_notsent_bytes` of Linux's `struct tcp_info`, since 4.6.
_TOLD = struct.Struct("=120xQQ8xI")
# Closing it breaks the connection off at once, and frees what the kernel has not sent.
_NOT_LINGERING = struct.pack("ii", 1, 0)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_FILES = "/proc/self/fd"
# A head is too slow once that many looks, and one more, saw it unfinished. Looks, not seconds: while the event
# loop is held up, no request can begin either.
_LOOKS = 4
_FILES_AT_ONCE = 64
_log = structlog.get_logger()

Peer = tuple[str | bytes, str]


@dataclass(slots=True)
class _Quiet:
    """A connection without a request. `arrived`: bytes, when it became so; None until the next look."""

    arrived: int | None = 0
    looks: int = 0  # in a row, that saw more than these
    taken: int | None = None  # bytes of ours that the client had acknowledged at the last look
    stuck: int = 0  # looks in a row between which it took too few of those that there are


def can_be_seen() -> bool:
    """Whether this system tells what `SlowHeads` needs to know."""
    if sys.platform != "linux":
        return False
    with socket.socket() as trial:
        told = trial.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOLD.size)
    return len(told) == _TOLD.size


class SlowHeads:
    """The application, and an eye on the connections to `port` for as long as the application lives.

    `seconds` is the limit of a head. So long may an answer be taken more slowly than `min_bytes_per_second`, too.
    """

    def __init__(self, application: ASGIApp, port: int, *, seconds: float, min_bytes_per_second: int = 0) -> None:
        self._application = application
        self._port = port
        self._seconds = seconds
        self._least_bytes = min_bytes_per_second * seconds / _LOOKS  # that are taken between two looks
        self._busy: set[Peer] = set()
        self._quiet: dict[Peer, _Quiet] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._live(scope, receive, send)
            return
        peer = _peer(*scope["client"])
        self._quiet.pop(peer, None)
        self._busy.add(peer)
        try:
            await self._application(scope, receive, send)
        finally:
            self._busy.discard(peer)
            self._quiet[peer] = _Quiet(None)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching = asyncio.ensure_future(self._watch())
        try:
            await self._application(scope, receive, send)
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / _LOOKS)
            try:
                ended = await self._look()
            except OSError as error:  # no file can be opened any more
                _log.warning("slow_heads_not_seen", detail=error.strerror)
                continue
            for event, connections in ended.items():
                _log.info(event, connections=connections)
            metrics.SLOW_READERS.inc(ended["untaken_answers_ended"])

    async def _look(self) -> Counter[str]:
        """Look at every connection once. Returns how many were ended, by the event that tells why."""
        before, met, ended = set(self._quiet), set[Peer](), Counter[str]()
        for number, file in enumerate(os.listdir(_FILES), 1):  # noqa: PTH208 - they are many, and only numbers
            if number % _FILES_AT_ONCE == 0:
                await asyncio.sleep(0)
            with borrowed(int(file)) as connection:
                if connection is not None and (why := self._end_if_slow(connection, met)):
                    ended[why] += 1
        for peer in before - met:  # they were closed
            self._quiet.pop(peer, None)
        return ended

    def _end_if_slow(self, connection: socket.socket, met: set[Peer]) -> str | None:
        try:
            if connection.family not in _FAMILIES or connection.getsockname()[1] != self._port:
                return None
            peer = _peer(*connection.getpeername()[:2])
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TOLD.size)
            if peer in met:  # one port of a client and two addresses of ours: it is not known which has the request
                self._quiet[peer] = _Quiet(None)
                return None
            met.add(peer)
            if peer in self._busy:
                return None
            taken, arrived, unsent = _TOLD.unpack(told)
            quiet = self._quiet.setdefault(peer, _Quiet())
            if self._is_not_taken(quiet, taken, unsent):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOT_LINGERING)
                connection.shutdown(socket.SHUT_RDWR)
                return "untaken_answers_ended"
            if self._is_slow(quiet, arrived):
                connection.shutdown(socket.SHUT_RD)
                return "slow_heads_ended"
        except OSError:
            pass  # the listening socket, or a client that has gone
        return None

    def _is_not_taken(self, quiet: _Quiet, taken: int, unsent: int) -> bool:
        is_stuck = unsent and quiet.taken is not None and taken - quiet.taken < self._least_bytes
        quiet.stuck = quiet.stuck + 1 if is_stuck else 0
        quiet.taken = taken
        return quiet.stuck > _LOOKS

    def _is_slow(self, quiet: _Quiet, arrived: int) -> bool:
        if quiet.arrived is None or quiet.arrived > arrived:
            quiet.arrived = arrived
        quiet.looks = quiet.looks + 1 if arrived > quiet.arrived else 0
        return quiet.looks > _LOOKS


@contextmanager
def borrowed(file: int) -> Iterator[socket.socket | None]:
    """The socket behind the number of a file, if it is one. It stays the server's.

    No file may be closed here, nor a second number of it: if it is the ledger's (SQLite), the locks that this process
    holds on the database would go with it (POSIX), and two processes would write at once.
    """
    try:
        borrowed = socket.socket(fileno=file)
    except OSError:  # closed, or no socket
        yield None
        return
    try:
        yield borrowed
    finally:
        borrowed.detach()


def _peer(host: str, port: str | int) -> Peer:
    """An address of IPv6 has more than one spelling."""
    return (socket.inet_pton(socket.AF_INET6, host.partition("%")[0]) if ":" in host else host, str(port))
