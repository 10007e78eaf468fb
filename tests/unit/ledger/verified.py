"""Files for the tests of what verifying reads and writes in the ledger, and a look at what became of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from file.ledger.audit.replicas import Recorded, RecordedReplicas
from file.ledger.audit.verification import Demotion, Verification
from file.ledger.database.threads import ReadingThreads
from file.logic.values import Intent, Stored
from file.models import Replica
from tests.intents import intent, receipt
from tests.unit.ledger.looking import ask, ledger_on, replicas_in


@asynccontextmanager
async def threads_on(database: str) -> AsyncIterator[ReadingThreads]:
    threads = ReadingThreads(database, count=1)
    try:
        yield threads
    finally:
        await threads.close()


async def add(database: str, *keys: str, behind: str = "") -> list[Intent]:
    intents = [intent(key) for key in keys]
    async with ledger_on(database) as ledger:
        for wanted in intents:
            await ledger.intend(wanted)
            assert await ledger.conclude(receipt(wanted, behind=behind))
    return intents


async def recorded_in(database: str, name: str, prefix: str = "") -> dict[str, Recorded]:
    """Everything that the account is to show, by key."""
    async with threads_on(database) as threads:
        batches = [batch async for batch, _ in RecordedReplicas(threads, database).batches(name, prefix)]
    return {recorded.key: recorded for batch in batches for recorded in batch}


async def demoted(database: str, recorded: Recorded, code: str, **options: Any) -> Demotion:
    async with threads_on(database) as threads:
        return await Verification(threads, database).demote(recorded, code, **options)


async def states_in(database: str, key: str = "k") -> dict[str, tuple[str, str | None]]:
    return {name: (row.state, row.error_code) for name, row in (await replicas_in(database, key)).items()}


async def change(database: str, name: str, **fields: Any) -> None:
    await ask(database, lambda: Replica.objects.using(database).filter(account=name).update(**fields))


def shown(recorded: Recorded, **changes: Any) -> Stored:
    """What the account has, as it was stored."""
    told = {
        "account": recorded.account,
        "bucket": recorded.bucket,
        "object_key": recorded.object_key,
        "etag": recorded.etag,
        "version_id": recorded.version_id,
        "request_id": None,
    }
    return Stored(**{**told, **changes})
