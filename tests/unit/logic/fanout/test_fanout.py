"""The ack decides which accounts the answer waits for, which continue after it, and which are let go."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from file.logic.errors import IdempotencyKeyReusedError, KeyTakenError, LeaseLostError, LedgerUnavailableError
from file.logic.memory.budget import Budget
from file.logic.values import KiB, MiB, Receipt, Stored
from testkit.memorybucket import MemoryBucket
from testkit.memoryledger import MemoryLedger
from tests.flow import PART, PATIENT, assert_nothing_left, buckets, chunks_of, send
from tests.unit.logic.fanout.uploads import Uploads, retries, statuses

# A stall lasts longer than any test; the answer waits this long for accounts that the ack does not need.
QUICK = dataclasses.replace(PATIENT, memory=MiB, grace_seconds=0.1, stall_seconds=30.0, complete_seconds=30.0)


@pytest.mark.parametrize("size", [PART, 5 * PART])
@pytest.mark.parametrize("ack", ["any", "quorum", "1", "2", "3"])
async def test_every_account_has_the_file_when_all_are_well_whatever_the_ack(ack: str, size: int) -> None:
    among = buckets()
    receipt = await send(among, b"x" * size, ack=ack)
    assert receipt.stored
    assert all(bucket.objects["k"].body == b"x" * size for bucket in among)


@pytest.mark.parametrize(("fault", "size"), [("stalls_at_put", PART), ("stalls_at_complete", 5 * PART)])
async def test_an_account_continues_after_the_answer_when_the_ack_is_met_without_it(fault: str, size: int) -> None:
    uploads = Uploads(buckets(**{fault: 1}), QUICK)
    receipt = await asyncio.wait_for(uploads.send(b"x" * size), 5)
    assert receipt.acknowledged
    assert statuses(receipt) == {"A": "stored", "B": None, "C": "stored"}
    assert "k" not in uploads.slow.objects
    await uploads.finish()
    [followed] = uploads.ledger.followed
    assert isinstance(followed, Stored)
    assert uploads.slow.objects["k"].body == b"x" * size


async def test_an_account_that_is_behind_is_let_go_when_the_ack_is_met_without_it() -> None:
    among, ledger = buckets(stalls_at_part=99), MemoryLedger()
    receipt = await asyncio.wait_for(send(among, b"x" * 40 * PART, ack="any", ledger=ledger, limits=QUICK), 10)
    assert statuses(receipt) == {"A": "stored", "B": "let_go", "C": "stored"}
    assert [account for account, _, _ in retries(ledger.followed)] == ["B"]
    assert_nothing_left([among[1]])


async def test_a_slow_account_holds_no_more_than_its_queue_when_it_is_not_needed() -> None:
    among, budget = buckets(stalls_at_part=99), Budget(QUICK.memory)
    await send(among, b"x" * 60 * PART, ack="any", limits=QUICK, budget=budget)
    assert budget.peak <= (3 * (QUICK.parts_in_flight + 1) + 1) * PART


async def test_every_account_is_waited_for_when_the_ack_is_all_and_one_is_slow() -> None:
    among = buckets()
    among[1].delay_seconds = 0.1
    assert (await send(among, b"x" * 12 * PART, limits=QUICK)).stored


@pytest.mark.parametrize("size", [PART, 5 * PART])
async def test_the_file_is_kept_when_the_ack_is_met_and_an_account_refuses(size: int) -> None:
    among, ledger = buckets(refuses_put=1, refuses_part=1), MemoryLedger()
    receipt = await send(among, b"x" * size, ack="quorum", ledger=ledger)
    assert statuses(receipt) == {"A": "stored", "B": "access_refused", "C": "stored"}
    assert retries(ledger.followed) == [("B", "access_refused", False)]
    assert_nothing_left([among[1]])
    assert among[0].objects["k"].body == among[2].objects["k"].body == b"x" * size


@pytest.mark.parametrize("fault", ["refuses_put", "refuses_begin", "refuses_part", "refuses_complete"])
async def test_no_account_keeps_anything_when_the_ack_cannot_be_met_any_more(fault: str) -> None:
    among = [MemoryBucket("A"), MemoryBucket("B", faults={fault: 1}), MemoryBucket("C", faults={fault: 1})]
    receipt = await send(among, b"x" * (PART if fault == "refuses_put" else 5 * PART), ack="2")
    assert not receipt.acknowledged
    assert_nothing_left(among)


async def test_a_straggler_is_let_go_at_once_when_its_account_holds_too_much_already() -> None:
    limits = dataclasses.replace(QUICK, grace_seconds=0.01, memory=8 * 3 * 64 * KiB)
    uploads = Uploads(buckets(stalls_at_put=99), limits)
    receipts = [await uploads.send(b"x", key=f"k{n}") for n in range(5)]
    assert [statuses(receipt)["B"] for receipt in receipts] == [None, None, None, "let_go", "let_go"]
    await uploads.stragglers.drain(0)
    assert (uploads.budget.used, uploads.stragglers.under_way) == (0, 0)
    assert_nothing_left([uploads.slow])


async def test_stragglers_are_stopped_and_recorded_when_the_service_ends() -> None:
    uploads = Uploads(buckets(stalls_at_part=99), QUICK)
    assert statuses(await uploads.send(b"x" * 3 * PART))["B"] is None
    await asyncio.wait_for(uploads.stragglers.drain(0.05), 5)
    assert [account for account, _, _ in retries(uploads.ledger.followed)] == ["B"]
    assert_nothing_left([uploads.slow])


async def test_a_straggler_removes_what_it_stored_when_its_lease_was_lost() -> None:
    uploads = Uploads(buckets(stalls_at_put=1), QUICK)
    uploads.ledger.lost.add((await uploads.send(b"x")).id)
    await uploads.finish()
    assert_nothing_left([uploads.slow])


class Losing(MemoryLedger):
    async def conclude(self, receipt: Receipt) -> bool:
        self.lost.add(receipt.id)
        return await super().conclude(receipt)


@pytest.mark.parametrize("size", [PART, 5 * PART])
@pytest.mark.parametrize("ack", ["all", "any"])
async def test_everything_is_removed_when_the_lease_was_lost_meanwhile(ack: str, size: int) -> None:
    among = buckets()
    with pytest.raises(LeaseLostError):
        await send(among, b"x" * size, ack=ack, ledger=Losing())
    assert_nothing_left(among)


class Unavailable(MemoryLedger):
    async def conclude(self, receipt: Receipt) -> bool:
        raise LedgerUnavailableError


async def test_nothing_is_deleted_when_it_is_unknown_whether_the_outcome_was_recorded() -> None:
    among = buckets(stalls_at_put=1)
    with pytest.raises(LedgerUnavailableError):
        await send(among, b"x", ack="2", ledger=Unavailable(), limits=QUICK)
    assert [sorted(bucket.objects) for bucket in among] == [["k"], [], ["k"]]


@pytest.mark.parametrize("size", [PART, 5 * PART])
async def test_the_first_receipt_is_returned_when_the_same_bytes_are_sent_to_the_same_key(size: int) -> None:
    among, ledger = buckets(), MemoryLedger()
    first = await send(among, b"x" * size, ledger=ledger)
    calls = [bucket.calls.copy() for bucket in among]
    again = await send(among, b"x" * size, ledger=ledger)
    assert again == dataclasses.replace(first, repeated=True)
    assert [bucket.calls for bucket in among] == calls
    with pytest.raises(KeyTakenError):
        await send(among, b"y" * size, ledger=ledger)


async def test_the_rest_is_not_read_when_the_declared_size_shows_that_it_is_another_file() -> None:
    among, ledger = buckets(), MemoryLedger()
    await send(among, b"x" * 5 * PART, ledger=ledger)
    never = asyncio.Event()

    async def stopping() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(b"x" * 2 * PART):
            yield chunk
        await never.wait()

    with pytest.raises(KeyTakenError):
        await asyncio.wait_for(send(among, b"", chunks=stopping(), size=6 * PART, ledger=ledger), 5)


async def test_other_bytes_are_refused_when_the_idempotency_key_was_used_already() -> None:
    among, ledger = buckets(), MemoryLedger()
    first = await send(among, b"x", ledger=ledger, idempotency_key="once")
    assert (await send(among, b"x", ledger=ledger, idempotency_key="once")).id == first.id
    with pytest.raises(IdempotencyKeyReusedError):
        await send(among, b"y", ledger=ledger, idempotency_key="once")


async def test_every_open_upload_is_recorded_when_a_begin_is_repeated() -> None:
    among, ledger = buckets(loses_begin_reply=1), MemoryLedger()
    receipt = await send(among, b"x" * 5 * PART, ledger=ledger)
    uploads = sorted((account, upload or "") for file_id, account, upload in ledger.uploads if file_id == receipt.id)
    assert uploads == [("A", "upload-1"), ("B", ""), ("B", "upload-2"), ("C", "upload-1")]
