"""Files for the tests of what verifying reads and writes in the ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from file.ledger.audit.replicas import Recorded, Replicas
from file.ledger.audit.verification import Demotion, Verification
from file.ledger.database.threads import ReadingThreads
from file.logic.values import Intent, Place, Stored
from tests.intents import stored
from tests.unit.ledger.looking import ledger_on, replicas_in
from tests.unit.ledger.working import acknowledged


@asynccontextmanager
async def threads_on(database: str) -> AsyncIterator[ReadingThreads]:
    threads = ReadingThreads(database, count=1)
    try:
        yield threads
    finally:
        await threads.close()


@asynccontextmanager
async def verifying(database: str) -> AsyncIterator[Verification]:
    async with threads_on(database) as threads:
        yield Verification(threads, database)


async def add(database: str, *keys: str, behind: str = "") -> list[Intent]:
    async with ledger_on(database) as ledger:
        return [await acknowledged(ledger, key, behind=behind) for key in keys]


async def recorded_in(database: str, name: str, prefix: str = "") -> dict[str, Recorded]:
    """The replicas that the account has to show, by key."""
    async with threads_on(database) as threads:
        batches = [batch async for batch, _ in Replicas(threads, database).batches(name, prefix)]
    return {recorded.key: recorded for batch in batches for recorded in batch}


async def demoted(database: str, recorded: Recorded, code: str, **options: Any) -> Demotion:
    async with verifying(database) as verification:
        return await verification.demote(recorded, code, **options)


async def states_in(database: str, key: str = "k") -> dict[str, tuple[str, str | None]]:
    return {name: (row.state, row.error_code) for name, row in (await replicas_in(database, key)).items()}


def shown(recorded: Recorded, **changes: Any) -> Stored:
    """What the account shows: the replica as it was stored."""
    place = Place(recorded.account, recorded.bucket, recorded.object_key)
    return stored(place, **{"etag": recorded.etag, "version_id": recorded.version_id, "request_id": None, **changes})
