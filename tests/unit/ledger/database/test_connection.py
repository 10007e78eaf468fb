"""PostgreSQL when another connection has locked a table: every wait has a limit, except that of a migration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from django.db import connections

from file.ledger.database.connection import with_ledger_options
from file.ledger.read.records import Records
from file.logic.errors import LedgerUnavailableError
from tests.databases import migrate, with_options
from tests.intents import intent, receipt
from tests.unit.ledger.looking import ask, execute, files_in, ledger_on

IMPATIENT = "-c lock_timeout=300ms -c statement_timeout=10s"


@asynccontextmanager
async def locked_table(database: str, table: str = "file_file") -> AsyncIterator[None]:
    """Another connection has it, as a migration would, until the block ends."""
    place = connections.settings[database]
    where = f"dbname={place['NAME']} host={place['HOST']} user={place['USER']}"
    other = await asyncio.to_thread(lambda: psycopg.connect(where))
    try:
        await asyncio.to_thread(other.execute, f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        await asyncio.to_thread(other.close)


async def test_a_claim_is_refused_and_removed_when_the_table_is_locked(postgresql_database: str) -> None:
    # The database itself would give it up much later.
    with with_options(postgresql_database, options="-c lock_timeout=300s -c statement_timeout=300s"):
        async with ledger_on(postgresql_database, wait_seconds=0.3) as ledger:
            async with locked_table(postgresql_database):
                with pytest.raises(LedgerUnavailableError):
                    await asyncio.wait_for(ledger.intend(intent()), 30)
            assert await ledger.intend(intent("later")) is None
    assert set(await files_in(postgresql_database)) == {"later"}


async def test_all_are_refused_together_when_the_table_is_locked(postgresql_database: str) -> None:
    """Claims, outcomes and readers wait for the same lock together, not one after the other."""
    wanted, records = intent("k"), Records(postgresql_database)
    with with_options(postgresql_database, options=IMPATIENT):
        async with ledger_on(postgresql_database, wait_seconds=60.0) as ledger:
            await ledger.intend(wanted)
            async with locked_table(postgresql_database):
                claims = (ledger.intend(intent(f"k{number}")) for number in range(200))
                asked = asyncio.gather(records.file("k"), *claims, return_exceptions=True)
                answers = await asyncio.wait_for(asked, 30)  # one after the other would take a minute
                assert all(isinstance(answer, LedgerUnavailableError) for answer in answers)
                concluding = asyncio.create_task(ledger.conclude(receipt(wanted)))
                await asyncio.sleep(1)  # several attempts long
                assert not concluding.done()
            assert await concluding
    await records.close()
    assert set(await files_in(postgresql_database)) == {"k"}


async def test_an_outcome_is_unknown_when_the_lock_does_not_go_in_time(postgresql_database: str) -> None:
    wanted = intent()
    with with_options(postgresql_database, options=IMPATIENT):
        async with ledger_on(postgresql_database, wait_seconds=0.5) as ledger:
            await ledger.intend(wanted)
            async with locked_table(postgresql_database, "file_replica"):
                with pytest.raises(LedgerUnavailableError):
                    await asyncio.wait_for(ledger.conclude(receipt(wanted)), 10)


async def test_a_statement_may_take_its_time_when_it_migrates(postgresql_database: str) -> None:
    def limits() -> list[str]:
        names = ("statement_timeout", "lock_timeout")
        return [limit for name in names for (limit,) in execute(postgresql_database, f"SHOW {name}")]

    def migrated() -> list[str]:
        migrate(postgresql_database)
        return limits()

    assert await ask(postgresql_database, limits) == ["10s", "5s"]
    assert await ask(postgresql_database, migrated) == ["0", "5s"]


def test_the_options_of_the_url_replace_ours() -> None:
    given = {"options": "-c lock_timeout=1s -c search_path=x", "tcp_user_timeout": "5", "sslmode": "require"}
    options = with_ledger_options({"ENGINE": "django.db.backends.postgresql", "OPTIONS": given})["OPTIONS"]
    assert options["options"].endswith(" -c lock_timeout=1s -c search_path=x")  # the last of two holds
    assert (options["tcp_user_timeout"], options["sslmode"], options["keepalives"]) == ("5", "require", 1)
