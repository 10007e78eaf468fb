"""The memory that all uploads together may hold, given out part by part.

A part makes a claim on the most that it may need before its first byte is read. As long as there is enough, it is
given all of that at once. When others have to wait, what a slow part has not filled is taken back, and from then on its
memory grows with what arrives. Growth is given only to a claim whose whole rest is free at that moment, so there is
always one that can be filled and sent: that keeps this free of deadlocks (docs/decisions/0003). No holder has more than
its share of the memory.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial

from file.logic.errors import BusyError
from file.logic.memory.buffers import STEP_BYTES, Room, Rooms, room_bytes

# What is not filled after so long may be taken back, and who has waited so long may begin with a first step.
_GRACE_SECONDS = 1.0
_LOOK_SECONDS = 0.25
# Of what can be given out, growth counts on all but an eighth: small files never wait behind those that grow.
_SPARED = 8

_SHARE_IS_HELD = "The service is busy: other uploads with this token use all the memory that one token may use."

_Turn = asyncio.Future[None]


class _Pool:
    """Memory that is given out up to a limit: that of all, or a holder's share of it.

    Of claims that are granted and not complete: what they hold (`growing`), and what they still need (`needed`).
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
        """And an eighth is left for small claims."""
        return self.has(size) and self.used - self.small + size <= self.limit - self.spared

    @property
    def spared(self) -> int:
        return self.limit // _SPARED

    @property
    def sure(self) -> int:
        """What is free for claims that grow, once all that is complete, and all that is small, has been given back."""
        return self.limit - self.spared - self.growing


class Claim:
    """What one part may need at `most`, and what it has: `held`. `release` it when the part was sent."""

    __slots__ = ("_budget", "_released", "asked", "held", "is_small", "most", "pools", "room", "wants")

    def __init__(
        self, budget: "Budget", most: int, pools: tuple[_Pool, ...], released: Callable[[int], None] | None = None
    ) -> None:
        self.most = most
        self.held = 0
        self.wants = most
        self.pools = pools  # the holder's before that of all
        self.is_small = most <= STEP_BYTES
        self.asked = 0.0  # when, on the loop's clock; once it is granted, when that was
        self.room: Room | None = None  # that is being filled
        self._budget = budget
        self._released = released

    def set(self, held: int, most: int) -> None:
        """Count it in its pools."""
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
        """Hold `size` at least. Raises `BusyError` after `wait_seconds`."""
        if size > self.held:
            await self._budget.grow(self, size, wait_seconds)

    def settle(self, size: int) -> None:
        """The part is complete, and takes `size`: it needs no more. The rest is given back."""
        given, self.room = self.most - size, None
        self.set(size, size)
        if self._released is not None:
            self._released(given)
        self._budget.given_back(self)

    def release(self) -> None:
        self.settle(0)


