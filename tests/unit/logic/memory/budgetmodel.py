"""Plays claims in any order, and checks that the budget is never exceeded and that all claims can end."""

import asyncio
from collections.abc import Sequence

from file.logic.memory.budget import Budget, Claim
from file.logic.memory.buffers import STEP_BYTES as STEP
from file.logic.memory.buffers import Buffer

# An eighth of what grows is kept for small claims.
MANY = 64 * STEP
LARGEST = MANY // 4
HOLDERS = ("a", "b", "c")
SIZES = (0, 1, STEP, LARGEST // 2 + 1, LARGEST, LARGEST, LARGEST)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def is_safe(claims: Sequence[tuple[str, Claim]], share: float) -> bool:
    """Whether the claims can be completed in some order, each with what is free and what the earlier ones release.

    An eighth of all memory, and of each holder's share, is not counted.
    """
    growing = [(who, claim) for who, claim in claims if 0 < claim.held < claim.most]
    limits = {"": MANY, **dict.fromkeys(HOLDERS, int(MANY * share))}
    free = {name: limit - limit // 8 for name, limit in limits.items()}
    for who, claim in growing:
        for name in ("", who):
            free[name] -= claim.held
    growing.sort(key=lambda each: each[1].most - each[1].held)
    while growing:
        for each in growing:
            who, claim = each
            if all(claim.most - claim.held <= free[name] for name in ("", who)):
                for name in ("", who):
                    free[name] += claim.held
                growing.remove(each)
                break
        else:
            return False
    return True


class Model:
    """Each method is a step; `check` and `end` test the promises."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.budget = Budget(MANY, share=share, grace_seconds=0.0)
        self.held: list[tuple[str, Claim]] = []
        self.claiming: list[asyncio.Task[None]] = []
        self.growing: dict[Claim, asyncio.Task[None]] = {}

    def claim(self, number: int) -> None:
        who, most = HOLDERS[number % 3], SIZES[number % len(SIZES)]

        async def claims() -> None:
            claim = await self.budget.claim(most, who=who)
            claim.buffer = Buffer(most, self.budget.buffers, grows=claim.held < claim.most)
            self.held.append((who, claim))

        self.claiming.append(asyncio.ensure_future(claims()))

    def grow(self, number: int) -> None:
        if found := self._one(number):
            claim = found[1]
            if claim.buffer is not None and claim not in self.growing and claim.held < claim.most:
                self.growing[claim] = task = asyncio.ensure_future(claim.grow(claim.held + 1))
                task.add_done_callback(lambda _: self.growing.pop(claim))

    def fill(self, number: int) -> None:
        """What a claim holds may be filled, up to a few steps."""
        if (found := self._one(number)) and (buffer := found[1].buffer) is not None:
            buffer.take(bytes(min(found[1].held, 3 * STEP) - buffer.filled))

    def settle(self, number: int) -> None:
        if (found := self._one(number)) and found[1] not in self.growing and (buffer := found[1].buffer) is not None:
            found[1].settle(buffer.taken)

    def release(self, number: int) -> None:
        if (found := self._one(number)) and found[1] not in self.growing:
            self.held.remove(found)
            found[1].release()

    def give_up(self, number: int) -> None:
        """Cancel a claim that waits, or the growth of a part."""
        if waiting := [*(task for task in self.claiming if not task.done()), *self.growing.values()]:
            waiting[number % len(waiting)].cancel()

    def _one(self, number: int) -> tuple[str, Claim] | None:
        return self.held[number % len(self.held)] if self.held else None

    async def check(self) -> None:
        await settled()
        held = sum(claim.held for _, claim in self.held)
        assert self.budget.used == held
        assert self.budget.used <= self.budget.peak <= MANY
        for who in HOLDERS:
            assert sum(claim.held for name, claim in self.held if name == who) <= MANY * self.share
        assert is_safe(self.held, self.share)

    async def end(self) -> None:
        """Fill and send every part, growing ones when it is their turn."""
        async with asyncio.timeout(30):
            while self.held or not all(task.done() for task in self.claiming):
                for number, (_, claim) in enumerate(self.held):
                    if claim.held == claim.most and claim not in self.growing:
                        self.release(number)
                        break
                    self.grow(number)
                await asyncio.sleep(0)
                assert self.budget.used <= MANY
        assert self.budget.used == 0
