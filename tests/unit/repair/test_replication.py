"""A replica that is due in a retired account, on both databases: it is looked for and not brought."""

from functools import partial

import pytest
from awscrt.checksums import crc64nvme
from django.db.models.functions import Now

from file.ledger.read.records import Records
from file.logic.accounts.placement import Placement
from file.logic.memory.budget import Budget, Share
from file.logic.values import FILE_ID, FileState, MiB, ReplicaState, checksum_text
from file.models import RetiredAccount
from file.repair.replication import Replication
from testkit.memorybucket import MemoryBucket, MemoryObject
from tests.buckets import registry_of
from tests.files import digests_of
from tests.flow import HASHES, LIMITS
from tests.unit.ledger.looking import ask, ledger_on, replicas_in
from tests.unit.ledger.rows import PREFIX, make_file, state_of
from tests.unit.ledger.working import claims_of, results_of

BODY = b"abc"


@pytest.mark.parametrize(
    ("has_object", "is_retired", "state", "file_state"),
    [
        (False, True, "erasing", FileState.STORED),
        (True, True, "stored", FileState.STORED),
        (False, False, "pending", FileState.PARTIAL),  # the registry does not know yet that C was unretired
    ],
    ids=["lacks it", "has it", "is unretired meanwhile"],
)
async def test_a_replica_is_not_brought_when_the_registry_has_its_account_as_retired(
    database: str, has_object: bool, is_retired: bool, state: str, file_state: FileState
) -> None:
    digests = {"sha256": digests_of(BODY).sha256.hex(), "crc64nvme": checksum_text(crc64nvme(BODY))}
    file_id = await ask(database, partial(make_file, database, "k", {"A": "stored", "C": "pending"}, **digests))
    a, c = MemoryBucket("A", prefix=PREFIX), MemoryBucket("C", prefix=PREFIX)
    if has_object:
        c.objects[f"{PREFIX}k"] = MemoryObject(BODY, {FILE_ID: file_id}, "text/plain")
    if is_retired:
        rows = RetiredAccount.objects.using(database)
        await ask(database, lambda: rows.create(name="C", keeps=True, retired_at=Now()))
    placement = Placement(registry_of([a, c]))
    placement.registry.retired = frozenset("C")
    async with ledger_on(database) as ledger:
        claims, results, records = claims_of(ledger, database), results_of(ledger, database), Records(database)
        [due] = await claims.claim("C", ReplicaState.PENDING, 9)
        share = Share(Budget(MiB))
        await Replication(claims, results, records, placement, ledger, HASHES, LIMITS, share).bring(due)
        await records.close()
    assert not {"put", "begin"} & set(c.calls)
    replica = (await replicas_in(database))["C"]
    assert (replica.state, replica.error_code, replica.owner) == (state, None, None)
    assert await ask(database, partial(state_of, database, "k")) == file_state
