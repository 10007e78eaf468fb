"""The ack is the caller's choice: who is waited for, who goes on after the answer, who is let go."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from file.logic.errors import (
    IdempotencyKeyReusedError,
    KeyTakenError,
    LeaseLostError,
    LedgerUnavailableError,
)
from file.logic.fanout.stragglers import Stragglers
from file.logic.memory.budget import Budget
from file.logic.values import KiB, MiB, Pending, Receipt, Stored
from testkit.memorybucket import MemoryBucket
from testkit.memoryledger import MemoryLedger
from tests.flow import PART, PATIENT, assert_nothing_left, buckets, chunks_of, send

# A stalled account is stalled for longer than any test takes; who is not waited for is waited for this long.
QUICK = dataclasses.replace(PATIENT, memory=MiB, grace_seconds=0.1, stall_seconds=30.0, complete_seconds=30.0)


def told(receipt: Receipt) -> dict[str, str | None]:
    """Account to the code of a pending one, or `stored`."""
    return {o.account: o.code if isinstance(o, Pending) else "stored" for o in receipt.outcomes}


@pytest.mark.parametrize("size", [PART, 5 * PART])
@pytest.mark.parametrize("ack", ["any", "quorum", "1", "2", "3"])
async def test_every_account_has_the_file_when_all_are_well_whatever_the_ack(ack: str, size: int) -> None:
    among = buckets()
    receipt = await send(among, b"x" * size, ack=ack)
    assert receipt.stored
    assert all(bucket.objects["k"].body == b"x" * size for bucket in among)


@pytest.mark.parametrize(("fault", "size"), [("stalls_at_put", PART), ("stalls_at_complete", 5 * PART)])
async def test_an_account_goes_on_after_the_answer_when_the_ack_is_met_without_it(fault: str, size: int) -> None:
    among, ledger = buckets(**{fault: 1}), MemoryLedger()
    stragglers, budget = Stragglers(ledger, QUICK), Budget(QUICK.memory)
    receipt = await asyncio.wait_for(
        send(among, b"x" * size, ack="any", ledger=ledger, limits=QUICK, stragglers=stragglers, budget=budget), 5
    )
    assert receipt.acknowledged
    assert told(receipt) == {"A": "stored", "B": None, "C": "stored"}
    assert "k" not in among[1].objects
    among[1].released.set()
    await stragglers.drain(5)
    [followed] = ledger.followed
    assert isinstance(followed, Stored)
    assert among[1].objects["k"].body == b"x" * size
    assert budget.used == 0


async def test_an_account_that_is_behind_is_let_go_when_the_ack_is_met_without_it() -> None:
    among, ledger = buckets(stalls_at_part=99), MemoryLedger()
    receipt = await asyncio.wait_for(send(among, b"x" * 40 * PART, ack="any", ledger=ledger, limits=QUICK), 10)
    assert told(receipt) == {"A": "stored", "B": "let_go", "C": "stored"}
    assert [(type(outcome), outcome.account) for outcome in ledger.followed] == [(Pending, "B")]
    assert_nothing_left([among[1]])


async def test_a_slow_account_holds_no_more_than_its_queue_when_it_is_not_needed() -> None:
    among, budget = buckets(stalls_at_part=99), Budget(QUICK.memory)
    await send(among, b"x" * 60 * PART, ack="any", limits=QUICK, budget=budget)
    assert budget.peak <= (3 * (QUICK.parts_in_flight + 1) + 1) * PART


async def test_every_account_is_waited_for_when_the_ack_is_all_and_one_is_slow() -> None:
    among = buckets()
    among[1].delay_seconds = 0.1
    receipt = await send(among, b"x" * 12 * PART, limits=QUICK)
    assert receipt.stored


@pytest.mark.parametrize("size", [PART, 5 * PART])
async def test_the_file_is_kept_when_the_ack_is_met_and_an_account_refuses(size: int) -> None:
    among, ledger = buckets(refuses_put=1, refuses_part=1), MemoryLedger()
    receipt = await send(among, b"x" * size, ack="quorum", ledger=ledger)
    assert told(receipt) == {"A": "stored", "B": "access_refused", "C": "stored"}
    assert [(o.account, o.retryable) for o in ledger.followed if isinstance(o, Pending)] == [("B", False)]
    assert_nothing_left([among[1]])
    assert among[0].objects["k"].body == among[2].objects["k"].body == b"x" * size


@pytest.mark.parametrize("fault", ["refuses_put", "refuses_begin", "refuses_part", "refuses_complete"])
async def test_no_account_keeps_anything_when_the_ack_cannot_be_met_any_more(fault: str) -> None:
    among = [MemoryBucket("A"), MemoryBucket("B", faults={fault: 1}), MemoryBucket("C", faults={fault: 1})]
    receipt = await send(among, b"x" * (PART if fault == "refuses_put" else 5 * PART), ack="2")
    assert not receipt.acknowledged
    assert_nothing_left(among)


async def test_a_straggler_is_let_go_at_once_when_its_account_holds_too_much_already() -> None:
    among, ledger = buckets(stalls_at_put=99), MemoryLedger()
    limits = dataclasses.replace(QUICK, grace_seconds=0.01, memory=8 * 3 * 64 * KiB)
    stragglers, budget = Stragglers(ledger, limits), Budget(limits.memory)
    receipts = [
        await send(
            among, b"x", key=f"k{n}", ack="any", ledger=ledger, limits=limits, stragglers=stragglers, budget=budget
        )
        for n in range(5)
    ]
    assert [told(receipt)["B"] for receipt in receipts] == [None, None, None, "let_go", "let_go"]
    await stragglers.drain(0)
    assert budget.used == 0
    assert stragglers.under_way == 0
    assert_nothing_left([among[1]])


async def test_stragglers_are_cut_off_and_recorded_when_the_service_ends() -> None:
    among, ledger = buckets(stalls_at_part=99), MemoryLedger()
    stragglers = Stragglers(ledger, QUICK)
    receipt = await send(among, b"x" * 3 * PART, ack="any", ledger=ledger, limits=QUICK, stragglers=stragglers)
    assert told(receipt)["B"] is None
    await asyncio.wait_for(stragglers.drain(0.05), 5)
    assert [outcome.account for outcome in ledger.followed if isinstance(outcome, Pending)] == ["B"]
    assert_nothing_left([among[1]])


async def test_a_straggler_takes_back_what_it_stored_when_its_lease_was_lost() -> None:
    among, ledger = buckets(stalls_at_put=1), MemoryLedger()
    stragglers = Stragglers(ledger, QUICK)
    receipt = await send(among, b"x", ack="any", ledger=ledger, limits=QUICK, stragglers=stragglers)
    ledger.lost.add(receipt.id)
    among[1].released.set()
    await stragglers.drain(5)
    assert_nothing_left([among[1]])


class Losing(MemoryLedger):
    async def conclude(self, receipt: Receipt) -> bool:
        self.lost.add(receipt.id)
        return await super().conclude(receipt)


@pytest.mark.parametrize("size", [PART, 5 * PART])
@pytest.mark.parametrize("ack", ["all", "any"])
async def test_everything_is_taken_back_when_the_lease_was_lost_meanwhile(ack: str, size: int) -> None:
    among = buckets()
    with pytest.raises(LeaseLostError):
        await send(among, b"x" * size, ack=ack, ledger=Losing())
    assert_nothing_left(among)


class Unavailable(MemoryLedger):
    async def conclude(self, receipt: Receipt) -> bool:
        raise LedgerUnavailableError


async def test_nothing_is_deleted_when_nobody_knows_whether_the_outcome_was_recorded() -> None:
    among = buckets(stalls_at_put=1)
    with pytest.raises(LedgerUnavailableError):
        await send(among, b"x", ack="2", ledger=Unavailable(), limits=QUICK)
    assert [sorted(bucket.objects) for bucket in among] == [["k"], [], ["k"]]


@pytest.mark.parametrize("size", [PART, 5 * PART])
async def test_the_first_receipt_comes_again_when_the_same_bytes_go_to_the_same_key(size: int) -> None:
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


async def test_every_open_upload_is_noted_when_a_begin_is_repeated() -> None:
    among, ledger = buckets(loses_begin_reply=1), MemoryLedger()
    receipt = await send(among, b"x" * 5 * PART, ledger=ledger)
    noted = sorted(
        (account, upload_id or "") for file_id, account, upload_id in ledger.uploads if file_id == receipt.id
    )
    assert noted == [("A", "upload-1"), ("B", ""), ("B", "upload-2"), ("C", "upload-1")]
