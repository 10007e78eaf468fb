"""Lanes that go on after the answer have a share of the memory, however many are admitted at the same moment."""

import asyncio
import dataclasses

import pytest

from file.logic.errors import LedgerUnavailableError
from file.logic.fanout.stragglers import Stragglers
from file.logic.memory.budget import Budget
from file.logic.values import KiB, MiB, Pending, Receipt
from testkit.memoryledger import MemoryLedger
from tests.flow import PART, PATIENT, buckets, send

UPLOADS = 5
HELD = 2  # so many lanes of 64 KiB, the least that one counts for, are an eighth of the memory
LIMITS = dataclasses.replace(PATIENT, memory=MiB, grace_seconds=0.05, stall_seconds=30.0)


class ForgettingLedger(MemoryLedger):
    """Of one file: it is erased when it was just acknowledged; or nobody can ask any more."""

    def __init__(self, *, is_gone: bool) -> None:
        super().__init__()
        self._is_gone = is_gone

    async def conclude(self, receipt: Receipt) -> bool:
        held = await super().conclude(receipt)
        self.lost.add(receipt.id)
        return held

    async def may_publish(self, file_id: str, account: str) -> bool:
        may = await super().may_publish(file_id, account)
        if self._is_gone:
            raise LedgerUnavailableError
        return may


class SlowLedger(MemoryLedger):
    """Writes no receipt before all of them have come."""

    def __init__(self) -> None:
        super().__init__()
        self._coming = 0
        self._all = asyncio.Event()

    async def conclude(self, receipt: Receipt) -> bool:
        self._coming += 1
        if self._coming == UPLOADS:
            self._all.set()
        await asyncio.wait_for(self._all.wait(), 10)
        return await super().conclude(receipt)


async def test_no_more_go_on_than_there_is_room_for_when_many_are_admitted_at_once() -> None:
    among, ledger = buckets(stalls_at_put=UPLOADS), SlowLedger()
    stragglers, budget = Stragglers(ledger, LIMITS), Budget(LIMITS.memory)
    receipts = await asyncio.gather(
        *(
            send(
                among,
                b"x" * KiB,
                key=f"k{number}",
                ack="any",
                ledger=ledger,
                limits=LIMITS,
                stragglers=stragglers,
                budget=budget,
            )
            for number in range(UPLOADS)
        )
    )
    codes = [o.code for receipt in receipts for o in receipt.outcomes if isinstance(o, Pending)]
    assert sorted(codes, key=str) == [None] * HELD + ["let_go"] * (UPLOADS - HELD)
    among[1].released.set()
    await stragglers.drain(5)
    assert sum(1 for key in among[1].objects if key.startswith("k")) == HELD
    assert budget.used == 0
    again = await send(
        among, b"x", key="again", ack="any", ledger=MemoryLedger(), limits=LIMITS, stragglers=stragglers, budget=budget
    )
    assert again.stored  # its share is free again


async def test_the_next_upload_does_not_wait_when_an_account_is_known_to_be_behind() -> None:
    among, ledger = buckets(stalls_at_put=UPLOADS), MemoryLedger()
    stragglers, budget, loop = Stragglers(ledger, LIMITS), Budget(LIMITS.memory), asyncio.get_running_loop()
    began = loop.time()
    # The grace of the second one is longer than anybody waits here.
    for key, grace_seconds in (("first", 0.3), ("second", 300.0)):
        limits = dataclasses.replace(LIMITS, grace_seconds=grace_seconds, stall_seconds=600.0)
        sending = send(
            among, b"x", key=key, ack="any", ledger=ledger, limits=limits, stragglers=stragglers, budget=budget
        )
        answered, _ = await asyncio.wait({asyncio.ensure_future(sending)}, timeout=30)
        assert answered
        assert loop.time() - began >= 0.3
    among[1].released.set()
    await stragglers.drain(5)


