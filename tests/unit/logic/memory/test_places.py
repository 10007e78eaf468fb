"""Places: one name holds a share, waiters are served in order, and no place is lost when a wait is cancelled."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from file.logic.errors import BusyError
from file.logic.memory.places import Fair, Places
from tests.unit.logic.memory.budgetmodel import settled

LONG = 60.0


async def test_one_name_holds_its_share_when_it_wants_more() -> None:
    places = Places(4, share=0.5)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(places.place("a", wait_seconds=0))
        with pytest.raises(BusyError):
            await stack.enter_async_context(places.place("a", wait_seconds=0.01))
        await stack.enter_async_context(places.place("b", wait_seconds=0))
        assert places.held == {"a": 2, "b": 1}
    assert not places.held


async def test_a_name_has_one_place_when_its_share_is_less_than_one() -> None:
    places = Places(1, share=0.5)
    async with places.place("a", wait_seconds=0):
        with pytest.raises(BusyError):
            async with places.place("b", wait_seconds=0.01):
                pytest.fail("There is only one.")


async def test_waiters_are_served_in_order_and_the_name_that_holds_least_first() -> None:
    places, served = Places(3), list[str]()

    async def wait(name: str, label: str) -> None:
        async with places.place(name, wait_seconds=LONG):
            served.append(label)

    async with AsyncExitStack() as stack:
        for name in ("a", "a", "b"):
            await stack.enter_async_context(places.place(name, wait_seconds=0))
        async with asyncio.TaskGroup() as waiting:
            for name, label in (("a", "a1"), ("a", "a2"), ("c", "c1")):
                waiting.create_task(wait(name, label))
            await asyncio.sleep(0)  # each of them asks
            assert not served
            await stack.aclose()
    assert served == ["c1", "a1", "a2"]


async def test_free_places_go_to_others_when_a_name_has_its_share() -> None:
    places = Places(4, share=0.5)
    async with places.place("a", wait_seconds=0), places.place("a", wait_seconds=0), asyncio.TaskGroup() as waiting:
        refused = waiting.create_task(places.take("a"))
        await asyncio.sleep(0)
        async with places.place("b", wait_seconds=0):
            assert not refused.done()
        refused.cancel()
    assert not places.held


@pytest.mark.parametrize("turns", [0, 1])
async def test_no_place_is_lost_when_a_waiter_is_cancelled(turns: int) -> None:
    places = Places(1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(places.place("a", wait_seconds=0))
        waiting = asyncio.ensure_future(places.take("a"))
        await asyncio.sleep(0)
        if turns:
            await stack.aclose()  # its turn comes together with the cancellation
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert waiting.cancelled()
    assert not places.held
    async with places.place("b", wait_seconds=0):
        assert places.held == {"b": 1}


class Wanting:
    """Takes from a `Fair`; `served` are the accounts in their order."""

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


async def test_one_account_has_everything_until_another_wants_its_half() -> None:
    wanting = Wanting()
    for _ in range(6):
        await wanting.take("slow")
    for _ in range(3):
        await wanting.take("other")
    assert wanting.served == ["slow"] * 4
    assert not wanting.fair.take_at_once("other")
    assert wanting.fair.waiting == {"slow", "other"}
    for _ in range(2):
        await wanting.give("slow")
    assert wanting.fair.held == {"slow": 2, "other": 2}
    await wanting.give("slow")
    await wanting.give("other")
    assert wanting.served[4:] == ["other", "other", "slow", "other"]


async def test_the_first_waiter_is_served_first_when_two_hold_the_same() -> None:
    wanting = Wanting(1)
    for account in ("X", "B", "A", "B"):
        await wanting.take(account)
    for account in ("X", "B", "A"):
        await wanting.give(account)
    assert wanting.served == ["X", "B", "A", "B"]


async def test_a_large_piece_is_served_before_later_small_ones() -> None:
    wanting = Wanting()
    await wanting.take("small")
    await wanting.take("large", 4)
    await wanting.take("small")
    assert wanting.served == ["small"]
    await wanting.give("small")
    assert wanting.served == ["small", "large"]
    await wanting.give("large", 4)
    assert wanting.served == ["small", "large", "small"]


async def test_others_are_served_when_a_waiter_is_cancelled_before_or_after_its_turn_came() -> None:
    wanting = Wanting(1)
    await wanting.take("X")
    early, late = await wanting.take("A"), await wanting.take("B")
    await wanting.take("C")
    early.cancel()
    await settled()
    wanting.fair.give("X")  # it is B's turn, but the task of B has not run yet
    late.cancel()
    await settled()
    assert wanting.served == ["X", "C"]
    assert +wanting.fair.held == {"C": 1}


async def test_the_next_is_served_when_a_waiter_is_cancelled_just_before_its_turn() -> None:
    wanting = Wanting(1)
    await wanting.take("X")
    cancelled = await wanting.take("A")
    await wanting.take("B")
    cancelled.cancel()
    wanting.fair.give("X")  # the task of A has not run yet
    await settled()
    assert wanting.served == ["X", "B"]
    assert +wanting.fair.held == {"B": 1}
