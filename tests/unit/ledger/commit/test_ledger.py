"""What the ledger writes, and who wins when two processes want the same: beyond what every `Ledger` promises."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connections
from django.db.models.functions import Now

from file.logic.errors import (
    IdempotencyKeyBusyError,
    KeyBusyError,
    LedgerUnavailableError,
)
from file.logic.values import FileState, Receipt, ReplicaState
from file.models import File, OpenUpload, Replica
from tests.intents import intent, pending, receipt, stored
from tests.unit.ledger.looking import ask, files_in, ledger_on, replicas_in


async def test_the_rows_say_all_of_it_when_a_file_is_stored(database: str) -> None:
    wanted = intent(idempotency_key="once")
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        receiving = (await files_in(database))["k"]
        assert (receiving.state, receiving.live, receiving.wanted["A"]) == ("receiving", True, "bucket-a/of/ours/")
        assert receiving.owner is not None
        assert receiving.lease_until is not None
        assert timedelta(seconds=29) < receiving.lease_until - receiving.created_at < timedelta(seconds=31)
        assert await ledger.conclude(receipt(wanted, behind="C"))
    file, replicas = (await files_in(database))["k"], await replicas_in(database)
    assert (file.state, file.lease_until, file.size, file.crc64nvme) == ("partial", None, 3, "AAAAAAAAAAc=")
    assert file.metadata == {"colour": "blue"}
    assert file.stored_at is not None
    assert (replicas["A"].state, replicas["A"].etag, replicas["A"].due_at) == ("stored", '"etag"', None)
    assert (replicas["C"].state, replicas["C"].owner) == ("pending", file.owner)
    assert replicas["C"].due_at is not None


async def test_one_wins_when_two_processes_claim_the_same_keys(database: str) -> None:
    async with ledger_on(database) as one, ledger_on(database) as other:
        for turn in range(3):
            keys = [f"{turn}-{number}" for number in range(30)]
            answers = await asyncio.gather(
                *(one.intend(intent(key, idempotency_key=key)) for key in keys),
                *(other.intend(intent(key, idempotency_key=key)) for key in keys),
                return_exceptions=True,
            )
            for pair in zip(answers[:30], answers[30:], strict=True):
                assert pair.count(None) == 1, pair
                assert any(isinstance(answer, KeyBusyError | IdempotencyKeyBusyError) for answer in pair)


async def test_the_outcome_is_lost_when_another_process_took_the_file_over(database: str) -> None:
    wanted = intent()
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        await ask(database, partial(File.objects.using(database).update, state=FileState.ERASING))
        assert not await ledger.conclude(receipt(wanted))
        assert await ledger.conclude(receipt(wanted, gone="ABC"))  # left to whoever took it
    assert (await files_in(database))["k"].state == FileState.ERASING
    assert not await replicas_in(database)


async def test_claim_and_outcome_count_when_they_are_written_a_second_time(database: str) -> None:
    """As after a commit whose answer was lost."""
    wanted = intent()
    async with ledger_on(database) as ledger:
        assert await ledger.intend(wanted) is None
        assert await ledger.intend(wanted) is None
        assert await ledger.conclude(receipt(wanted))
        assert await ledger.conclude(receipt(wanted))
    assert len(await replicas_in(database)) == 3


async def test_a_claim_ends_when_it_was_taken_over_before_it_was_known(database: str) -> None:
    wanted = intent()
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        await ask(database, partial(File.objects.using(database).update, state=FileState.ERASING))
        with pytest.raises(KeyBusyError):
            await asyncio.wait_for(ledger.intend(wanted), 10)


@pytest.mark.parametrize(
    "change",
    [
        {"created_at": Now() - timedelta(hours=25)},
        {"state": FileState.ERASED, "live": False},
        {"state": FileState.ERASING},
    ],
    ids=["yesterday's", "erased", "being erased"],
)
async def test_an_idempotency_key_is_no_obstacle_when_its_file_is(database: str, change: dict[str, object]) -> None:
    first = intent("k1", idempotency_key="once")
    async with ledger_on(database) as ledger:
        await ledger.intend(first)
        await ledger.conclude(receipt(first))
        await ask(database, partial(File.objects.using(database).update, **change))
        assert await ledger.intend(intent("k2", idempotency_key="once", name="another")) is None
    assert (await files_in(database))["k1"].idempotency_key is None


async def test_the_lease_is_renewed_when_an_upload_takes_long(database: str) -> None:
    slow, done = intent("slow"), intent("done")

    async def leases() -> tuple[datetime | None, datetime | None]:
        files, replicas = await files_in(database), await replicas_in(database, "done")
        return files["slow"].lease_until, replicas["C"].due_at

    async with ledger_on(database, lease_seconds=1.5) as ledger:
        await ledger.intend(slow)
        await ledger.intend(done)
        await ledger.conclude(receipt(done, behind="C"))
        first = await leases()
        for _ in range(400):
            if all(now and then and now > then for now, then in zip(await leases(), first, strict=True)):
                break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the leases were not renewed")
        assert await ledger.conclude(receipt(slow))
        assert await ledger.follow(done.id, stored(done.places[2]))
        assert await leases() == (None, None)
        await asyncio.sleep(1)  # the next renewal comes, and leaves them alone
        assert await leases() == (None, None)
    assert {file.state for file in (await files_in(database)).values()} == {FileState.STORED}


async def test_the_key_waits_for_the_clean_up_when_something_may_be_left(database: str) -> None:
    wanted = intent(part_size=8, idempotency_key="once")
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        for account in "ABC":
            ledger.begun(wanted.id, account, f"upload-{account}")
        await ledger.conclude(receipt(wanted, left="B"))
        with pytest.raises(KeyBusyError):
            await ledger.intend(intent())
        assert await ledger.intend(intent("another", idempotency_key="once")) is None
    file, replicas = (await files_in(database))["k"], await replicas_in(database)
    assert (file.state, file.live, file.idempotency_key) == ("erasing", True, None)
    assert set(replicas) == {"B"}
    assert (replicas["B"].state, replicas["B"].error_code) == ("erasing", "account_unreachable")
    assert replicas["B"].due_at is not None
    uploads = OpenUpload.objects.using(database).values_list("account", "upload_id")
    assert await ask(database, partial(list, uploads)) == [("B", "upload-B")]


@pytest.mark.parametrize("ending", [receipt, partial(receipt, gone="ABC")], ids=["stored", "taken back"])
async def test_no_upload_is_noted_any_more_when_it_has_ended(database: str, ending: Callable[..., Receipt]) -> None:
    wanted = intent(part_size=8)
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        for account in "ABC":
            ledger.begun(wanted.id, account, f"upload-{account}")
        assert await ledger.conclude(ending(wanted))
    assert not await ask(database, OpenUpload.objects.using(database).exists)


@pytest.mark.parametrize(("retryable", "state"), [(True, "pending"), (False, "blocked")])
async def test_an_account_is_due_again_when_it_may_get_the_file_later(
    database: str, retryable: bool, state: str
) -> None:
    wanted = intent()
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        await ledger.conclude(receipt(wanted, behind="C"))
        outcome = pending(wanted.places[2], code="access_refused", retryable=retryable)
        assert await ledger.follow(wanted.id, outcome)
        assert await ledger.follow(wanted.id, outcome)  # it counts once: the lease was given back
    replica = (await replicas_in(database))["C"]
    assert (replica.state, replica.owner, replica.error_code, replica.attempts) == (state, None, "access_refused", 1)
    assert (replica.due_at is not None) is retryable


async def test_nothing_is_taken_back_when_the_clean_up_counts_on_what_a_straggler_stored(database: str) -> None:
    wanted = intent()
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        await ledger.conclude(receipt(wanted, behind="C"))
        found = Replica.objects.using(database).filter(account="C")
        await ask(database, partial(found.update, owner=None, state=ReplicaState.STORED, due_at=None))
        assert await ledger.follow(wanted.id, stored(wanted.places[2]))
        await ask(database, partial(found.update, state=ReplicaState.ERASING))
        assert not await ledger.follow(wanted.id, stored(wanted.places[2]))


async def test_the_file_is_stored_when_its_last_two_accounts_end_at_once(postgresql_database: str) -> None:
    """In two processes: the second has to see what the first wrote."""
    async with ledger_on(postgresql_database) as one, ledger_on(postgresql_database) as other:
        await other.intend(intent("of the other"))
        owner = (await files_in(postgresql_database))["of the other"].owner
        for turn in range(20):
            wanted = intent(f"k{turn}")
            await one.intend(wanted)
            await one.conclude(receipt(wanted, behind="BC"))
            last = Replica.objects.using(postgresql_database).filter(file_id=wanted.id, account="C")
            await ask(postgresql_database, partial(last.update, owner=owner))
            followed = await asyncio.gather(
                one.follow(wanted.id, stored(wanted.places[1])), other.follow(wanted.id, stored(wanted.places[2]))
            )
            assert all(followed)
    files = await files_in(postgresql_database)
    assert not [key for key, file in files.items() if file.state == FileState.PARTIAL]


async def test_no_claim_is_left_when_its_upload_was_cancelled(database: str) -> None:
    async with ledger_on(database) as ledger:
        for moment in range(12):
            claiming = asyncio.create_task(ledger.intend(intent(f"k{moment}")))
            for _ in range(moment):
                await asyncio.sleep(0.0005)
            claiming.cancel()
            await asyncio.wait((claiming,))
            if not claiming.cancelled():
                assert claiming.result() is None
                await ask(database, File.objects.using(database).filter(key=f"k{moment}").delete)
    assert not await files_in(database)


async def test_everything_queued_is_written_when_the_ledger_stops(database: str) -> None:
    async with ledger_on(database) as ledger:
        claims = [asyncio.create_task(ledger.intend(intent(f"k{number}"))) for number in range(300)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*claims) == [None] * 300
    with pytest.raises(LedgerUnavailableError):
        await ledger.intend(intent("late"))


async def test_the_connection_stays_open_when_a_key_is_busy(database: str) -> None:
    async with ledger_on(database) as ledger:
        await ledger.intend(intent())
        connection = await ledger.writer.run(lambda: connections[database].connection)
        with pytest.raises(KeyBusyError):
            await ledger.intend(intent())
        assert await ledger.writer.run(lambda: connections[database].connection is connection)
