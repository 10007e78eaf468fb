"""One replica that is due in a retired account, on both databases: it is looked for, and nothing is brought."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from awscrt.checksums import crc64nvme
from django.db.models.functions import Now

from file.ledger.read.records import Records
from file.ledger.work.claims import Claims
from file.ledger.work.results import Results
from file.logic.accounts.placement import Placement
from file.logic.memory.budget import Budget, Share
from file.logic.values import FILE_ID, FileState, MiB, ReplicaState, checksum_text
from file.models import File, RetiredAccount
from file.repair.replication import Replication
from testkit.memorybucket import MemoryBucket, MemoryObject
from tests.buckets import registry_of
from tests.files import digests_of
from tests.flow import HASHES, LIMITS
from tests.unit.ledger.looking import ask, ledger_on
from tests.unit.ledger.rows import PREFIX, make_file, state_of, states

BODY = b"abc"


@asynccontextmanager
async def replication(database: str, placement: Placement) -> AsyncIterator[tuple[Replication, Claims]]:
    async with ledger_on(database) as ledger:
        claims = Claims(ledger.writer, database, under_way=(), claim_seconds=30)
        results, records = Results(ledger.writer, database, settle_seconds=0), Records(database)
        yield (
            Replication(claims, results, records, placement, ledger, HASHES, LIMITS, Share(Budget(MiB))),
            claims,
        )
        await records.close()


async def a_file_that_c_lacks(database: str) -> str:
    digests = {"sha256": digests_of(BODY).sha256.hex(), "crc64nvme": checksum_text(crc64nvme(BODY))}
    made = partial(make_file, database, "k", {"A": "stored", "C": "pending"}, **digests)
    file_id: str = await ask(database, made)
    return file_id


async def settle(database: str, a: MemoryBucket, c: MemoryBucket, *, is_retired: bool) -> None:
    """The registry says that C is retired; whether the ledger says so by now, is another matter."""
    if is_retired:
        rows = RetiredAccount.objects.using(database)
        await ask(database, lambda: rows.create(name="C", keeps=True, retired_at=Now()))
    placement = Placement(registry_of([a, c]))
    placement.registry.retired = frozenset("C")
    async with replication(database, placement) as (replicas, claims):
        [due] = await claims.claim("C", ReplicaState.PENDING, 9)
        await replicas.bring(due)
    assert not {"put", "begin"} & set(c.calls)


@pytest.fixture
def buckets() -> tuple[MemoryBucket, MemoryBucket]:
    return MemoryBucket("A", prefix=PREFIX), MemoryBucket("C", prefix=PREFIX)


async def test_it_is_given_up_when_the_account_lacks_it(
    database: str, buckets: tuple[MemoryBucket, MemoryBucket]
) -> None:
    await a_file_that_c_lacks(database)
    await settle(database, *buckets, is_retired=True)
    assert (await ask(database, partial(states, database, "k")))["C"] == ("erasing", None)
    assert await ask(database, partial(state_of, database, "k")) == FileState.STORED


async def test_it_is_stored_when_the_account_has_it(database: str, buckets: tuple[MemoryBucket, MemoryBucket]) -> None:
    file_id = await a_file_that_c_lacks(database)
    buckets[1].objects[f"{PREFIX}k"] = MemoryObject(BODY, {FILE_ID: file_id}, "text/plain")
    await settle(database, *buckets, is_retired=True)
    assert (await ask(database, partial(states, database, "k")))["C"] == ("stored", None)


async def test_it_is_left_as_it_is_when_the_account_was_taken_back_meanwhile(
    database: str, buckets: tuple[MemoryBucket, MemoryBucket]
) -> None:
    await a_file_that_c_lacks(database)
    await settle(database, *buckets, is_retired=False)
    assert (await ask(database, partial(states, database, "k")))["C"] == ("pending", None)
    files = File.objects.using(database).filter(replicas__account="C", replicas__owner=None)
    assert await ask(database, files.exists)
