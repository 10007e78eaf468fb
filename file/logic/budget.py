"""The memory that all uploads together may hold, given out in whole parts.

A part is reserved before its bytes are read and given back when the last lane has sent it. Who waits is served in
order, so a large part is not starved by small ones. An upload never waits for memory while it holds bytes that only
more memory would set free; that is what keeps this free of deadlocks (docs/decisions/0003).
"""

import asyncio
from collections import Counter, deque

from file.logic.errors import BusyError
from file.logic.rooms import Rooms

_Place = tuple[int, asyncio.Future[None]]


class Budget:
    """`total` bytes. Not thread-safe: it belongs to one event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.peak = 0
        self._waiting: deque[_Place] = deque()
        self._patient: deque[_Place] = deque()
        self.rooms = Rooms(lambda: self.total - self.used)  # what nobody has reserved may be kept for a while

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


class Fair:
    """`total` of something that accounts want. What comes free goes to who holds least of it; of two who hold as much,
    to who asked first. So one account may hold all of it while nobody else wants any, and soon no more than others who
    do. Belongs to one event loop.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.held: Counter[str] = Counter()
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    @property
    def has_more(self) -> bool:
        """Some is free, and nobody waits for it."""
        return not self._waiting and self.held.total() < self.total

    @property
    def waiting(self) -> set[str]:
        """The accounts that wait."""
        return {account for account, _, _ in self._waiting}

    async def take(self, account: str, size: int = 1) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (account, size, turn)
        self._waiting.append(place)
        self._serve()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.give(account, size)  # our turn came together with the cancellation
            elif place in self._waiting:  # if not, `_serve` has passed over it already
                self._waiting.remove(place)
                self._serve()
            raise

    def give(self, account: str, size: int = 1) -> None:
        self.held[account] -= size
        self._serve()

    def _serve(self) -> None:
        """Who is to be next is waited for, so that a large piece is not starved by small ones."""
        while self._waiting:
            place = min(self._waiting, key=lambda place: self.held[place[0]])
            account, size, turn = place
            if self.held.total() + size > self.total:
                return
            self._waiting.remove(place)
            if not turn.cancelled():
                self.held[account] += size
                turn.set_result(None)


class Share:
    """A quarter of a budget, for what can wait: it is given memory only when nobody else waits for any."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._own = Fair(budget.total // 4)

    def of(self, account: str) -> "Portion":
        """What is reserved for one account."""
        return Portion(self._budget, self._own, account)


class Portion:
    """Of a share: one account's, fair among all."""

    def __init__(self, budget: Budget, share: Fair, account: str) -> None:
        self._budget = budget
        self._share = share
        self._account = account
        self.rooms = budget.rooms

    @property
    def largest_part(self) -> int:
        return self._budget.largest_part

    async def reserve(self, size: int, *, wait_seconds: float | None = None) -> None:
        """As `Budget.reserve`, but that it waits for as long as it takes."""
        await self._share.take(self._account, size)
        try:
            await self._budget.reserve(size, patient=True)
        except BaseException:
            self._share.give(self._account, size)
            raise

    def release(self, size: int) -> None:
        self._share.give(self._account, size)
        self._budget.release(size)
