"""Lanes that continue after the answer: their share of the memory, and what they may publish."""

import asyncio
import dataclasses

import pytest

from file.logic.errors import LedgerUnavailableError
from file.logic.values import KiB, MiB, Receipt
from testkit.memoryledger import MemoryLedger
from tests.flow import PART, PATIENT, buckets, send
from tests.unit.logic.fanout.uploads import Uploads, retries, statuses

UPLOADS = 5
HELD = 2  # an eighth of the memory has room for two lanes of 64 KiB, the least that a lane counts
LIMITS = dataclasses.replace(PATIENT, memory=MiB, grace_seconds=0.05, stall_seconds=30.0)
TWO_PARTS = b"x" * PART + b"y" * PART


class ForgettingLedger(MemoryLedger):
    """The file is erased just after it was acknowledged; or the database is gone then."""

    def __init__(self, *, is_gone: bool) -> None:
        super().__init__()
        self._is_gone = is_gone

    async def conclude(self, receipt: Receipt) -> bool:
        held = await super().conclude(receipt)
        self.lost.add(receipt.id)
        return held

    async def may_publish(self, file_id: str, account: str) -> bool:
        may_publish = await super().may_publish(file_id, account)
        if self._is_gone:
            raise LedgerUnavailableError
        return may_publish


class SlowLedger(MemoryLedger):
    """Writes no receipt before all uploads have one."""

    def __init__(self) -> None:
        super().__init__()
        self._all = asyncio.Barrier(UPLOADS)

    async def conclude(self, receipt: Receipt) -> bool:
        await asyncio.wait_for(self._all.wait(), 10)
        return await super().conclude(receipt)


async def test_only_as_many_lanes_continue_as_have_room_when_many_are_admitted_at_once() -> None:
    uploads = Uploads(buckets(stalls_at_put=UPLOADS), LIMITS, SlowLedger())
    receipts = await asyncio.gather(*(uploads.send(b"x" * KiB, key=f"k{number}") for number in range(UPLOADS)))
    codes = [statuses(receipt)["B"] for receipt in receipts]
    assert sorted(codes, key=str) == [None] * HELD + ["let_go"] * (UPLOADS - HELD)
    await uploads.finish()
    assert len(uploads.slow.objects) == HELD
    assert (await uploads.send(b"x", key="again", ledger=MemoryLedger())).stored  # its share is free again


async def test_the_next_upload_does_not_wait_when_an_account_is_known_to_be_behind() -> None:
    uploads, loop = Uploads(buckets(stalls_at_put=UPLOADS), LIMITS), asyncio.get_running_loop()
    began = loop.time()
    # The grace of the second upload is longer than the test waits.
    for key, grace_seconds in (("first", 0.3), ("second", 300.0)):
        limits = dataclasses.replace(LIMITS, grace_seconds=grace_seconds, stall_seconds=600.0)
        sending = asyncio.ensure_future(uploads.send(b"x", key=key, limits=limits))
        answered, _ = await asyncio.wait({sending}, timeout=30)
        assert answered
        assert loop.time() - began >= 0.3
    await uploads.finish()


async def test_an_account_is_retried_when_its_upload_could_not_be_aborted() -> None:
    among, ledger = buckets(refuses_part=1, refuses_abort=1), MemoryLedger()
    await send(among, b"x" * 5 * PART, ack="any", ledger=ledger)
    assert retries(ledger.followed) == [("B", "access_refused", True)]
    assert among[1].uploads


async def test_the_file_of_another_process_stays_when_it_aborted_the_upload_of_a_frozen_one() -> None:
    uploads = Uploads(buckets(stalls_at_part=1), LIMITS)
    assert statuses(await uploads.send(TWO_PARTS))["B"] is None
    slow, [(key, found)] = uploads.slow, uploads.among[0].objects.items()
    slow.uploads.clear()
    slow.objects[key] = found
    await uploads.finish()
    assert slow.objects == {key: found}


@pytest.mark.parametrize("ledger_is_gone", [False, True])
@pytest.mark.parametrize("stalls", ["part", "begin"])
async def test_a_straggler_publishes_nothing_when_the_file_was_erased_meanwhile(
    stalls: str, ledger_is_gone: bool
) -> None:
    uploads = Uploads(buckets(**{f"stalls_at_{stalls}": 1}), LIMITS, ForgettingLedger(is_gone=ledger_is_gone))
    receipt = await uploads.send(TWO_PARTS)
    await uploads.finish()
    assert uploads.ledger.asked == [(receipt.id, "B")]
    assert uploads.slow.calls["complete"] == 0
    assert not uploads.slow.uploads
    assert not uploads.slow.objects
    assert retries(uploads.ledger.followed) == [("B", "taken_back", True)]


async def send_while_busy(uploads: Uploads, content: bytes) -> Receipt:
    """Another upload's request takes the only slot of the slow account until the answer."""
    uploads.slow.slots = asyncio.Semaphore(1)
    async with uploads.slow.slots:
        receipt = await uploads.send(content)
    await uploads.finish()
    return receipt


async def test_a_straggler_puts_nothing_when_the_file_was_erased_before_it_got_a_slot() -> None:
    uploads = Uploads(buckets(), LIMITS, ForgettingLedger(is_gone=False))
    await send_while_busy(uploads, b"x")
    assert uploads.slow.calls["put"] == 0
    assert uploads.slow.objects == {}
    assert [account for account, _, _ in retries(uploads.ledger.followed)] == ["B"]


@pytest.mark.parametrize("size", [1, 2 * PART])
async def test_a_straggler_asks_once_and_publishes_when_the_file_still_exists(size: int) -> None:
    uploads = Uploads(buckets(), LIMITS)
    receipt = await send_while_busy(uploads, b"x" * size)
    assert uploads.ledger.asked == [(receipt.id, "B")]
    assert uploads.slow.objects["k"].body == b"x" * size


@pytest.mark.parametrize("size", [1, 5 * PART])
async def test_the_ledger_is_not_asked_when_every_account_ends_before_the_answer(size: int) -> None:
    ledger = MemoryLedger()
    await send(buckets(), b"x" * size, ack="any", ledger=ledger)
    assert not ledger.asked
    assert not ledger.followed
