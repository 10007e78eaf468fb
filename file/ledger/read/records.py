"""Reads the ledger: files by key and by id, listings, and unfinished replicas.

Promises: only acknowledged files exist here; the event loop never waits for the database; a failure of the database is
a `LedgerUnavailableError`. Leaves to others: the queries (`queries.py`), and writing.
"""

from dataclasses import dataclass

from django.db.models import QuerySet

from file.ledger.database.threads import ReadingThreads
from file.ledger.read.queries import (
    is_storable,
    listing,
    replicas_of_file,
    replicas_of_key,
    unfinished_replicas,
    uuid_of,
)
from file.ledger.read.receipts import erasure_of, receipt_of
from file.ledger.states import ACKNOWLEDGED
from file.logic.values import Erasure, FileState, Listed, Receipt, ReplicaState
from file.models import File, Installation, Replica


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """How many replicas of an account are in an unfinished state, and the age of the oldest one."""

    account: str
    state: ReplicaState
    count: int
    oldest_seconds: float


class Records:
    """Reads the database `alias`. Raises `LedgerUnavailableError`."""

    def __init__(self, alias: str = "default") -> None:
        self._alias = alias
        self._threads = ReadingThreads(alias)

    async def file(self, key: str) -> Receipt | None:
        """The receipt of the file that has the key now, if it is acknowledged."""
        return await self._threads.run(_receipt, replicas_of_key(self._alias, key)) if is_storable(key) else None

    async def receipt(self, file_id: str) -> Receipt | None:
        """The receipt of an acknowledged file. None for a text that is not an id."""
        found = uuid_of(file_id)
        return await self._threads.run(_receipt, replicas_of_file(self._alias, found)) if found else None

    async def erasure(self, file_id: str) -> Erasure | None:
        """The progress of an erasure; None if the file is not being erased."""
        found = uuid_of(file_id)
        return await self._threads.run(erasure_of, self._alias, str(found)) if found else None

    async def page(
        self, *, prefix: str = "", after: str = "", limit: int, state: FileState | None = None
    ) -> list[Listed]:
        """Acknowledged files in the order of the bytes of their keys, after `after`, the last key of the previous page.

        A `state` that no acknowledged file can have gives an empty page.
        """
        # No key has a NUL, so no key is between the text before it and its successor.
        after = after.partition("\0")[0]
        if not is_storable(prefix + after) or state not in (None, *ACKNOWLEDGED):
            return []
        rows = listing(self._alias, prefix=prefix, after=after, state=state)[:limit]
        return await self._threads.run(lambda: [_listed(file) for file in rows])

    async def pending(self) -> list[Unfinished]:
        """Unfinished work, one entry per account and state. Accounts without any are left out."""
        return await self._threads.run(_unfinished, self._alias)

    async def is_behind(self) -> bool:
        """Whether the ledger is known to be older than the objects in the accounts."""
        marked = Installation.objects.using(self._alias).filter(behind_at__isnull=False)
        return await self._threads.run(marked.exists)

    async def close(self) -> None:
        await self._threads.close()


def _receipt(rows: QuerySet[Replica]) -> Receipt | None:
    replicas = list(rows)
    return receipt_of(replicas[0].file, replicas) if replicas else None


def _listed(file: File) -> Listed:
    size, sha256, stored_at = file.size, file.sha256, file.stored_at
    assert size is not None  # an acknowledged file has all three, because they are written together
    assert sha256 is not None
    assert stored_at is not None
    return Listed(
        id=str(file.id),
        key=file.key,
        name=file.name,
        size=size,
        content_type=file.content_type,
        sha256=bytes.fromhex(sha256),
        state=FileState(file.state),
        created_at=file.created_at,
        stored_at=stored_at,
    )


def _unfinished(alias: str) -> list[Unfinished]:
    return [
        Unfinished(
            account=row["account"],
            state=ReplicaState(row["state"]),
            count=row["count"],
            oldest_seconds=max(0.0, (row["now"] - row["oldest"]).total_seconds()),
        )
        for row in unfinished_replicas(alias)
    ]
