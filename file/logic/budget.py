"""The memory that all uploads together may hold, given out in whole parts.

A part is reserved before its bytes are read and given back when the last lane has sent it. Who waits is served in
order, so a large part is not starved by small ones. An upload never waits for memory while it holds bytes that only
more memory would set free; that is what keeps this free of deadlocks (docs/decisions/0003).
"""

import asyncio
from collections import deque

from file.logic.errors import BusyError

_Place = tuple[int, asyncio.Future[None]]


class Budget:
    """`total` bytes. Not thread-safe: it belongs to one event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.peak = 0
        self._waiting: deque[_Place] = deque()
        self._patient: deque[_Place] = deque()

    @property
    def largest_part(self) -> int:
        """A part above a quarter of the budget would let a handful of uploads stop all others."""
        return self.total // 4

    async def reserve(self, size: int, *, wait_seconds: float | None = None, patient: bool = False) -> None:
        """Take `size` bytes, after those who asked before; `patient`, after everybody else, too.

        Raises `BusyError` after `wait_seconds`.
        """
        queue = self._patient if patient else self._waiting
        if not self._waiting and not (patient and self._patient) and self.used + size <= self.total:
            self._take(size)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (size, turn)
        queue.append(place)
        try:
            async with asyncio.timeout(wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(size)  # our turn came together with the time limit or the cancellation
            elif place in queue:  # if not, `_serve` has passed over it already
                queue.remove(place)
                self._serve()
            if isinstance(error, TimeoutError):
                raise BusyError from None
            raise

    def release(self, size: int) -> None:
        self.used -= size
        self._serve()

    def _take(self, size: int) -> None:
        self.used += size
        self.peak = max(self.peak, self.used)

    def _serve(self) -> None:
        while queue := self._waiting or self._patient:
            if self.used + queue[0][0] > self.total:
                return
            size, turn = queue.popleft()
            if turn.cancelled():
                continue
            self._take(size)
            turn.set_result(None)


class Share:
    """A quarter of a budget, for what can wait: it is given memory only when nobody else waits for any."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._own = Budget(budget.total // 4)

    @property
    def largest_part(self) -> int:
        return self._budget.largest_part

    async def reserve(self, size: int, *, wait_seconds: float | None = None) -> None:
        """As `Budget.reserve`, but that it waits for as long as it takes."""
        await self._own.reserve(size)
        try:
            await self._budget.reserve(size, patient=True)
        except BaseException:
            self._own.release(size)
            raise

    def release(self, size: int) -> None:
        self._own.release(size)
        self._budget.release(size)
