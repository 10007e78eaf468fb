"""For the tests of the flow: an upload straight into it, and what it leaves."""

import dataclasses
from collections.abc import AsyncIterator, Iterable, Sequence

from file.logic.accounts.hashes import AccountHashes
from file.logic.fanout.stragglers import Stragglers
from file.logic.handleinmultipleaccounts import handle_in_multiple_accounts
from file.logic.memory.budget import Budget
from file.logic.naming import new_file_id
from file.logic.ports import Ledger
from file.logic.values import Ack, DeclaredDigest, Identity, IncomingFile, Limits, Receipt
from testkit.memorybucket import MemoryBucket
from testkit.memoryledger import MemoryLedger

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

HASHES = AccountHashes([b"the key of the tests"])
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
    ledger: Ledger | None = None,
    limits: Limits = LIMITS,
    ack: str = "all",
    stragglers: Stragglers | None = None,
    idempotency_key: str | None = None,
) -> Receipt:
    """Straight into the flow. Without `stragglers` it waits for the accounts that go on."""
    file = IncomingFile(
        id=new_file_id(),
        chunks=chunks or chunks_of(content),
        identify=lambda: Identity(key, key),
        size=size if size is not None else len(content) if declared else None,
        declared=() if sha256 is None else (DeclaredDigest("sha-256", sha256, "a test"),),
        who="tests",
        idempotency_key=idempotency_key,
    )
    budget, ledger = budget or Budget(LIMITS.memory), ledger or MemoryLedger()
    followers = stragglers or Stragglers(ledger, limits)
    try:
        return await handle_in_multiple_accounts(
            file,
            buckets,
            ack=Ack(ack),
            limits=limits,
            budget=budget,
            ledger=ledger,
            stragglers=followers,
            hashes=HASHES,
        )
    finally:
        if stragglers is None:
            await followers.drain(5)
            assert budget.used == 0


def buckets(**of_b: int) -> list[MemoryBucket]:
    return [MemoryBucket("A"), MemoryBucket("B", faults=of_b), MemoryBucket("C")]


def assert_nothing_left(among: Iterable[MemoryBucket]) -> None:
    for bucket in among:
        assert not bucket.objects, bucket.account.name
        assert not bucket.uploads, bucket.account.name
