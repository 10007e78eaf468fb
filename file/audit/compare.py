"""Compares a replica in an account with the ledger: it is good, missing, or different.

One HEAD gives our file's id, the size, and the CRC64NVME that S3 keeps. The object is read and hashed in three cases:
the store shows no checksum and the ETag differs; the replica was already found replaced; or `deep` is given. Wrong
bytes may have been damaged on the way: they are read again before they count. Only `mark` changes anything.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypeVar

from file.audit.findings import Finding
from file.ledger.audit.replicas import MISSING, REPLACED, Recorded
from file.ledger.audit.verification import Verification
from file.logic.backoff import retried
from file.logic.errors import AccountFailingError, BucketMissingError, ReplicaMissingError
from file.logic.hashing import digests_of
from file.logic.ports import FoundObject, StorageAccount
from file.logic.values import FILE_ID, Digests, Stored

T = TypeVar("T")

_READINGS = 2  # before bytes count as wrong
_LOOKS = 3  # at an object that is another one each time
_ATTEMPTS = 3
_PAUSE_SECONDS = 1.0


class Result(StrEnum):
    GOOD = "good"
    MISSING = "missing"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`stored`: the object under the key, if there is one. `is_ours`: it has the file's id, or is exactly what
    was stored. `why`: a text.
    """

    result: Result
    stored: Stored | None = None
    is_ours: bool = False
    why: str = ""

    @property
    def code(self) -> str:
        """The replica's error code, if it is not good."""
        return MISSING if self.result is Result.MISSING else REPLACED


async def compare(recorded: Recorded, storage: StorageAccount, *, deep: bool = False) -> Comparison:
    """Raises `AccountError` if the account does not answer."""
    account = storage.account
    if recorded.bucket != account.s3_bucket_name:  # objects in this bucket say nothing about that one
        raise BucketMissingError(account.name, "head", f"no longer has the bucket {recorded.bucket} configured")
    for _ in range(_LOOKS):
        found = await storage.look(recorded.object_key)
        if found is None:
            await patiently(storage.probe)  # a bucket that is gone answers 404 for its objects, too
            return Comparison(Result.MISSING, why="is not there")
        seen = _compared(recorded, found)
        if seen.result is not Result.GOOD or not (deep or _has_to_be_read(recorded, found)):
            return seen
        try:
            return await _read_through(recorded, found.stored, storage)
        except ReplicaMissingError:
            continue  # another one since we looked
    raise AccountFailingError(account.name, "get", "has another object each time it is asked")


async def mark(
    verification: Verification,
    recorded: Recorded,
    seen: Comparison,
    *,
    dry_run: bool = False,
    gone: frozenset[str] = frozenset(),
) -> Finding:
    """Mark a wrong replica in the ledger. `gone`: the accounts that lack the file according to a dry run."""
    demotion = await verification.demote(recorded, seen.code, dry_run=dry_run, gone=gone)
    return finding_of(recorded, seen.code, demotion.change.value, seen.why, good_copies=demotion.good_copies)


def finding_of(recorded: Recorded, code: str, became: str, detail: str, *, good_copies: int | None = None) -> Finding:
    """A finding about this replica."""
    return Finding(
        code=code,
        account=recorded.account,
        key=recorded.object_key,
        detail=detail,
        became=became,
        file_id=recorded.file_id,
        good_copies=good_copies,
    )


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Retry temporary errors. Raises `AccountError`."""
    return await retried(ask, attempts=_ATTEMPTS, first_seconds=_PAUSE_SECONDS, longest_seconds=_PAUSE_SECONDS)


async def digests_of_object(storage: StorageAccount, stored: Stored, file_id: str, size: int) -> Digests:
    """Reads the object. Raises `AccountError`."""
    async with storage.read(stored, file_id=file_id, start=0, stop=size, size=size) as pieces:
        return await digests_of(pieces)


def _compared(recorded: Recorded, found: FoundObject) -> Comparison:
    shown = found.metadata.get(FILE_ID)
    if shown != recorded.file_id and not (shown is None and found.may_lose_metadata and _is_same(recorded, found)):
        return Comparison(Result.DIFFERS, found.stored, why="is not ours: it does not carry the file's id")
    if found.size != recorded.digests.size:
        why = f"has {found.size} bytes instead of {recorded.digests.size}"
        return Comparison(Result.DIFFERS, found.stored, is_ours=True, why=why)
    if found.crc64nvme not in (None, recorded.digests.crc64nvme):
        return Comparison(Result.DIFFERS, found.stored, is_ours=True, why="has another checksum")
    return Comparison(Result.GOOD, found.stored, is_ours=True)


def _has_to_be_read(recorded: Recorded, found: FoundObject) -> bool:
    return recorded.error_code == REPLACED or (found.crc64nvme is None and not _is_same(recorded, found))


def _is_same(recorded: Recorded, found: FoundObject) -> bool:
    """Whether it is exactly what was stored, also without metadata."""
    if recorded.version_id is not None:
        return found.stored.version_id == recorded.version_id
    return bool(recorded.etag) and found.stored.etag.strip('"') == (recorded.etag or "").strip('"')


async def _read_through(recorded: Recorded, stored: Stored, storage: StorageAccount) -> Comparison:
    """Raises `ReplicaMissingError` if it no longer exists."""
    read = partial(digests_of_object, storage, stored, recorded.file_id, recorded.digests.size)
    for _ in range(_READINGS):
        if await patiently(read) == recorded.digests:
            return Comparison(Result.GOOD, stored, is_ours=True)
    return Comparison(Result.DIFFERS, stored, is_ours=True, why="gives other bytes")
