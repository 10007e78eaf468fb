"""The ledger when its database is locked, full, read-only or gone: nothing lost, nothing left, and then on again."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections

from file.logic.errors import LedgerUnavailableError
from file.logic.values import FileState, Intent
from file.models import File, Replica
from tests.databases import locked, with_options
from tests.intents import intent, receipt
from tests.unit.ledger.looking import ask, files_in, ledger_on


@contextmanager
def pragma(database: str, text: str) -> Iterator[None]:
    options = connections.settings[database]["OPTIONS"]
    with with_options(database, init_command=f"{options['init_command']} PRAGMA {text};"):
        yield


def end_connections(database: str) -> int:
    """PostgreSQL drops every connection to the database but the one that asks. Returns how many."""
    with connections[database].cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


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
    """Not one after the other, each of them after having waited for the same lock."""
    with with_options(sqlite_database, timeout=0.5):
        async with ledger_on(sqlite_database, wait_seconds=200.0) as ledger:
            with locked(sqlite_database):
                answers = await asyncio.wait_for(
                    asyncio.gather(
                        *(ledger.intend(intent(f"k{number}")) for number in range(200)), return_exceptions=True
                    ),
                    30,  # one after the other it would be a hundred
                )
            assert all(isinstance(answer, LedgerUnavailableError) for answer in answers)
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


async def test_nothing_is_left_when_the_disk_was_full(sqlite_database: str) -> None:
    large = {"x": "x" * 1_000_000}
    with pragma(sqlite_database, "max_page_count=1"):  # no page more than it has
        async with ledger_on(sqlite_database) as ledger:
            with pytest.raises(LedgerUnavailableError) as raised:
                await ledger.intend(intent("large", metadata=large))
            assert "full" in str(raised.value.__cause__)
            assert not await files_in(sqlite_database)
    async with ledger_on(sqlite_database) as ledger:
        assert await ledger.intend(intent("large", metadata=large)) is None


async def test_nothing_is_written_when_the_database_is_read_only(sqlite_database: str) -> None:
    """For root every file is writable; what SQLite answers is the same."""
    with pragma(sqlite_database, "query_only=ON"):
        async with ledger_on(sqlite_database) as ledger:
            with pytest.raises(LedgerUnavailableError) as raised:
                await ledger.intend(intent())
            assert "readonly" in str(raised.value.__cause__)
    assert not await files_in(sqlite_database)


async def test_the_ledger_goes_on_when_its_connection_was_ended(postgresql_database: str) -> None:
    wanted = intent()

    async def end() -> None:
        assert await ask(postgresql_database, lambda: end_connections(postgresql_database)) >= 1

    async with ledger_on(postgresql_database) as ledger:
        await ledger.intend(wanted)
        await end()
        assert await ledger.conclude(receipt(wanted))
        await end()
        assert await ledger.intend(intent("k2")) is None
        await end()
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
