"""The budget: never exceeded, first come first served, and nobody is forgotten, whoever gives up in between."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from file.logic.budget import Budget
from file.logic.errors import BusyError

TOTAL = 100


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Model:
    """Plays any order of reservations, gifts back and cancellations, and watches the promises."""

    def __init__(self) -> None:
        self.budget = Budget(TOTAL)
        self.sizes: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.served: list[int] = []
        self.given_up: set[int] = set()
        self.given_back: set[int] = set()

    def reserve(self, size: int) -> None:
        number = len(self.tasks)
        self.sizes.append(size)

        async def waits() -> None:
            await self.budget.reserve(size)
            self.served.append(number)

        self.tasks.append(asyncio.ensure_future(waits()))

    def held(self) -> list[int]:
        return [number for number in self.served if number not in self.given_back]

    def waiting(self) -> list[int]:
        return [number for number, task in enumerate(self.tasks) if not task.done() and number not in self.given_up]

    def release(self, choice: int) -> None:
        if held := self.held():
            number = held[choice % len(held)]
            self.given_back.add(number)
            self.budget.release(self.sizes[number])

    def give_up(self, choice: int) -> None:
        if waiting := self.waiting():
            number = waiting[choice % len(waiting)]
            self.given_up.add(number)
            self.tasks[number].cancel()

    async def check(self) -> None:
        await settled()
        assert self.budget.used == sum(self.sizes[number] for number in self.held())
        assert self.budget.used <= self.budget.peak <= TOTAL
        if waiting := self.waiting():
            assert all(number < waiting[0] for number in self.served), "somebody was served out of turn"
            assert self.budget.used + self.sizes[waiting[0]] > TOTAL, "the first in the queue was forgotten"

    async def end(self) -> None:
        while self.held():
            self.release(0)
            await self.check()
        assert not self.waiting()
        assert self.budget.used == 0
        for number, task in enumerate(self.tasks):
            assert task.done()
            assert task.cancelled() or number in self.served  # no other error than the cancellation


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, TOTAL)),
        st.tuples(st.just("release"), st.integers(0, 1000)),
        st.tuples(st.just("give_up"), st.integers(0, 1000)),
        st.tuples(st.just("settle"), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_the_budget_keeps_its_promises_when_reservations_come_and_go_in_any_order(steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        model = Model()
        for step, number in steps:
            if step == "settle":
                await model.check()
            else:
                getattr(model, step)(number)
        await model.check()
        await model.end()

    asyncio.run(play())


async def test_the_cancellation_arrives_when_memory_comes_free_in_the_same_moment() -> None:
    budget = Budget(TOTAL)
    await budget.reserve(TOTAL)
    first, second = (asyncio.ensure_future(budget.reserve(TOTAL)) for _ in range(2))
    await settled()
    first.cancel()
    budget.release(TOTAL)
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 1)
    assert budget.used == TOTAL


async def test_the_turn_is_passed_on_when_it_comes_together_with_the_cancellation() -> None:
    budget = Budget(TOTAL)
    await budget.reserve(TOTAL)
    first, second = (asyncio.ensure_future(budget.reserve(TOTAL)) for _ in range(2))
    await settled()
    budget.release(TOTAL)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 1)
    assert budget.used == TOTAL


@pytest.mark.parametrize("wait_seconds", [0, 0.02])
async def test_it_is_busy_when_no_memory_comes_free_in_time(wait_seconds: float) -> None:
    budget = Budget(TOTAL)
    await budget.reserve(60)
    large = asyncio.ensure_future(budget.reserve(50, wait_seconds=wait_seconds))
    small = asyncio.ensure_future(budget.reserve(40))
    await asyncio.sleep(0)
    assert not small.done()  # behind the large one, though there is room for it
    with pytest.raises(BusyError):
        await large
    await asyncio.wait_for(small, 1)  # the one that stood in the way is gone
    assert budget.used == budget.peak == TOTAL


async def test_the_memory_is_given_at_once_when_there_is_enough_and_nobody_waits() -> None:
    budget = Budget(TOTAL)
    for size in (0, 30, 70, 0):
        await budget.reserve(size, wait_seconds=0)
    assert budget.used == TOTAL
    assert budget.largest_part == TOTAL // 4


async def test_each_gets_its_turn_in_order_when_many_wait() -> None:
    budget = Budget(TOTAL)
    order: list[int] = []

    def upload(number: int) -> Callable[[], Awaitable[None]]:
        async def runs() -> None:
            await budget.reserve(25 + number % 70)
            order.append(number)
            await asyncio.sleep(0)
            budget.release(25 + number % 70)

        return runs

    await asyncio.wait_for(asyncio.gather(*(upload(number)() for number in range(200))), 5)
    assert order == list(range(200))
    assert budget.used == 0
    assert budget.peak <= TOTAL
