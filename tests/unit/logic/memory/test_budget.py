"""The budget of memory: never exceeded, never stuck, first come first served, also when a claim is cancelled."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from file.logic.errors import BusyError
from file.logic.memory.budget import Budget, Claim, Share
from file.logic.memory.buffers import STEP_BYTES as STEP
from file.logic.memory.buffers import Buffer
from file.logic.parts import PartReader
from file.logic.values import Identity, IncomingFile, KiB, Limits
from tests.unit.logic.memory.budgetmodel import HOLDERS, LARGEST, MANY, Model, settled

TOTAL = 100

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["claim", "claim", "claim", "grow", "grow", "fill", "settle", "release", "give_up", "check", "claim"]
        ),
        st.integers(0, 1 << 30),
    ),
    min_size=30,
    max_size=120,
)


@pytest.mark.parametrize("share", [1.0, 0.5])
@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_claims_end_and_never_exceed_the_memory_in_any_order_of_claims_growth_and_releases(
    share: float, steps: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        model = Model(share)
        for step, number in steps:
            if step == "check":
                await model.check()
            else:
                getattr(model, step)(number)
                await asyncio.sleep(0)
        await model.check()
        await model.end()

    asyncio.run(play())


class Uploads:
    """Real readers of many parts; a schedule says when chunks arrive and when parts are sent."""

    def __init__(self, budget: Budget, sizes: Sequence[int]) -> None:
        self.budget = budget
        self.limits = Limits(memory=budget.total, part_size=budget.largest_part, wait_seconds=60.0)
        self.arrivals = [asyncio.Semaphore(0) for _ in sizes]
        self.sending: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self.tasks = [asyncio.ensure_future(self._upload(number, size)) for number, size in enumerate(sizes)]

    async def _upload(self, number: int, size: int) -> None:
        async def arriving() -> AsyncIterator[bytes]:
            for start in range(0, size, 100 * KiB):
                await self.arrivals[number].acquire()
                yield bytes(min(100 * KiB, size - start))

        who = HOLDERS[number % 3]
        file = IncomingFile(id="id", chunks=arriving(), identify=lambda: Identity("k", "k"), size=size, who=who)
        reader = PartReader(file, self.limits, self.budget)
        while (part := await reader.next()) is not None:
            self.sending.put_nowait(part.release)
        reader.digests()

    def play(self, step: int) -> None:
        """A chunk arrives, or the oldest part is sent."""
        if step % 4 == 0 and not self.sending.empty():
            self.sending.get_nowait()()
        self.arrivals[step % len(self.arrivals)].release()

    async def end(self) -> None:
        for arrival in self.arrivals:
            for _ in range(100):
                arrival.release()
        async with asyncio.timeout(30):
            while not (all(task.done() for task in self.tasks) and self.sending.empty()):
                while not self.sending.empty():
                    self.sending.get_nowait()()
                await asyncio.sleep(0)
        await asyncio.gather(*self.tasks)


@pytest.mark.parametrize("share", [1.0, 0.5])
@given(
    st.lists(st.sampled_from([1, STEP, 5 * STEP, 8 * STEP, 12 * STEP]), min_size=4, max_size=9),
    st.lists(st.integers(0, 1000), max_size=200),
)
@settings(max_examples=15, deadline=None)
def test_every_upload_is_read_to_its_end_in_any_order_of_chunks_and_parts(
    share: float, sizes: list[int], schedule: list[int]
) -> None:
    async def play() -> None:
        budget = Budget(32 * STEP, share=share, grace_seconds=0.0)
        uploads = Uploads(budget, sizes)
        for step in schedule:
            uploads.play(step)
            await asyncio.sleep(0)
        await uploads.end()
        assert budget.used == 0
        assert budget.peak <= budget.total

    asyncio.run(play())


@pytest.mark.parametrize("order", ["cancel, release", "release, cancel"])
async def test_the_next_claim_has_its_turn_when_the_first_is_cancelled_as_memory_becomes_free(order: str) -> None:
    budget = Budget(TOTAL)
    held = await budget.claim(TOTAL)
    first, second = (asyncio.ensure_future(budget.claim(TOTAL)) for _ in range(2))
    await settled()
    steps: dict[str, Callable[[], object]] = {"cancel": first.cancel, "release": held.release}
    for step in order.split(", "):
        steps[step]()
    await asyncio.wait_for(second, 10)
    assert first.cancelled()
    assert budget.used == TOTAL


@pytest.mark.parametrize("wait_seconds", [0, 0.02])
async def test_a_claim_is_refused_when_no_memory_becomes_free_in_time(wait_seconds: float) -> None:
    budget = Budget(TOTAL)
    await budget.claim(60)
    large = asyncio.ensure_future(budget.claim(50, wait_seconds=wait_seconds))
    small = asyncio.ensure_future(budget.claim(40))
    await asyncio.sleep(0)
    assert not small.done()  # it is behind the large one, although it has room
    with pytest.raises(BusyError) as refused:
        await large
    assert refused.value.__context__ is None  # it would keep the waiting task, which keeps this error
    assert "token" not in refused.value.detail
    await asyncio.wait_for(small, 10)
    assert budget.used == budget.peak == TOTAL


async def test_the_memory_is_given_at_once_when_there_is_enough_and_no_claim_waits() -> None:
    budget = Budget(TOTAL)
    for size in (0, 30, 70, 0):
        assert (await budget.claim(size, wait_seconds=0)).held == size
    assert budget.used == TOTAL
    assert budget.largest_part == TOTAL // 4


async def test_claims_get_their_turn_in_order_when_many_wait() -> None:
    budget = Budget(TOTAL)
    order: list[int] = []

    async def upload(number: int) -> None:
        claim = await budget.claim(25 + number % 70)
        order.append(number)
        await asyncio.sleep(0)
        claim.release()

    await asyncio.wait_for(asyncio.gather(*(upload(number) for number in range(200))), 5)
    assert order == list(range(200))
    assert budget.used == 0
    assert budget.peak <= TOTAL


async def test_one_holder_has_its_share_at_most_and_others_continue_when_it_wants_more() -> None:
    budget = Budget(TOTAL, share=0.5)
    held = await budget.claim(50, who="a")
    waiting = asyncio.ensure_future(budget.claim(1, who="a"))
    with pytest.raises(BusyError) as refused:
        await budget.claim(2, who="a", wait_seconds=0)
    assert "this token" in refused.value.detail
    assert (await budget.claim(30, who="b", wait_seconds=0)).held == 30
    patient = await asyncio.wait_for(Share(budget).claim(20, who="A"), 10)
    assert not waiting.done()
    assert patient.held == 20
    held.release()
    await asyncio.wait_for(waiting, 10)


def slow(budget: Budget, claim: Claim, filled: int) -> Buffer:
    """The buffer of a part whose client has sent only these bytes."""
    claim.buffer = buffer = Buffer(claim.most, budget.buffers, grows=claim.held < claim.most)
    for _ in range(0, filled, STEP):
        buffer.take(bytes(STEP))
    return buffer


async def slow_claims(budget: Budget, count: int, filled: int) -> list[Claim]:
    claims = [await budget.claim(LARGEST) for _ in range(count)]
    for claim in claims:
        slow(budget, claim, filled)
    return claims


async def test_slow_parts_give_their_empty_memory_to_others_when_memory_is_short() -> None:
    budget = Budget(MANY, grace_seconds=0.0)
    claims = await slow_claims(budget, 4, 2 * STEP)
    assert budget.used == MANY
    further = [await asyncio.wait_for(budget.claim(STEP), 10) for _ in range(8)]
    assert [claim.held for claim in further] == [STEP] * 8
    assert claims[0].held == 2 * STEP  # the oldest first
    await asyncio.wait_for(budget.claim(LARGEST), 10)
    assert budget.used <= MANY


async def test_parts_keep_their_memory_when_they_are_not_slow_yet() -> None:
    budget = Budget(MANY, grace_seconds=60.0)
    claims = await slow_claims(budget, 4, 2 * STEP)
    with pytest.raises(BusyError):
        await budget.claim(STEP, wait_seconds=0.3)
    assert [claim.held for claim in claims] == [LARGEST] * 4


async def test_small_claims_are_granted_when_large_ones_wait_to_grow() -> None:
    budget = Budget(MANY, grace_seconds=0.0)
    claims = await slow_claims(budget, 3, STEP)
    others = [asyncio.ensure_future(budget.claim(LARGEST)) for _ in range(8)]
    await asyncio.sleep(0.05)
    growing = [asyncio.ensure_future(grown(claim)) for claim in claims]
    growing += [asyncio.ensure_future(grown(other.result())) for other in others if other.done()]
    await asyncio.sleep(0.05)
    assert not all(task.done() for task in growing)  # memory is short
    for _ in range(100):
        small = await asyncio.wait_for(budget.claim(STEP), 10)
        small.release()
    for task in (*others, *growing):
        task.cancel()
    await asyncio.gather(*others, *growing, return_exceptions=True)


async def grown(claim: Claim) -> int:
    """How often it grew until it was whole."""
    times = 0
    while claim.held < claim.most:
        await claim.grow(claim.held + 1)
        times += 1
    return times


async def test_a_part_grows_a_few_times_only() -> None:
    budget = Budget(1024 * STEP, grace_seconds=0.0)
    claim = await budget.claim(32 * STEP)
    buffer = slow(budget, claim, STEP)
    claim.set(buffer.shrink(), claim.most)
    assert claim.held == STEP
    assert await grown(claim) == 5


async def test_a_large_claim_is_granted_when_small_ones_come_all_the_time() -> None:
    budget = Budget(MANY, grace_seconds=60.0)
    smalls = [await budget.claim(STEP) for _ in range(MANY // STEP)]
    large = asyncio.ensure_future(budget.claim(LARGEST))
    for _ in range(4 * MANY // STEP):
        await settled()
        if large.done() or not smalls:
            break
        if (small := await replaced(budget, smalls.pop(0))) is not None:
            smalls.append(small)
    assert large.done()


async def replaced(budget: Budget, claim: Claim) -> Claim | None:
    """The next claim; None if it would have to wait for the large one."""
    claim.release()
    try:
        return await budget.claim(STEP, wait_seconds=0)
    except BusyError:
        return None


async def test_a_share_has_its_portion_of_the_memory_only() -> None:
    budget = Budget(TOTAL)
    share = Share(budget)
    slow, other = partial(share.claim, who="B"), partial(share.claim, who="C")
    assert share.largest_part == TOTAL // 4
    held = await slow(20)
    waits = [asyncio.ensure_future(claim(10)) for claim in (slow, other)]
    await settled()
    assert not any(wait.done() for wait in waits)
    held.release()
    await settled()
    assert budget.used == 20
    assert all(wait.done() for wait in waits)
    await budget.claim(80)
    last = asyncio.ensure_future(other(1))
    await settled()
    last.cancel()
    await settled()
    for wait in waits:
        wait.result().settle(5)
        wait.result().release()
    assert budget.used == 80
    assert (await asyncio.wait_for(slow(20), 10)).held == 20  # all of the share is there again