class Budget:
    """`total` bytes, of which one holder has `share` at most. Not thread-safe: it belongs to one event loop."""

    def __init__(self, total: int, *, share: float = 1.0, grace_seconds: float = _GRACE_SECONDS) -> None:
        self.total = total
        self.peak = 0
        self.rooms = Rooms(lambda: self.total - self.used)  # what nobody has reserved may be kept for a while
        self._all = _Pool(total)
        self._share = share
        self._pools: dict[str, tuple[_Pool, ...]] = {}
        self._grace_seconds = grace_seconds
        self._look_seconds = min(grace_seconds, _LOOK_SECONDS)
        self._growing: dict[Claim, _Turn] = {}
        self._new: dict[Claim, _Turn] = {}
        self._patient: dict[Claim, _Turn] = {}
        self._whole: dict[Claim, None] = {}  # given all at once, and being filled; the oldest first
        self._look: asyncio.TimerHandle | None = None

    @property
    def used(self) -> int:
        return self._all.used

    @property
    def largest_part(self) -> int:
        """A part above a quarter of the budget would let a handful of uploads stop all others."""
        return self.total // 4

    async def claim(self, most: int, *, who: str = "", wait_seconds: float | None = None) -> Claim:
        """For a part of `most` bytes, after those who asked before. `who` holds it.

        It is given whole, or, after a while in which memory is short, a first step of it. Raises `BusyError` after
        `wait_seconds`.
        """
        claim = Claim(self, most, self._pools_of(who))
        if not self._new and not self._growing and _short(claim, most) is None:
            self._grant(claim, most)
        else:
            await self._wait(self._new, claim, wait_seconds)
        return claim

    async def claim_patiently(self, most: int, released: Callable[[int], None]) -> Claim:
        """After everybody else. `released` is told what is given back, all of it if it gives up before its turn."""
        claim = Claim(self, most, (self._all,), released)
        await self._wait(self._patient, claim, None)
        return claim

    async def grow(self, claim: Claim, size: int, wait_seconds: float | None) -> None:
        """It is doubled at least, so that a part grows a few times only."""
        claim.wants = min(claim.most, room_bytes(max(size, 2 * claim.held)))
        if _short_to_grow(claim) is None:
            self._grant(claim, claim.wants)
        else:
            await self._wait(self._growing, claim, wait_seconds)
        self.rooms.fit()

    def given_back(self, claim: Claim) -> None:
        """It needs no more: others may have what it gave back."""
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
            is_late = True  # raised below: with the timeout in its context, the error would hold the task, and it this
        except BaseException:
            self._give_up(queue, claim)
            raise
        if is_late:
            short = _short(claim, min(claim.most, STEP_BYTES)) or self._all
            self._give_up(queue, claim)
            raise BusyError(None if short is self._all else _SHARE_IS_HELD)

    def _give_up(self, queue: dict[Claim, _Turn], claim: Claim) -> None:
        queue.pop(claim, None)  # if it is not there, its turn came in the same moment
        if queue is self._growing:
            self._serve()
        else:
            claim.release()

    def _serve(self) -> set[_Pool]:
        """Grant what can be. Returns the pools that somebody waits for."""
        shut: set[_Pool] = set()
        if not (self._growing or self._new or self._patient):
            return shut
        for claim in list(self._growing):
            short = _short_to_grow(claim)
            if short is None:
                self._take_turn(self._growing, claim, claim.wants)
            else:
                shut.add(short)
        full: set[_Pool] = set()  # for small ones, too
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
        """Somebody waits: time passes for those who may begin with a step, and for those who are slow."""
        self._look = None
        self._take_back(self._serve())
        self._serve()
        self._look_later()

    def _take_back(self, shut: set[_Pool]) -> None:
        """What slow parts were given and have not filled, as far as they can still be given it later."""
        before = asyncio.get_running_loop().time() - self._grace_seconds
        for claim in list(self._whole):
            if claim.asked > before:
                break
            is_safe = all(claim.most <= pool.sure for pool in claim.pools)
            if claim.room is not None and is_safe and not shut.isdisjoint(claim.pools):
                del self._whole[claim]
                claim.set(claim.room.shrink(), claim.most)


def _short(claim: Claim, size: int) -> _Pool | None:
    """The first of its pools that has not so much for it."""
    for pool in claim.pools:
        if not pool.has(size):
            return pool
    return None


def _short_in_turn(claim: Claim, shut: Collection[_Pool]) -> _Pool | None:
    """The first of its pools that has not all of it while others wait, for those in `shut`."""
    for pool in claim.pools:
        if claim.is_small:
            has = pool.has(claim.most) and (pool not in shut or pool.small + claim.most <= pool.spared)
        else:
            has = pool.has_for_large(claim.most)
        if not has:
            return pool
    return None


def _short_to_grow(claim: Claim) -> _Pool | None:
    """What it needs until it is complete has to be free, whatever it wants now: then it can be filled first of all, and
    afterwards there is more than before for the others.
    """
    for pool in claim.pools:
        if not pool.has_for_large(claim.wants - claim.held) or claim.most - claim.held > pool.sure:
            return pool
    return None


def _may_begin(claim: Claim) -> bool:
    """With one step, and grow."""
    return not claim.is_small and all(
        pool.has_for_large(STEP_BYTES)
        and claim.most <= pool.sure
        and pool.growing + pool.needed + claim.most <= pool.limit
        for pool in claim.pools
    )


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

    async def claim(self, most: int, *, who: str = "", wait_seconds: float | None = None) -> Claim:
        """As `Budget.claim`, but that it waits for as long as it takes."""
        await self._share.take(self._account, most)
        return await self._budget.claim_patiently(most, partial(self._share.give, self._account))
