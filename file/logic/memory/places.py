"""A limited number of places, of which one name may hold only a share, so that it does not stop the others.

Waiting callers of one name are served in order; a free place goes to the name that holds least. A name waits only for
its own share, or because all places are in use.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from file.logic.errors import BusyError

TOO_MANY_READERS = "The service is busy: the limit of files that are read at the same time is reached."


class Places:
    """`total` places; one name holds at most `share` of them, and at least one. Belongs to one event loop."""

    def __init__(self, total: int, *, share: float = 1.0) -> None:
        self.total = total
        self.at_most = max(1, int(total * share))
        self.held: Counter[str] = Counter()
        self._free = total
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def place(self, name: str, *, wait_seconds: float) -> AsyncIterator[None]:
        """Holds a place. Raises `BusyError` if this name gets none within `wait_seconds`."""
        await self._take(name, wait_seconds)
        try:
            yield
        finally:
            self._give(name)

    async def _take(self, name: str, wait_seconds: float) -> None:
        if self._free and self.held[name] < self.at_most:  # then no caller waits for it: see `_serve`
            self._hold(name)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(name, deque())
        queue.append(turn)
        try:
            async with asyncio.timeout(wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give(name)  # the turn came together with the time limit or the cancellation
            elif turn in queue:
                queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise BusyError(TOO_MANY_READERS) from None
            raise
        finally:
            if not queue and self._waiting.get(name) is queue:
                del self._waiting[name]

    def _hold(self, name: str) -> None:
        self._free -= 1
        self.held[name] += 1

    def _give(self, name: str) -> None:
        self._free += 1
        self.held[name] -= 1
        if not self.held[name]:
            del self.held[name]
        self._serve()

    def _serve(self) -> None:
        """Gives free places to waiting callers. A place that is free afterwards is not allowed to any of them."""
        while self._free:
            names = [name for name, queue in self._waiting.items() if queue and self.held[name] < self.at_most]
            if not names:
                return
            name = min(names, key=lambda name: self.held[name])
            turn = self._waiting[name].popleft()
            if not turn.done():
                self._hold(name)
                turn.set_result(None)
