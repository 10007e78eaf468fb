"""The clean-up's steps, one by one: who is taken over, what is looked for, when it is over. With memory accounts."""

from collections.abc import AsyncIterator, Awaitable, Callable
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
from file.ledger.work.results import Results
from file.logic.errors import IdempotencyKeyBusyError
from file.logic.values import FILE_ID, FileState, Intent, ReplicaState
from file.models import File, OpenUpload, Replica
from file.repair.cleanup import Cleaner
from testkit.memorybucket import MemoryBucket, MemoryObject
from tests.buckets import registry_of
from tests.intents import failed, intent, receipt
from tests.unit.ledger.looking import ask, files_in, ledger_on, replicas_in

AGO = Now() - timedelta(seconds=1)
Told = dict[str, Any]


def claims_of(ledger: DatabaseLedger, database: str) -> Claims:
    """As another process has them: nothing is under way in it."""
    return Claims(ledger.writer, database, under_way=(), claim_seconds=30)


def results_of(ledger: DatabaseLedger, database: str) -> Results:
    return Results(ledger.writer, database, settle_seconds=0)


async def nothing_to_compare() -> None:
    """The ledger is not older than the accounts."""


@asynccontextmanager
async def cleaner_of(ledger: DatabaseLedger, database: str, *buckets: MemoryBucket) -> AsyncIterator[Cleaner]:
    claims, results, records = claims_of(ledger, database), results_of(ledger, database), Records(database)
    yield Cleaner(claims, results, records, registry_of(buckets), compare=nothing_to_compare, pause_seconds=60)
    await records.close()


async def begun(ledger: DatabaseLedger, database: str, **changes: Any) -> Intent:
    """An upload whose process is gone."""
    wanted = intent(**changes)
    assert await ledger.intend(wanted) is None
    await ask(database, partial(File.objects.using(database).update, lease_until=AGO))
    return wanted


async def behind(ledger: DatabaseLedger, database: str, **changes: Any) -> Intent:
    """A file that C does not have, due."""
    wanted = intent(**changes)
    assert await ledger.intend(wanted) is None
    assert await ledger.conclude(receipt(wanted, behind="C"))
    await ask(database, partial(Replica.objects.using(database).filter(account="C").update, due_at=AGO))
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


async def test_a_file_is_gone_and_its_key_free_when_every_account_said_twice_that_nothing_is_there(
    database: str,
) -> None:
    async with ledger_on(database) as ledger:
        wanted, buckets, claims = await begun(ledger, database), accounts(), claims_of(ledger, database)
        put(buckets[1], wanted)
        assert await claims.take_over() == 1
        await clean(ledger, database, *buckets)
        assert (await files_in(database))["k"].state == FileState.ERASING
        await clean(ledger, database, *buckets)
        assert not buckets[1].objects
        assert await ledger.intend(intent()) is None


