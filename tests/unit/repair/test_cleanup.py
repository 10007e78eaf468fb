"""The steps of the clean-up, with memory accounts: which files it takes over, what it looks for, and when it ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models.functions import Now

from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.read.records import Records
from file.ledger.work.claims import Claims
from file.logic.errors import IdempotencyKeyBusyError
from file.logic.values import FILE_ID, FileState, Intent, ReplicaState
from file.models import File, OpenUpload, Replica
from file.repair.cleanup import Cleaner
from testkit.memorybucket import MemoryBucket, MemoryObject
from tests.buckets import registry_of
from tests.intents import failed, intent, receipt
from tests.unit.ledger.looking import ask, change_files, change_replicas, files_in, ledger_on, replicas_in
from tests.unit.ledger.rows import AGO
from tests.unit.ledger.working import acknowledged, claims_of, results_of


async def nothing_to_compare() -> None:
    """The ledger is not older than the accounts."""


@asynccontextmanager
async def cleaner_of(ledger: DatabaseLedger, database: str, *buckets: MemoryBucket) -> AsyncIterator[Cleaner]:
    claims, results, records = claims_of(ledger, database), results_of(ledger, database), Records(database)
    yield Cleaner(claims, results, records, registry_of(buckets), compare=nothing_to_compare, pause_seconds=60)
    await records.close()


async def begun(ledger: DatabaseLedger, database: str, **changes: Any) -> Intent:
    """An upload whose process has died."""
    wanted = intent(**changes)
    assert await ledger.intend(wanted) is None
    await change_files(database, lease_until=AGO)
    return wanted


async def taken_over(ledger: DatabaseLedger, database: str, **changes: Any) -> tuple[Intent, list[MemoryBucket]]:
    """An upload that another process has taken over, and empty accounts."""
    wanted = await begun(ledger, database, **changes)
    assert await claims_of(ledger, database).take_over() == 1
    return wanted, accounts()


async def behind(ledger: DatabaseLedger, database: str) -> Intent:
    """A file whose replica in C is due."""
    wanted = await acknowledged(ledger, behind="C", part_size=8)
    await change_replicas(database, "C", due_at=AGO)
    return wanted


async def clean(ledger: DatabaseLedger, database: str, *buckets: MemoryBucket, times: int = 1) -> None:
    async with cleaner_of(ledger, database, *buckets) as cleaner:
        for _ in range(times):
            for bucket in buckets:
                await cleaner.clean(bucket.account.name)


def accounts() -> list[MemoryBucket]:
    return [MemoryBucket(name, prefix="of/ours/") for name in "ABC"]


def put(bucket: MemoryBucket, of: Intent, body: bytes = b"abc") -> None:
    bucket.objects["of/ours/k"] = MemoryObject(body, {FILE_ID: of.id}, "text/plain")


async def test_a_file_is_removed_and_its_key_free_when_every_account_was_looked_at_twice(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted, buckets = await taken_over(ledger, database)
        put(buckets[1], wanted)
        await clean(ledger, database, *buckets)
        assert (await files_in(database))["k"].state == FileState.ERASING
        await clean(ledger, database, *buckets)
        assert not buckets[1].objects
        assert await ledger.intend(intent()) is None


async def test_a_late_object_is_removed_when_another_file_has_its_key(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted, buckets = await taken_over(ledger, database)
        await clean(ledger, database, *buckets, times=2)
        left = (await files_in(database))["k"]
        assert (left.state, left.live) == (FileState.ERASING, False)
        put(buckets[1], wanted)
        other = intent()
        assert await ledger.intend(other) is None
        put(buckets[0], other)
        await clean(ledger, database, *buckets)
        assert not buckets[1].objects
        assert buckets[0].objects
        assert [str(file.pk) for file in (await files_in(database)).values()] == [other.id]
        assert await ledger.conclude(receipt(other))


async def test_the_key_is_kept_when_an_upload_without_an_id_may_be_open(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted, buckets = await begun(ledger, database, part_size=8), accounts()
        ledger.begun(wanted.id, "A", None)
        await claims_of(ledger, database).take_over()
        await clean(ledger, database, *buckets, times=2)
        assert (await files_in(database))["k"].live
        await clean(ledger, database, *buckets)
        assert not await files_in(database)


async def test_a_late_object_is_removed_when_its_upload_failed_without_an_answer(database: str) -> None:
    async with ledger_on(database, settle_seconds=0) as ledger:
        wanted, buckets = intent(), accounts()
        assert await ledger.intend(wanted) is None
        outcomes = tuple(failed(place, unanswered=place.account == "B") for place in wanted.places)
        await ledger.conclude(replace(receipt(wanted, gone="ABC"), outcomes=outcomes))
        assert set(await replicas_in(database)) == {"B"}
        assert await ledger.intend(intent()) is None  # the key is free
        put(buckets[1], wanted)
        await clean(ledger, database, *buckets)
        assert not buckets[1].objects
        assert await ask(database, File.objects.using(database).filter(pk=wanted.id).exists) is False


async def test_a_file_is_not_taken_over_when_this_process_receives_it(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await begun(ledger, database)
        mine = Claims(ledger.writer, database, under_way=ledger.under_way, claim_seconds=30)
        assert await mine.take_over() == 0
        assert await ledger.conclude(receipt(wanted))


async def test_an_idempotency_key_is_free_when_its_upload_was_taken_over(database: str) -> None:
    async with ledger_on(database) as ledger:
        await begun(ledger, database, idempotency_key="once")
        with pytest.raises(IdempotencyKeyBusyError):
            await ledger.intend(intent("k2", idempotency_key="once"))
        await claims_of(ledger, database).take_over()
        assert await ledger.intend(intent("k2", idempotency_key="once")) is None


@pytest.mark.parametrize(
    ("noted", "changes", "looks"),
    [
        ([], {}, True),  # its process may have died before it could note one
        ([], {"attempts": 1}, True),  # an attempt may have ended before it looked for them
        ([], {"begun_until": None}, False),
        (["id"], {}, False),
        (["id", None], {}, True),
        ([None], {"attempts": 3}, True),
    ],
)
async def test_uploads_without_an_id_are_looked_for_by_key(
    database: str, noted: list[str | None], changes: dict[str, Any], looks: bool
) -> None:
    async with ledger_on(database) as ledger:
        wanted = await behind(ledger, database)
        for upload_id in noted:
            ledger.begun(wanted.id, "C", upload_id)
        await change_replicas(database, "C", due_at=AGO, **changes)
        [due] = await claims_of(ledger, database).claim("C", ReplicaState.PENDING, 10)
    assert due.upload_ids == tuple(upload_id for upload_id in noted if upload_id)
    assert (due.lost is not None) is looks


async def test_an_upload_begun_after_the_lease_had_ended_is_not_ours_when_none_was_noted(database: str) -> None:
    async with ledger_on(database) as ledger:
        await behind(ledger, database)
        await change_replicas(database, "C", begun_until=AGO)
        ended = (await replicas_in(database))["C"].begun_until
        [due] = await claims_of(ledger, database).claim("C", ReplicaState.PENDING, 10)
    assert due.lost is not None
    assert ended is not None
    assert abs(due.lost[1] - ended) < timedelta(seconds=5)


async def test_earlier_uploads_are_not_looked_for_when_they_were_closed_before_a_begin(database: str) -> None:
    async with ledger_on(database) as ledger:
        await behind(ledger, database)
        claims, results = claims_of(ledger, database), results_of(ledger, database)
        [due] = await claims.claim("C", ReplicaState.PENDING, 10)
        assert due.lost is not None
        await claims.note(due, None)
        await claims.note(due, "id")
        await results.end_claim(due)
        # SQLite has milliseconds: within the same millisecond the replica is not due yet.
        await change_replicas(database, "C", due_at=AGO)
        [again] = await claims.claim("C", ReplicaState.PENDING, 10)
    assert (again.lost, again.upload_ids) == (None, ("id",))


async def test_the_clean_up_stays_open_when_the_account_has_another_bucket_now(database: str) -> None:
    async with ledger_on(database) as ledger:
        _, [moved, *_] = await taken_over(ledger, database)
        await ask(database, partial(Replica.objects.using(database).update, bucket="the-former"))
        await clean(ledger, database, moved, times=3)
        replica = (await replicas_in(database))["A"]
    assert (replica.state, replica.error_code) == (ReplicaState.ERASING, "bucket_missing")
    assert not moved.calls


async def test_an_object_is_removed_when_the_row_of_its_file_is_gone(database: str) -> None:
    """Its process stood still: the clean-up found no object, then the put landed, and its removal failed."""
    async with ledger_on(database) as ledger:
        wanted, buckets = await taken_over(ledger, database)
        await clean(ledger, database, *buckets, times=3)
        assert not await files_in(database)
        put(buckets[1], wanted)
        assert not await ledger.conclude(receipt(wanted))
        await ledger.conclude(receipt(wanted, left="B"))
        file = (await files_in(database))["k"]
        assert (file.state, file.live) == (FileState.ERASING, False)
        assert await ledger.intend(intent()) is None  # another file has the key now
        await ask(database, partial(Replica.objects.using(database).update, due_at=AGO))
        await clean(ledger, database, *buckets, times=2)
        assert not buckets[1].objects
        assert [file.live for file in (await files_in(database)).values()] == [True]


async def test_a_lost_begin_is_aborted_when_its_file_was_stored(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted, results = intent(part_size=8), results_of(ledger, database)
        await ledger.intend(wanted)
        for upload_id in ("id", None):
            ledger.begun(wanted.id, "A", upload_id)
        assert await ledger.conclude(receipt(wanted))
        assert not await results.lost_uploads("A")  # it may still open
        notes = OpenUpload.objects.using(database)
        assert await ask(database, partial(notes.update, created_at=Now() - timedelta(minutes=2))) == 1
        bucket = accounts()[0]
        async with cleaner_of(ledger, database, bucket) as cleaner:
            bucket.faults["refuses_abort_lost"] = 1
            await cleaner.sweep(bucket.account.name)
            assert await ask(database, notes.exists)
            await cleaner.sweep(bucket.account.name)
        assert bucket.calls["abort_lost"] == 2
        assert not await ask(database, notes.exists)
