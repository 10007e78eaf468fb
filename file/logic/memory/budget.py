"""The memory that all uploads together may use, given out part by part.

Before the first byte of a part is read, the part claims the most memory that it may need. While enough is free, it gets
all of that at once. If others wait, a slow part gives back its unfilled memory, and from then on it grows with the
bytes that arrive. A claim may grow only if all memory that it still needs is free: so one claim can always be filled
and sent, and there is no deadlock (docs/decisions/0003). No holder has more than its share of the memory.
"""

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from file.logic.errors import BusyError
from file.logic.memory.buffers import STEP_BYTES, Buffer, Buffers, buffer_bytes
from file.logic.memory.places import Fair

# After this time unfilled memory may be taken back, and a claim that has waited so long may begin with a first step.
_GRACE_SECONDS = 1.0
_LOOK_SECONDS = 0.25
# The fraction that growing claims cannot use (an eighth), so that small files never wait behind them.
_SPARED = 8

_SHARE_IS_HELD = "The service is busy: other uploads with this token use all the memory that one token may use."

_Turn = asyncio.Future[None]


class _Pool:
    """Memory that is given out up to a limit: all memory, or the share of one holder.

    Of the claims that are granted and not complete: what they hold (`growing`), and what they still need (`needed`).
    """

    __slots__ = ("growing", "limit", "needed", "small", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.small = 0  # held by claims of one step at most
        self.growing = 0
        self.needed = 0

    def has(self, size: int) -> bool:
        return self.used + size <= self.limit

    def has_for_large(self, size: int) -> bool:
        """Whether `size` is free, and an eighth is left for small claims."""
        return self.has(size) and self.used - self.small + size <= self.limit - self.spared

    @property
    def spared(self) -> int:
        return self.limit // _SPARED

    @property
    def sure(self) -> int:
        """The memory that is free for a growing claim after all complete and small parts are given back."""
        return self.limit - self.spared - self.growing


class Claim:
    """The memory of one part: it may need `most`, and has `held`. `release` it after the part was sent."""

    __slots__ = ("_budget", "_released", "asked", "buffer", "held", "is_small", "most", "pools", "wants")

    def __init__(
        self, budget: "Budget", most: int, pools: tuple[_Pool, ...], released: Callable[[int], None] | None = None
    ) -> None:
        self.most = most
        self.held = 0
        self.wants = most
        self.pools = pools  # the holder's own before the common one
        self.is_small = most <= STEP_BYTES
        self.asked = 0.0  # the time of asking, on the loop's clock; once it is granted, the time of that
        self.buffer: Buffer | None = None  # being filled
        self._budget = budget
        self._released = released

    def set(self, held: int, most: int) -> None:
        """Sets the values, and counts the difference in the pools."""
        grew, grows = 0 < self.held < self.most, 0 < held < most
        for pool in self.pools:
            pool.used += held - self.held
            if self.is_small:
                pool.small += held - self.held
            if grew:
                pool.growing -= self.held
                pool.needed -= self.most - self.held
            if grows:
                pool.growing += held
                pool.needed += most - held
        self.held, self.most = held, most

    async def grow(self, size: int, *, wait_seconds: float | None = None) -> None:
        """Waits until it holds at least `size`. Raises `BusyError` after `wait_seconds`."""
        if size > self.held:
            await self._budget.grow(self, size, wait_seconds)

    def settle(self, size: int) -> None:
        """Says that the part is complete with `size` bytes of memory, and gives the rest back."""
        given, self.buffer = self.most - size, None
        self.set(size, size)
        if self._released is not None:
            self._released(given)
        self._budget.given_back(self)

    def release(self) -> None:
        self.settle(0)


class Budget:
    """`total` bytes; one holder has at most `share` of them. Not thread-safe: it belongs to one event loop."""

    def __init__(self, total: int, *, share: float = 1.0, grace_seconds: float = _GRACE_SECONDS) -> None:
        self.total = total
        self.peak = 0
        self.buffers = Buffers(lambda: self.total - self.used)  # memory that is not reserved may be kept for a while
        self._all = _Pool(total)
        self._share = share
        self._pools: dict[str, tuple[_Pool, ...]] = {}
        self._grace_seconds = grace_seconds
        self._look_seconds = min(grace_seconds, _LOOK_SECONDS)
        self._growing: dict[Claim, _Turn] = {}
        self._new: dict[Claim, _Turn] = {}
        self._patient: dict[Claim, _Turn] = {}
        self._whole: dict[Claim, None] = {}  # got all memory at once, and are being filled; the oldest first
        self._look: asyncio.TimerHandle | None = None

    @property
    def used(self) -> int:
        return self._all.used

    @property
    def largest_part(self) -> int:
        """A quarter of the budget: with larger parts, few uploads would stop all others."""
        return self.total // 4

    async def claim(self, most: int, *, who: str = "", wait_seconds: float | None = None) -> Claim:
        """Memory for a part of `most` bytes, in order of asking. `who` is the holder.

        It gets all of it, or, if memory is short for a while, a first step. Raises `BusyError` after `wait_seconds`.
        """
        claim = Claim(self, most, self._pools_of(who))
        if not self._new and not self._growing and _short(claim, most) is None:
            self._grant(claim, most)
        else:
            await self._wait(self._new, claim, wait_seconds)
        return claim

    async def claim_patiently(self, most: int, released: Callable[[int], None]) -> Claim:
        """Memory after all other claims. `released` is called with what is given back; if cancelled, with all of it."""
        claim = Claim(self, most, (self._all,), released)
        await self._wait(self._patient, claim, None)
        return claim

    async def grow(self, claim: Claim, size: int, wait_seconds: float | None) -> None:
        """Grows a claim, at least to twice its size, so that a part grows only a few times."""
        claim.wants = min(claim.most, buffer_bytes(max(size, 2 * claim.held)))
        if _short_to_grow(claim) is None:
            self._grant(claim, claim.wants)
        else:
            await self._wait(self._growing, claim, wait_seconds)
        self.buffers.fit()

    def given_back(self, claim: Claim) -> None:
        """Serves other claims with memory that this one gave back."""
        self._whole.pop(claim, None)
        self._serve()

    def _pools_of(self, who: str) -> tuple[_Pool, ...]:
        if (pools := self._pools.get(who)) is None:
            own = (_Pool(int(self.total * self._share)),) if self._share < 1 else ()
            pools = self._pools[who] = (*own, self._all)
        return pools

    def _grant(self, claim: Claim, held: int) -> None:
        if held == claim.most and not claim.held and not claim.is_small:
            self._whole[claim] = None
            claim.asked = asyncio.get_running_loop().time()
        claim.set(held, claim.most)
        self.peak = max(self.peak, self.used)

    async def _wait(self, queue: dict[Claim, _Turn], claim: Claim, wait_seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        turn = queue[claim] = loop.create_future()
        claim.asked = loop.time()
        self._serve()
        self._look_later()
        is_late = False
        try:
            async with asyncio.timeout(wait_seconds):
                await turn
        except TimeoutError:
            is_late = (
                True  # raised below: with the timeout in its context, the error and the task would hold each other
            )
        except BaseException:
            self._give_up(queue, claim)
            raise
        if is_late:
            short = _short(claim, min(claim.most, STEP_BYTES)) or self._all
            self._give_up(queue, claim)
            raise BusyError(None if short is self._all else _SHARE_IS_HELD)

    def _give_up(self, queue: dict[Claim, _Turn], claim: Claim) -> None:
        queue.pop(claim, None)  # if it is not there, its turn came at the same moment
        if queue is self._growing:
            self._serve()
        else:
            claim.release()

    def _serve(self) -> set[_Pool]:
        """Grants all claims that can be granted. Returns the pools for which claims still wait."""
        shut: set[_Pool] = set()
        if not (self._growing or self._new or self._patient):
            return shut
        for claim in list(self._growing):
            short = _short_to_grow(claim)
            if short is None:
                self._take_turn(self._growing, claim, claim.wants)
            else:
                shut.add(short)
        full: set[_Pool] = set()  # also for small claims
        now = asyncio.get_running_loop().time()
        for claim in list(self._new):
            if self._all in full:
                break
            if not shut.isdisjoint(claim.pools) and not (claim.is_small and full.isdisjoint(claim.pools)):
                continue
            short = _short_in_turn(claim, shut)
            if short is None:
                self._take_turn(self._new, claim, claim.most)
            elif now - claim.asked >= self._grace_seconds and _may_begin(claim):
                self._take_turn(self._new, claim, STEP_BYTES)
            else:
                shut.add(short)
                if claim.is_small:
                    full.add(short)
        for claim in list(self._patient):
            if self._all in shut or _short(claim, claim.most) is not None:
                break
            self._take_turn(self._patient, claim, claim.most)
        return shut

    def _take_turn(self, queue: dict[Claim, _Turn], claim: Claim, held: int) -> None:
        turn = queue.pop(claim)
        if not turn.cancelled():
            self._grant(claim, held)
            turn.set_result(None)

    def _look_later(self) -> None:
        if self._look is None and (self._new or self._growing):
            self._look = asyncio.get_running_loop().call_later(self._look_seconds, self._look_again)

    def _look_again(self) -> None:
        """While claims wait: some may begin with a step by now, and slow ones must give back."""
        self._look = None
        self._take_back(self._serve())
        self._serve()
        self._look_later()

    def _take_back(self, shut: set[_Pool]) -> None:
        """Takes unfilled memory back from slow parts, if the rule would allow them to get it again."""
        before = asyncio.get_running_loop().time() - self._grace_seconds
        for claim in list(self._whole):
            if claim.asked > before:
                break
            is_safe = all(claim.most <= pool.sure for pool in claim.pools)
            if claim.buffer is not None and is_safe and not shut.isdisjoint(claim.pools):
                del self._whole[claim]
                claim.set(claim.buffer.shrink(), claim.most)


def _short(claim: Claim, size: int) -> _Pool | None:
    """The first pool of the claim without `size` free bytes."""
    return next((pool for pool in claim.pools if not pool.has(size)), None)


def _short_in_turn(claim: Claim, shut: Collection[_Pool]) -> _Pool | None:
    """The first pool of the claim that cannot give all of it while others wait for the pools in `shut`."""
    for pool in claim.pools:
        if claim.is_small:
            has = pool.has(claim.most) and (pool not in shut or pool.small + claim.most <= pool.spared)
        else:
            has = pool.has_for_large(claim.most)
        if not has:
            return pool
    return None


def _short_to_grow(claim: Claim) -> _Pool | None:
    """The first pool that forbids growth: all that the claim still needs must be free, whatever it wants now. Then it
    can be completed first, and afterwards the others have more than before.
    """
    for pool in claim.pools:
        if not pool.has_for_large(claim.wants - claim.held) or claim.most - claim.held > pool.sure:
            return pool
    return None


def _may_begin(claim: Claim) -> bool:
    """Whether it may begin with one step, and grow."""
    return not claim.is_small and all(
        pool.has_for_large(STEP_BYTES)
        and claim.most <= pool.sure
        and pool.growing + pool.needed + claim.most <= pool.limit
        for pool in claim.pools
    )


class Share:
    """A quarter of a budget, for work that can wait: it gets memory only if no other claim waits. The accounts for
    which the work is done share it. `PartReader` takes it in place of a budget.
    """

    def __init__(self, budget: Budget) -> None:
        self.buffers = budget.buffers
        self.largest_part = budget.largest_part
        self._budget = budget
        self._own = Fair(budget.total // 4)

    async def claim(self, most: int, *, who: str, wait_seconds: float | None = None) -> Claim:
        """Like `Budget.claim`, but without a time limit. `who` is the account."""
        await self._own.take(who, most)
        return await self._budget.claim_patiently(most, partial(self._own.give, who))
