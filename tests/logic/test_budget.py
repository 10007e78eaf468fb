"""The budget: never exceeded, first come first served, and nobody is forgotten, whoever gives up in between."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from file.logic.budget import Budget, Fair, Share
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


class Wanting:
    """Takes of something fair, and notes who was served, in order."""

    def __init__(self, total: int = 4) -> None:
        self.fair = Fair(total)
        self.served: list[str] = []

    async def take(self, account: str, size: int = 1) -> asyncio.Task[None]:
        async def waits() -> None:
            await self.fair.take(account, size)
            self.served.append(account)

        task = asyncio.ensure_future(waits())
        await settled()
        return task

    async def give(self, account: str, size: int = 1) -> None:
        self.fair.give(account, size)
        await settled()


async def test_one_account_has_everything_while_nobody_else_wants_any_and_then_no_more_than_others() -> None:
    wanting = Wanting()
    for _ in range(6):
        await wanting.take("slow")
    for _ in range(3):
        await wanting.take("other")
    assert wanting.served == ["slow"] * 4
    assert not wanting.fair.has_more
    assert wanting.fair.waiting == {"slow", "other"}
    for _ in range(2):
        await wanting.give("slow")
    assert wanting.fair.held == {"slow": 2, "other": 2}
    await wanting.give("slow")
    await wanting.give("other")
    assert wanting.served[4:] == ["other", "other", "slow", "other"]


async def test_who_asked_first_is_served_first_when_two_hold_as_much() -> None:
    wanting = Wanting(1)
    for account in ("X", "B", "A", "B"):
        await wanting.take(account)
    for account in ("X", "B", "A"):
        await wanting.give(account)
    assert wanting.served == ["X", "B", "A", "B"]


async def test_a_large_piece_is_not_starved_by_small_ones() -> None:
    wanting = Wanting()
    await wanting.take("small")
    await wanting.take("large", 4)
    await wanting.take("small")
    assert wanting.served == ["small"]
    await wanting.give("small")
    assert wanting.served == ["small", "large"]
    await wanting.give("large", 4)
    assert wanting.served == ["small", "large", "small"]


async def test_others_are_served_when_who_waits_gives_up_before_or_as_its_turn_comes() -> None:
    wanting = Wanting(1)
    await wanting.take("X")
    early, late = await wanting.take("A"), await wanting.take("B")
    await wanting.take("C")
    early.cancel()
    await settled()
    wanting.fair.give("X")  # B's turn has come, and B does not know yet
    late.cancel()
    await settled()
    assert wanting.served == ["X", "C"]
    assert +wanting.fair.held == {"C": 1}


async def test_the_next_is_served_when_who_waits_is_cancelled_in_the_moment_of_its_turn() -> None:
    wanting = Wanting(1)
    await wanting.take("X")
    gone = await wanting.take("A")
    await wanting.take("B")
    gone.cancel()
    wanting.fair.give("X")  # A does not know yet that it is gone
    await settled()
    assert wanting.served == ["X", "B"]
    assert +wanting.fair.held == {"B": 1}


async def test_a_portion_is_a_share_of_what_nobody_else_waits_for() -> None:
    budget = Budget(TOTAL)
    share = Share(budget)
    slow, other = share.of("B"), share.of("C")
    assert slow.largest_part == TOTAL // 4
    await slow.reserve(20)
    waits = [asyncio.ensure_future(portion.reserve(10)) for portion in (slow, other)]
    await settled()
    assert not any(wait.done() for wait in waits)
    slow.release(20)
    await settled()
    assert budget.used == 20
    assert all(wait.done() for wait in waits)
    await budget.reserve(80)
    last = asyncio.ensure_future(other.reserve(1))
    await settled()
    last.cancel()
    await settled()
    slow.release(10)
    other.release(10)
    assert budget.used == 80
