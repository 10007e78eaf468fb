"""What the ledger writes, which of two processes wins, and what it does when its database is in trouble."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from django.db import connections
from django.db.models.functions import Now

from file.logic.errors import IdempotencyKeyBusyError, KeyBusyError, LedgerUnavailableError
from file.logic.values import FileState, Intent, Receipt, ReplicaState
from file.models import File, OpenUpload, Replica
from tests.databases import locked, with_options
from tests.intents import intent, pending, receipt, stored
from tests.service.receipts import answer_when
from tests.unit.ledger.looking import ask, change_files, change_replicas, execute, files_in, ledger_on, replicas_in
from tests.unit.ledger.working import acknowledged


async def test_the_rows_have_everything_when_a_file_is_stored(database: str) -> None:
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
        await change_files(database, state=FileState.ERASING)
        assert not await ledger.conclude(receipt(wanted))
        assert await ledger.conclude(receipt(wanted, gone="ABC"))  # the other process removes it
    assert (await files_in(database))["k"].state == FileState.ERASING
    assert not await replicas_in(database)


async def test_claim_and_outcome_count_when_they_are_written_a_second_time(database: str) -> None:
    """As after a commit whose answer was lost."""
    wanted = intent()
    async with ledger_on(database) as ledger:
        assert [await ledger.intend(wanted) for _ in range(2)] == [None, None]
        assert [await ledger.conclude(receipt(wanted)) for _ in range(2)] == [True, True]
    assert len(await replicas_in(database)) == 3


async def test_a_claim_ends_when_it_was_taken_over_before_it_was_known(database: str) -> None:
    wanted = intent()
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        await change_files(database, state=FileState.ERASING)
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
    async with ledger_on(database) as ledger:
        await acknowledged(ledger, "k1", idempotency_key="once")
        await change_files(database, **change)
        assert await ledger.intend(intent("k2", idempotency_key="once", name="another")) is None
    assert (await files_in(database))["k1"].idempotency_key is None


async def test_the_lease_is_renewed_when_an_upload_takes_long(database: str) -> None:
    slow = intent("slow")

    async def leases() -> tuple[datetime | None, datetime | None]:
        files, replicas = await files_in(database), await replicas_in(database, "done")
        return files["slow"].lease_until, replicas["C"].due_at

    async with ledger_on(database, lease_seconds=1.5) as ledger:
        await ledger.intend(slow)
        done = await acknowledged(ledger, "done", behind="C")
        first = await leases()
        await answer_when(
            leases, lambda now: all(new and old and new > old for new, old in zip(now, first, strict=True))
        )
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
async def test_no_upload_is_noted_when_it_has_ended(database: str, ending: Callable[..., Receipt]) -> None:
    wanted = intent(part_size=8)
    async with ledger_on(database) as ledger:
        await ledger.intend(wanted)
        for account in "ABC":
            ledger.begun(wanted.id, account, f"upload-{account}")
        assert await ledger.conclude(ending(wanted))
    assert not await ask(database, OpenUpload.objects.using(database).exists)


@pytest.mark.parametrize(("retryable", "state"), [(True, "pending"), (False, "blocked")])
async def test_an_account_is_due_again_when_it_may_retry(database: str, retryable: bool, state: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger, behind="C")
        outcome = pending(wanted.places[2], code="access_refused", retryable=retryable)
        assert await ledger.follow(wanted.id, outcome)
        assert await ledger.follow(wanted.id, outcome)  # it counts once: the lease has ended
    replica = (await replicas_in(database))["C"]
    assert (replica.state, replica.owner, replica.error_code, replica.attempts) == (state, None, "access_refused", 1)
    assert (replica.due_at is not None) is retryable


async def test_nothing_is_removed_when_the_clean_up_counts_on_what_a_straggler_stored(database: str) -> None:
    async with ledger_on(database) as ledger:
        wanted = await acknowledged(ledger, behind="C")
        await change_replicas(database, "C", owner=None, state=ReplicaState.STORED, due_at=None)
        assert await ledger.follow(wanted.id, stored(wanted.places[2]))
        await change_replicas(database, "C", state=ReplicaState.ERASING)
        assert not await ledger.follow(wanted.id, stored(wanted.places[2]))


async def test_the_file_is_stored_when_its_last_two_accounts_end_at_once(postgresql_database: str) -> None:
    """In two processes: the second has to see what the first wrote."""
    async with ledger_on(postgresql_database) as one, ledger_on(postgresql_database) as other:
        await other.intend(intent("of the other"))
        owner = (await files_in(postgresql_database))["of the other"].owner
        for turn in range(20):
            wanted = await acknowledged(one, f"k{turn}", behind="BC")
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


def end_connections(database: str) -> int:
    """PostgreSQL drops all other connections to the database. Returns how many."""
    [(ended,)] = execute(
        database,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    return int(ended)


async def test_nothing_is_left_when_the_database_was_locked(sqlite_database: str) -> None:
    with with_options(sqlite_database, timeout=0.2):
        async with ledger_on(sqlite_database) as ledger:
            with locked(sqlite_database), pytest.raises(LedgerUnavailableError) as raised:
                await ledger.intend(intent())
            assert "locked" in str(raised.value.__cause__)
            assert not await files_in(sqlite_database)
            assert await ledger.intend(intent()) is None
    assert set(await files_in(sqlite_database)) == {"k"}


async def test_many_are_refused_together_when_the_database_is_locked(sqlite_database: str) -> None:
    """They wait for the same lock together, not one after the other."""
    with with_options(sqlite_database, timeout=0.5):
        async with ledger_on(sqlite_database, wait_seconds=200.0) as ledger:
            with locked(sqlite_database):
                claims = asyncio.gather(
                    *(ledger.intend(intent(f"k{number}")) for number in range(200)), return_exceptions=True
                )
                answers = await asyncio.wait_for(claims, 30)  # one after the other would take 100 seconds
            assert all(isinstance(answer, LedgerUnavailableError) for answer in answers)
    assert not await files_in(sqlite_database)


async def test_an_outcome_is_recorded_when_the_lock_goes_in_time(sqlite_database: str) -> None:
    with with_options(sqlite_database, timeout=0.2):
        async with ledger_on(sqlite_database) as ledger:
            wanted = intent()
            await ledger.intend(wanted)
            with locked(sqlite_database):
                concluding = asyncio.create_task(ledger.conclude(receipt(wanted)))
                await asyncio.sleep(1)  # several attempts long
                assert not concluding.done()
            assert await concluding
    assert (await files_in(sqlite_database))["k"].state == FileState.STORED


async def test_an_outcome_is_unknown_when_the_lock_does_not_go_in_time(sqlite_database: str) -> None:
    with with_options(sqlite_database, timeout=0.2):
        async with ledger_on(sqlite_database, wait_seconds=0.5) as ledger:
            stays, goes = intent("stays"), intent("goes")
            await ledger.intend(stays)
            await ledger.intend(goes)
            with locked(sqlite_database):
                with pytest.raises(LedgerUnavailableError):
                    await ledger.conclude(receipt(stays))
                assert await ledger.conclude(receipt(goes, gone="ABC"))
    assert {file.state for file in (await files_in(sqlite_database)).values()} == {FileState.RECEIVING}


async def test_a_claim_is_withdrawn_or_given_back_when_it_waits_too_long(sqlite_database: str) -> None:
    # The database itself would wait much longer for the lock.
    with with_options(sqlite_database, timeout=300):
        async with ledger_on(sqlite_database, wait_seconds=0.3) as ledger:
            with locked(sqlite_database):
                taken = asyncio.create_task(ledger.intend(intent("taken")))
                await asyncio.sleep(0.1)  # the writer has it, and waits for the lock
                with pytest.raises(LedgerUnavailableError):
                    await ledger.intend(intent("waiting"))
                with pytest.raises(LedgerUnavailableError):
                    await asyncio.wait_for(taken, 30)
            assert await ledger.intend(intent("later")) is None
    assert set(await files_in(sqlite_database)) == {"later"}


# For root every file is writable; SQLite's answer to `query_only` is that of a read-only file.
@pytest.mark.parametrize(("setting", "says"), [("max_page_count=1", "full"), ("query_only=ON", "readonly")])
async def test_nothing_is_left_when_the_database_cannot_be_written(
    sqlite_database: str, setting: str, says: str
) -> None:
    large = {"x": "x" * 1_000_000}
    options = connections.settings[sqlite_database]["OPTIONS"]
    with with_options(sqlite_database, init_command=f"{options['init_command']} PRAGMA {setting};"):
        async with ledger_on(sqlite_database) as ledger:
            with pytest.raises(LedgerUnavailableError) as raised:
                await ledger.intend(intent("large", metadata=large))
            assert says in str(raised.value.__cause__)
            assert not await files_in(sqlite_database)
    async with ledger_on(sqlite_database) as ledger:
        assert await ledger.intend(intent("large", metadata=large)) is None


async def test_the_ledger_goes_on_when_its_connection_was_ended(postgresql_database: str) -> None:
    wanted, end = intent(), partial(ask, postgresql_database, partial(end_connections, postgresql_database))
    async with ledger_on(postgresql_database) as ledger:
        await ledger.intend(wanted)
        assert await end() >= 1
        assert await ledger.conclude(receipt(wanted))
        assert await end() >= 1
        assert await ledger.intend(intent("k2")) is None
        assert await end() >= 1
        assert await ledger.writer.run(File.objects.using(postgresql_database).count) == 2


async def test_what_was_acknowledged_is_there_when_connections_end_again_and_again(postgresql_database: str) -> None:
    acknowledged: set[str] = set()

    async def upload(wanted: Intent) -> None:
        try:
            await ledger.intend(wanted)
        except LedgerUnavailableError:
            return
        if await ledger.conclude(receipt(wanted)):
            acknowledged.add(wanted.id)

    async def disturb() -> None:
        for _ in range(3):
            await ask(postgresql_database, lambda: end_connections(postgresql_database))

    async with ledger_on(postgresql_database) as ledger:
        for turn in range(10):
            await asyncio.gather(disturb(), *(upload(intent(f"{turn}-{number}")) for number in range(20)))
    found = await files_in(postgresql_database)
    assert {str(file.pk) for file in found.values() if file.state == FileState.STORED} == acknowledged
    assert len(acknowledged) > 20
    assert await ask(postgresql_database, Replica.objects.using(postgresql_database).count) == 3 * len(acknowledged)


@pytest.mark.parametrize("bad", [{"metadata": {"x": float("nan")}}, {"name": "\ud800"}], ids=["refused", "not text"])
async def test_the_neighbours_are_written_when_one_row_cannot_be(database: str, bad: dict[str, object]) -> None:
    async with ledger_on(database) as ledger:
        first, second, third = await asyncio.gather(
            *(ledger.intend(each) for each in [intent("a"), intent("b", **bad), intent("c")]), return_exceptions=True
        )
        assert first is third is None
        assert isinstance(second, LedgerUnavailableError)
        assert second.__cause__ is not None
    assert set(await files_in(database)) == {"a", "c"}