async def test_what_lands_late_is_removed_when_its_key_is_another_s_already(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted, buckets, claims = await begun(ledger, database), accounts(), claims_of(ledger, database)
        await claims.take_over()
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
        assert await ask(database, File.objects.using(database).filter(pk=wanted.id).exists) is False
        assert await ledger.conclude(receipt(other))


async def test_the_key_is_kept_when_an_upload_may_be_open_that_only_the_key_tells(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted, buckets, claims = await begun(ledger, database, part_size=8), accounts(), claims_of(ledger, database)
        ledger.begun(wanted.id, "A", None)
        await claims.take_over()
        await clean(ledger, database, *buckets, times=2)
        assert (await files_in(database))["k"].live
        await clean(ledger, database, *buckets)
        assert not await files_in(database)


async def test_what_may_land_is_looked_for_when_an_upload_failed_without_an_answer(database: str) -> None:
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


async def test_nothing_is_taken_over_when_this_very_process_is_at_it(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await begun(ledger, database)
        mine = Claims(ledger.writer, database, under_way=ledger.under_way, claim_seconds=30)
        assert await mine.take_over() == 0
        assert await ledger.conclude(receipt(wanted))


async def test_an_idempotency_key_is_free_when_the_upload_that_died_was_taken_over(database: str) -> None:
    async with ledger_on(database) as ledger:
        await begun(ledger, database, idempotency_key="once")
        with pytest.raises(IdempotencyKeyBusyError):
            await ledger.intend(intent("k2", idempotency_key="once"))
        await claims_of(ledger, database).take_over()
        assert await ledger.intend(intent("k2", idempotency_key="once")) is None


Noted = list[str | None]


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
async def test_uploads_are_looked_for_by_key_when_one_may_be_open_that_nobody_has_the_id_of(
    database: str, noted: Noted, changes: Told, looks: bool
) -> None:
    async with ledger_on(database) as ledger:
        wanted = await behind(ledger, database, part_size=8)
        for upload_id in noted:
            ledger.begun(wanted.id, "C", upload_id)
        if changes:
            await ask(database, partial(Replica.objects.using(database).filter(account="C").update, **changes))
        [due] = await claims_of(ledger, database).claim("C", ReplicaState.PENDING, 10)
    assert due.upload_ids == tuple(upload_id for upload_id in noted if upload_id)
    assert (due.lost is not None) is looks


async def test_an_upload_begun_after_the_lease_had_ended_is_not_ours_when_none_was_noted(database: str) -> None:
    async with ledger_on(database) as ledger:
        await behind(ledger, database, part_size=8)
        await ask(database, partial(Replica.objects.using(database).filter(account="C").update, begun_until=AGO))
        ended = (await replicas_in(database))["C"].begun_until
        [due] = await claims_of(ledger, database).claim("C", ReplicaState.PENDING, 10)
    assert due.lost is not None
    assert ended is not None
    assert abs(due.lost[1] - ended) < timedelta(seconds=5)


async def test_earlier_uploads_are_not_looked_for_again_when_they_were_closed_before_a_begin(
    database: str,
) -> None:
    async with ledger_on(database) as ledger:
        await behind(ledger, database, part_size=8)
        claims, results = claims_of(ledger, database), results_of(ledger, database)
        [due] = await claims.claim("C", ReplicaState.PENDING, 10)
        assert due.lost is not None
        await claims.note(due, None)
        await claims.note(due, "id")
        await results.end_claim(due)
        # SQLite tells milliseconds: within the same one it is not due yet.
        await ask(database, partial(Replica.objects.using(database).filter(account="C").update, due_at=AGO))
        [again] = await claims.claim("C", ReplicaState.PENDING, 10)
    assert (again.lost, again.upload_ids) == (None, ("id",))


async def test_the_clean_up_stays_open_when_the_account_has_another_bucket_now(database: str) -> None:
    async with ledger_on(database) as ledger:
        await begun(ledger, database)
        claims, [moved, *_] = claims_of(ledger, database), accounts()
        await claims.take_over()
        await ask(database, partial(Replica.objects.using(database).update, bucket="the-former"))
        await clean(ledger, database, moved, times=3)
        replica = (await replicas_in(database))["A"]
    assert (replica.state, replica.error_code) == (ReplicaState.ERASING, "bucket_missing")
    assert not moved.calls


async def test_what_is_left_is_cleaned_up_when_its_row_was_let_go_before(database: str) -> None:
    """A process that stood still: the clean-up saw nothing; only then its put landed, and could not be taken back."""
    async with ledger_on(database) as ledger:
        wanted, buckets, claims = await begun(ledger, database), accounts(), claims_of(ledger, database)
        await claims.take_over()
        await clean(ledger, database, *buckets, times=3)
        assert not await files_in(database)
        put(buckets[1], wanted)
        assert not await ledger.conclude(receipt(wanted))
        await ledger.conclude(receipt(wanted, left="B"))
        file = (await files_in(database))["k"]
        assert (file.state, file.live) == (FileState.ERASING, False)
        assert await ledger.intend(intent()) is None  # the key is another's by now
        await ask(database, partial(Replica.objects.using(database).update, due_at=AGO))
        await clean(ledger, database, *buckets, times=2)
        assert not buckets[1].objects
        assert [file.live for file in (await files_in(database)).values()] == [True]


async def test_a_lost_begin_is_swept_when_the_file_was_stored_all_the_same(database: str) -> None:
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
            await refused(bucket, partial(cleaner.sweep, bucket.account.name))
            assert await ask(database, notes.exists)
            await cleaner.sweep(bucket.account.name)
        assert bucket.calls["abort_lost"] == 2
        assert not await ask(database, notes.exists)


async def refused(bucket: MemoryBucket, work: Callable[[], Awaitable[object]]) -> None:
    bucket.faults["refuses_abort_lost"] = 1
    await work()
