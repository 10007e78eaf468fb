"""The connections to one account for small requests: kept, used again, and closed when idle.

A request takes the connection that was used last, or a new one; how many there are at once is limited by who asks. A
request of which anything was sent is never repeated here: whether it took effect is a question for `file/s3/bucket.py`.
So a kept connection is examined before it is used, and one that the account has closed is not used. The account does
not close one that is idle for so short a time. One timer serves all connections.
"""

import asyncio
from collections import deque

from file.s3.connections.answers import RawAnswer
from file.s3.connections.connection import Connection
from file.s3.connections.dialing import Dialer

MOST_KEPT = 32


class Pool:
    """`idle_seconds`: how long an idle connection is kept. Close it when done."""

    def __init__(self, dialer: Dialer, *, idle_seconds: float) -> None:
        self._dialer = dialer
        self._idle_seconds = idle_seconds
        self._kept: deque[Connection] = deque()  # the one that was used last at the end
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def exchange(self, request: bytes, *, to_head: bool, most: int) -> RawAnswer:
        """Sends a request. Raises `OSError` if nothing was sent, `EOFError` if the answer was lost; has no deadline."""
        connection = self._taken() or await self._dialer.dial()
        answer = await connection.exchange(request, to_head=to_head, most=most)
        self._keep(connection)
        return answer

    async def close(self) -> None:
        """Closes the idle connections, and each other one after its request."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        while self._kept:
            self._kept.pop().close()
        self._dialer.close()
        await asyncio.sleep(0)  # in which they are closed

    def _taken(self) -> Connection | None:
        while self._kept:
            connection = self._kept.pop()
            if connection.is_free and connection.is_silent:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        if self._is_closed or not connection.is_free or len(self._kept) >= MOST_KEPT:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.kept_since = loop.time()
        self._kept.append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_seconds, self._close_idle)

    def _close_idle(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        longest = loop.time() - self._idle_seconds
        while self._kept and self._kept[0].kept_since <= longest:
            self._kept.popleft().close()
        if self._kept:
            self._sweep = loop.call_at(self._kept[0].kept_since + self._idle_seconds, self._close_idle)
