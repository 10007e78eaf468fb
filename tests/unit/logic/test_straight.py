"""A file of one part: lanes take over its puts when it is cancelled, its lease is lost, or an account fails."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from file.logic.errors import LeaseLostError
from file.logic.fanout.cancellation import despite_cancellation
from file.logic.memory.budget import Budget
from file.logic.values import Failed, Intent, Receipt, Removal
from testkit.memorybucket import MemoryBucket
from testkit.memoryledger import MemoryLedger
from tests.flow import LIMITS, PATIENT, assert_nothing_left, buckets, send


class StallingLedger(MemoryLedger):
    """Waits before it claims (`intend`), or before it records the outcome (`conclude`), until it is `released`."""

    def __init__(self, stalls_at: str, *, loses: bool = False) -> None:
        super().__init__()
        self.stalled, self.released = asyncio.Event(), asyncio.Event()
        self._stalls_at = stalls_at
        self._loses = loses

    async def intend(self, intent: Intent) -> Receipt | None:
        if self._stalls_at == "intend":
            self.stalled.set()
            await self.released.wait()
        return await super().intend(intent)

    async def conclude(self, receipt: Receipt) -> bool:
        if self._stalls_at == "conclude" and receipt.acknowledged:
            self.stalled.set()
            await despite_cancellation(self.released.wait())
            if self._loses:
                self.lost.add(receipt.id)
        return await super().conclude(receipt)


def start(
    among: list[MemoryBucket], ledger: MemoryLedger, chunks: AsyncIterator[bytes] | None = None
) -> asyncio.Task[Receipt]:
    return asyncio.ensure_future(send(among, b"x", ledger=ledger, limits=PATIENT, chunks=chunks))


async def cancelled(upload: asyncio.Task[Receipt]) -> None:
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(upload, 5)


async def test_nothing_is_claimed_when_it_is_cancelled_before_its_last_byte() -> None:
    among, ledger, reading = buckets(), MemoryLedger(), asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        reading.set()
        await asyncio.Event().wait()
        yield b""

    upload = start(among, ledger, stalling())
    await asyncio.wait_for(reading.wait(), 5)
    await cancelled(upload)
    assert not ledger.claimed
    assert not any(bucket.calls for bucket in among)


async def test_nothing_is_sent_when_it_is_cancelled_before_the_intent_is_durable() -> None:
    among, ledger = buckets(), StallingLedger("intend")
    upload = start(among, ledger)
    await asyncio.wait_for(ledger.stalled.wait(), 5)
    await cancelled(upload)
    assert not any(bucket.calls for bucket in among)


@pytest.mark.parametrize("has_begun", [True, False])
async def test_everything_is_removed_and_the_key_is_free_when_it_is_cancelled_while_an_account_stores(
    has_begun: bool,
) -> None:
    """The lane of B takes over a put that is under way; or one that waits for its turn, and leaves nothing."""
    among, ledger = buckets(stalls_at_put=1), MemoryLedger()
    if not has_begun:
        among[1].slots = asyncio.Semaphore(0)
    upload = start(among, ledger)
    for _ in range(10):
        await asyncio.sleep(0)
    assert among[0].objects
    assert among[2].objects
    assert among[1].stalled.is_set() == has_begun
    await cancelled(upload)
    assert_nothing_left(among)
    assert not ledger.claimed
    assert [bucket.calls["remove"] > 0 for bucket in among] == [True, has_begun, True]


async def test_there_is_a_receipt_when_it_is_cancelled_as_the_last_account_has_it() -> None:
    among, ledger = buckets(), StallingLedger("intend")
    upload = start(among, ledger)
    await asyncio.wait_for(ledger.stalled.wait(), 5)
    ledger.released.set()
    await asyncio.sleep(0)  # now the puts are the next to run, before the cancellation
    upload.cancel()
    assert (await asyncio.wait_for(upload, 5)).stored
    assert all(bucket.objects["k"].body == b"x" for bucket in among)


async def test_there_is_a_receipt_when_it_is_cancelled_while_its_outcome_is_recorded() -> None:
    among, ledger = buckets(), StallingLedger("conclude")
    upload = start(among, ledger)
    await asyncio.wait_for(ledger.stalled.wait(), 5)
    upload.cancel()
    await asyncio.sleep(0)
    ledger.released.set()
    assert (await asyncio.wait_for(upload, 5)).stored
    assert all(bucket.objects["k"].body == b"x" for bucket in among)


async def test_everything_is_removed_when_the_lease_was_lost_while_it_was_cancelled() -> None:
    among, ledger = buckets(), StallingLedger("conclude", loses=True)
    upload = start(among, ledger)
    await asyncio.wait_for(ledger.stalled.wait(), 5)
    upload.cancel()
    ledger.released.set()
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(upload, 5)
    assert_nothing_left(among)


async def test_the_others_run_to_their_end_when_one_account_fails_first() -> None:
    """A fails while B is under way: B's own outcome is told, and its object is removed."""
    among = [MemoryBucket("A", faults={"refuses_put": 1}), MemoryBucket("B", faults={"stalls_at_put": 1})]
    upload = start(among, MemoryLedger())
    await asyncio.wait_for(among[1].stalled.wait(), 5)
    assert not upload.done()
    among[1].released.set()
    failed = [outcome for outcome in (await upload).outcomes if isinstance(outcome, Failed)]
    assert [(each.error.code, each.removal) for each in failed] == [
        ("access_refused", Removal.REMOVED),
        ("taken_back", Removal.REMOVED),
    ]
    assert among[1].calls["remove"] == 1
    assert_nothing_left(among)


@pytest.mark.parametrize("ack", ["all", "any"])
async def test_the_memory_is_given_back_before_the_outcome_is_recorded(ack: str) -> None:
    ledger, budget = StallingLedger("conclude"), Budget(LIMITS.memory)
    upload = asyncio.ensure_future(send(buckets(), b"x", ledger=ledger, budget=budget, ack=ack))
    await asyncio.wait_for(ledger.stalled.wait(), 5)
    assert budget.used == 0
    ledger.released.set()
    assert (await upload).stored
