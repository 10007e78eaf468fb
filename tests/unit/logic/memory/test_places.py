"""Places: one name holds a share, who waits is served in order, and nothing is lost when a wait ends early."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from file.logic.errors import BusyError
from file.logic.memory.places import Places

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


async def test_who_waits_is_served_in_order_and_the_name_that_holds_least_first() -> None:
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


async def test_places_that_are_free_go_on_to_others_when_a_name_may_have_no_more() -> None:
    places = Places(4, share=0.5)
    async with (
        places.place("a", wait_seconds=0),
        places.place("a", wait_seconds=0),
        asyncio.TaskGroup() as waiting,
    ):
        refused = waiting.create_task(places._take("a", LONG))
        await asyncio.sleep(0)
        async with places.place("b", wait_seconds=0):
            assert not refused.done()
        refused.cancel()
    assert not places.held


@pytest.mark.parametrize("turns", [0, 1])
async def test_nothing_is_lost_when_who_waits_is_cancelled(turns: int) -> None:
    places = Places(1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(places.place("a", wait_seconds=0))
        waiting = asyncio.ensure_future(places._take("a", LONG))
        await asyncio.sleep(0)
        if turns:
            await stack.aclose()  # its turn comes together with the cancellation
        waiting.cancel()
        await asyncio.wait((waiting,))
        assert waiting.cancelled()
    assert not places.held
    async with places.place("b", wait_seconds=0):
        assert places.held == {"b": 1}
