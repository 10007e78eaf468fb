"""A limited number of units, shared so that one name (a token, an account) does not stop the others.

`Fair` decides who gets a free unit; `Places` are the places of readers, with a share per name and a time limit.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from file.logic.errors import BusyError

TOO_MANY_READERS = "The service is busy: the limit of files that are read at the same time is reached."


class Fair:
    """Shares `total` units among names. A free unit goes to the name that holds least; among equals, to the one that
    asked first. One name holds `at_most` units; by default all, while the others want none. Belongs to one event loop.
    """

    def __init__(self, total: int, *, at_most: int | None = None) -> None:
        self.held: Counter[str] = Counter()
        self._free = total
        self._at_most = at_most or total
        self._asked = count()
        self._waiting: dict[str, deque[tuple[int, int, asyncio.Future[None]]]] = {}  # by name: order, size, turn

    @property
    def waiting(self) -> set[str]:
        """The names that wait for a unit."""
        return set(self._waiting)

    def take_at_once(self, name: str, size: int = 1) -> bool:
        """Takes units if they are free, and no name waits for one."""
        if self._waiting or size > self._free or self.held[name] + size > self._at_most:
            return False
        self._hold(name, size)
        return True

    async def take(self, name: str, size: int = 1) -> None:
        if self.take_at_once(name, size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (next(self._asked), size, turn)
        self._waiting.setdefault(name, deque()).append(place)
        self._serve()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give(name, size)  # the turn came together with the cancellation
            elif place in self._waiting.get(name, ()):  # otherwise `_serve` has already skipped it
                self._remove(name, place)
                self._serve()
            raise

    def give(self, name: str, size: int = 1) -> None:
        self._hold(name, -size)
        self._serve()

    def _hold(self, name: str, size: int) -> None:
        self._free -= size
        self.held[name] += size
        if not self.held[name]:
            del self.held[name]

    def _remove(self, name: str, place: tuple[int, int, asyncio.Future[None]]) -> None:
        self._waiting[name].remove(place)
        if not self._waiting[name]:
            del self._waiting[name]

    def _serve(self) -> None:
        """Serves in order. It waits for the next name, so that a large request is not starved by small ones; a name
        that would hold too much is passed over.
        """
        while self._waiting and self._free > 0:
            heads = [(self.held[name], queue[0], name) for name, queue in self._waiting.items()]
            allowed = [head for head in heads if head[0] + head[1][1] <= self._at_most]
            if not allowed:
                return
            _, place, name = min(allowed)  # the order of each place is its own, so that turns are never compared
            _, size, turn = place
            if size > self._free:
                return
            self._remove(name, place)
            if not turn.cancelled():
                self._hold(name, size)
                turn.set_result(None)


class Places(Fair):
    """`total` places; one name holds at most `share` of them, and at least one."""

    def __init__(self, total: int, *, share: float = 1.0) -> None:
        super().__init__(total, at_most=max(1, int(total * share)))

    @asynccontextmanager
    async def place(self, name: str, *, wait_seconds: float) -> AsyncIterator[None]:
        """Holds a place. Raises `BusyError` if this name gets none within `wait_seconds`."""
        if not self.take_at_once(name):
            try:
                async with asyncio.timeout(wait_seconds):
                    await self.take(name)
            except TimeoutError:
                raise BusyError(TOO_MANY_READERS) from None
        try:
            yield
        finally:
            self.give(name)
