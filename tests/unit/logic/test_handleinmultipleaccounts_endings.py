"""How the flow ends: streaming, cancellation, conflicts, and what remains in memory and accounts after failures."""

import asyncio
import contextlib
import dataclasses
import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from file.logic.errors import ClientGoneError, FileTooLargeError, KeyTakenError
from file.logic.memory.budget import Budget
from file.logic.values import Failed, MiB, Removal, Stored
from testkit.memorybucket import MemoryBucket
from testkit.memoryledger import MemoryLedger
from tests.flow import LIMITS, PART, PATIENT, assert_nothing_left, buckets, chunks_of, send


async def test_the_first_part_leaves_when_the_last_byte_has_not_arrived() -> None:
    among = buckets()

    async def waiting() -> AsyncIterator[bytes]:
        yield b"x" * 2 * PART
        for bucket in among:
            await asyncio.wait_for(bucket.first_part.wait(), 5)
        yield b"y"

    assert (await send(among, b"", chunks=waiting(), size=2 * PART + 1)).stored


@pytest.mark.parametrize(
    ("fault", "size"), [("stalls_at_put", PART), ("stalls_at_part", 5 * PART), ("stalls_at_complete", 5 * PART)]
)
async def test_everything_is_removed_when_the_upload_is_cancelled(fault: str, size: int) -> None:
    among = buckets(**{fault: 1})
    upload = asyncio.ensure_future(send(among, b"x" * size))
    await asyncio.wait_for(among[1].stalled.wait(), 5)
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert_nothing_left(among)


async def test_one_wins_when_two_uploads_go_to_one_key_at_once() -> None:
    among = buckets(stalls_at_put=1)
    ledger, budget = MemoryLedger(), Budget(LIMITS.memory)
    first = asyncio.ensure_future(send(among, b"first", ledger=ledger))
    await asyncio.wait_for(among[1].stalled.wait(), 5)
    with pytest.raises(KeyTakenError):
        await send(among, b"second", ledger=ledger, budget=budget)
    among[1].released.set()
    assert (await first).stored
    assert all(bucket.objects["k"].body == b"first" for bucket in among)


async def test_another_files_object_stays_when_its_key_is_wanted_again() -> None:
    for size in (5, 5 * PART):
        among = buckets()
        assert (await send([among[1]], b"x" * size)).stored
        receipt = await send(among, b"x" * size)  # an equal one: not ours to adopt
        assert receipt.key_taken
        assert_nothing_left([among[0], among[2]])
        assert among[1].objects["k"].body == b"x" * size


async def test_the_slowest_account_decides_when_each_takes_its_time() -> None:
    for count in (1, 3, 8):
        among = [MemoryBucket(str(number), faults={"stalls_at_put": 1}) for number in range(count)]
        upload = asyncio.create_task(send(among, b"x", limits=PATIENT))
        async with asyncio.timeout(PATIENT.stall_seconds):
            for bucket in among:
                await bucket.stalled.wait()  # all at once: none has answered yet
        for bucket in among:
            assert not upload.done()
            bucket.released.set()
        receipt = await upload
        assert receipt.stored
        assert all(isinstance(o, Stored) for o in receipt.outcomes)


async def test_the_file_is_refused_when_its_parts_would_exceed_a_quarter_of_the_memory() -> None:
    with pytest.raises(FileTooLargeError):
        await send(buckets(), b"", size=1 << 40, chunks=chunks_of(b""))


async def test_the_file_is_stored_when_the_cancellation_comes_after_the_last_account_has_it() -> None:
    among = [MemoryBucket("A"), MemoryBucket("B", faults={"loses_begin_reply": 1, "stalls_at_abort_lost": 1})]
    upload = asyncio.ensure_future(send(among, b"x" * 5 * PART))
    await asyncio.wait_for(among[1].stalled.wait(), 5)
    assert all(bucket.objects for bucket in among)
    upload.cancel()
    assert (await upload).stored


async def test_the_key_is_free_again_and_the_other_outcomes_are_kept_when_a_removal_crashes() -> None:
    class Crashing(MemoryBucket):
        async def remove(
            self, object_key: str, file_id: str, version_id: str | None = None, etag: str | None = None
        ) -> int:
            raise KeyError(object_key)

    ledger = MemoryLedger()
    among = [Crashing("A"), MemoryBucket("B", faults={"refuses_put": 1}), MemoryBucket("C")]
    receipt = await send(among, b"x", ledger=ledger)
    removals = [o.removal for o in receipt.outcomes if isinstance(o, Failed)]
    assert removals == [Removal.PENDING, Removal.REMOVED, Removal.REMOVED]
    among[0].objects.clear()
    assert (await send(among, b"x", ledger=ledger)).stored


async def test_every_roll_back_has_its_time_when_many_wait_for_a_slow_account() -> None:
    slow = MemoryBucket("A", delay_seconds=LIMITS.remove_seconds / 3)
    slow.slots = asyncio.Semaphore(2)
    refusing = MemoryBucket("B", faults={"refuses_put": 12})
    receipts = await asyncio.gather(*(send([slow, refusing], b"x", key=f"k{n}", limits=PATIENT) for n in range(12)))
    assert {o.removal for receipt in receipts for o in receipt.outcomes if isinstance(o, Failed)} == {Removal.REMOVED}
    assert_nothing_left([slow])


async def test_queued_parts_are_not_sent_when_another_account_has_failed() -> None:
    among = [MemoryBucket("A", delay_seconds=0.05), MemoryBucket("B", faults={"refuses_part": 1})]
    await send(among, b"x" * 40 * PART)
    assert among[0].calls["part"] <= LIMITS.parts_in_flight


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.parametrize("fault", ["fails_part", "gone"])
async def test_no_bytes_are_held_when_uploads_went_wrong(fault: str) -> None:
    """Without Python's cycle collector, which frees memory too late."""
    size, limits = 16 * MiB, dataclasses.replace(PATIENT, memory=64 * MiB, part_size=8 * MiB)
    budget = Budget(limits.memory)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // (256 * 1024) - 1):
            yield bytes(256 * 1024)
        if fault == "gone":
            raise ClientGoneError
        yield bytes(256 * 1024)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    async def upload() -> None:
        among = [MemoryBucket("A", faults={fault: 1}), MemoryBucket("B")]
        with contextlib.suppress(ClientGoneError):
            await send(among, b"", chunks=body(), size=size, limits=limits, budget=budget)
        for bucket in among:
            bucket.objects.clear()

    await upload()
    gc.collect()
    gc.disable()
    try:
        before = resident()
        for _ in range(12):
            await upload()
        budget.buffers.clear()  # kept on purpose
        grown = resident() - before
    finally:
        gc.enable()
    assert grown < 3 * size, f"{grown / MiB:.0f} MiB"
