"""Places of which there are only so many, and of which one name may hold only a share: so that the others go on.

Who waits is served in order among those of its name; a free place goes to the name that holds least. Nothing that one
name asks for can keep another one waiting, but that all places are taken by others who may hold them.
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
        """Hold one. Raises `BusyError` if none came free for this name within that time."""
        await self._take(name, wait_seconds)
        try:
            yield
        finally:
            self._give(name)

    async def _take(self, name: str, wait_seconds: float) -> None:
        if self._free and self.held[name] < self.at_most:  # and nobody waits for it: see `_serve`
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
                self._give(name)  # our turn came together with the time limit or the cancellation
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
        """To whoever may have them; what is free after that, nobody who waits may have."""
        while self._free:
            names = [name for name, queue in self._waiting.items() if queue and self.held[name] < self.at_most]
            if not names:
                return
            name = min(names, key=lambda name: self.held[name])
            turn = self._waiting[name].popleft()
            if not turn.done():
                self._hold(name)
                turn.set_result(None)
