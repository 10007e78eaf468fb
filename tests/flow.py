"""What the tests of the flow share: an upload straight into it, and what must be left behind it."""

import dataclasses
from collections.abc import AsyncIterator, Iterable, Sequence

from file.ledger.claims import ProcessClaims
from file.logic.budget import Budget
from file.logic.handleinmultipleaccounts import handle_in_multiple_accounts
from file.logic.naming import new_file_id
from file.logic.values import (
    Identity,
    IncomingFile,
    Limits,
    Receipt,
)
from tests.memory import MemoryBucket

PART = 1024
LIMITS = Limits(
    memory=64 * PART,
    part_size=PART,
    wait_seconds=0.5,
    stall_seconds=0.3,
    account_bytes_per_second=1 << 30,
    complete_seconds=0.5,
    remove_seconds=0.3,
    settle_seconds=0.05,
)

PATIENT = dataclasses.replace(LIMITS, stall_seconds=5.0)


async def chunks_of(content: bytes, size: int = 300) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def send(
    buckets: Sequence[MemoryBucket],
    content: bytes,
    *,
    key: str = "k",
    declared: bool = True,
    sha256: bytes | None = None,
    chunks: AsyncIterator[bytes] | None = None,
    size: int | None = None,
    budget: Budget | None = None,
    ledger: ProcessClaims | None = None,
    limits: Limits = LIMITS,
) -> Receipt:
    file = IncomingFile(
        id=new_file_id(),
        chunks=chunks or chunks_of(content),
        identify=lambda: Identity(key, key),
        size=size if size is not None else len(content) if declared else None,
        sha256=sha256,
    )
    budget = budget or Budget(LIMITS.memory)
    try:
        return await handle_in_multiple_accounts(
            file, buckets, limits=limits, budget=budget, ledger=ledger or ProcessClaims()
        )
    finally:
        assert budget.used == 0


def buckets(**of_b: int) -> list[MemoryBucket]:
    return [MemoryBucket("A"), MemoryBucket("B", faults=of_b), MemoryBucket("C")]


def assert_nothing_left(among: Iterable[MemoryBucket]) -> None:
    for bucket in among:
        assert not bucket.objects, bucket.account.name
        assert not bucket.uploads, bucket.account.name