async def test_an_account_is_looked_at_again_when_its_upload_could_not_be_aborted() -> None:
    among, ledger = buckets(refuses_part=1, refuses_abort=1), MemoryLedger()
    await send(among, b"x" * 5 * PART, ack="any", ledger=ledger)
    [followed] = ledger.followed
    assert isinstance(followed, Pending)
    assert (followed.code, followed.retryable) == ("access_refused", True)
    assert among[1].uploads


async def test_what_another_brought_stays_when_its_upload_was_aborted_meanwhile() -> None:
    """A process that stood still: another one took the replica over, aborted its upload, and brought the file."""
    among, ledger = buckets(stalls_at_part=1), MemoryLedger()
    stragglers, budget = Stragglers(ledger, LIMITS), Budget(LIMITS.memory)
    body = b"x" * PART + b"y" * PART
    receipt = await send(among, body, ack="any", ledger=ledger, limits=LIMITS, stragglers=stragglers, budget=budget)
    assert [o.code for o in receipt.outcomes if isinstance(o, Pending)] == [None]  # it goes on
    slow, other = among[1], among[0]
    [key] = other.objects
    slow.uploads.clear()
    slow.objects[key] = other.objects[key]
    slow.released.set()
    await stragglers.drain(5)
    assert slow.objects == {key: other.objects[key]}


@pytest.mark.parametrize("ledger_is_gone", [False, True])
@pytest.mark.parametrize("stalls", ["part", "begin"])
async def test_an_account_that_goes_on_publishes_nothing_when_the_file_was_erased_meanwhile(
    stalls: str, ledger_is_gone: bool
) -> None:
    among, ledger = buckets(**{f"stalls_at_{stalls}": 1}), ForgettingLedger(is_gone=ledger_is_gone)
    stragglers, budget = Stragglers(ledger, LIMITS), Budget(LIMITS.memory)
    body = b"x" * PART + b"y" * PART
    receipt = await send(among, body, ack="any", ledger=ledger, limits=LIMITS, stragglers=stragglers, budget=budget)
    among[1].released.set()
    await stragglers.drain(5)
    assert ledger.asked == [(receipt.id, "B")]
    assert among[1].calls["complete"] == 0
    assert not among[1].uploads
    assert not among[1].objects
    [followed] = ledger.followed
    assert isinstance(followed, Pending)
    assert (followed.code, followed.retryable) == ("taken_back", True)
    assert budget.used == 0


async def test_an_account_that_goes_on_puts_nothing_when_the_file_was_erased_before_its_turn_came() -> None:
    among, ledger = buckets(), ForgettingLedger(is_gone=False)
    among[1].slots = asyncio.Semaphore(1)
    await among[1].slots.acquire()  # another upload's request is under way
    stragglers, budget = Stragglers(ledger, LIMITS), Budget(LIMITS.memory)
    await send(among, b"x", ack="any", ledger=ledger, limits=LIMITS, stragglers=stragglers, budget=budget)
    among[1].slots.release()
    await stragglers.drain(5)
    assert among[1].calls["put"] == 0
    assert among[1].objects == {}
    [followed] = ledger.followed
    assert isinstance(followed, Pending)
    assert budget.used == 0


@pytest.mark.parametrize("size", [1, 2 * PART])
async def test_an_account_that_goes_on_asks_once_and_publishes_when_the_file_is_still_wanted(size: int) -> None:
    among, ledger = buckets(), MemoryLedger()
    among[1].slots = asyncio.Semaphore(1)
    await among[1].slots.acquire()
    stragglers, budget = Stragglers(ledger, LIMITS), Budget(LIMITS.memory)
    receipt = await send(
        among, b"x" * size, ack="any", ledger=ledger, limits=LIMITS, stragglers=stragglers, budget=budget
    )
    among[1].slots.release()
    await stragglers.drain(5)
    assert ledger.asked == [(receipt.id, "B")]
    assert among[1].objects["k"].body == b"x" * size


@pytest.mark.parametrize("size", [1, 5 * PART])
async def test_nobody_is_asked_when_every_account_ends_before_the_answer(size: int) -> None:
    ledger = MemoryLedger()
    await send(buckets(), b"x" * size, ack="any", ledger=ledger)
    assert not ledger.asked
    assert not ledger.followed
