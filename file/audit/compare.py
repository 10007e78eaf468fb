"""What an account shows of one replica: as it should be, nothing, or something else.

By HEAD: our file's id, the size, and the CRC64NVME that S3 keeps. Where the store shows none and the ETag is another
one, where the replica was found to be replaced before, and with `deep`, the object is read and hashed. Bytes that are
wrong once may have been damaged on the way: they are read again. Changes nothing.
"""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from awscrt.checksums import crc64nvme

from file.ledger.audit.replicas import REPLACED, Recorded
from file.logic.errors import AccountError, AccountFailingError, BucketMissingError, ReplicaMissingError
from file.logic.ports import FoundObject, StorageAccount
from file.logic.values import FILE_ID, Digests, Stored

T = TypeVar("T")

_READINGS = 2  # before bytes are called wrong
_LOOKS = 3  # at an object that is another one each time
_ATTEMPTS = 3
_LONGEST_PAUSE_SECONDS = 1.0


class Verdict(StrEnum):
    """Of one replica."""

    GOOD = "good"
    MISSING = "missing"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Seen:
    """`stored`: the object under the key, if there is one. `is_ours`: it carries the file's id, or is exactly what
    was stored. `why` in words."""

    verdict: Verdict
    stored: Stored | None = None
    is_ours: bool = False
    why: str = ""


async def judge(recorded: Recorded, bucket: StorageAccount, *, deep: bool = False) -> Seen:
    """Raises `AccountError` if the account does not tell."""
    account = bucket.account
    if recorded.bucket != account.s3_bucket_name:  # what lies in this one says nothing about that one
        raise BucketMissingError(account.name, "head", f"no longer has the bucket {recorded.bucket} configured")
    for _ in range(_LOOKS):
        found = await bucket.look(recorded.object_key)
        if found is None:
            await patiently(bucket.probe)  # a bucket that is gone is asked for its objects with 404, too
            return Seen(Verdict.MISSING, why="is not there")
        seen = _at_a_glance(recorded, found)
        if seen.verdict is not Verdict.GOOD or not (deep or _has_to_be_read(recorded, found)):
            return seen
        try:
            return await _read_through(recorded, found.stored, bucket)
        except ReplicaMissingError:
            continue  # another one since we looked
    raise AccountFailingError(account.name, "get", "has another object each time it is asked")


def _at_a_glance(recorded: Recorded, found: FoundObject) -> Seen:
    shown = found.metadata.get(FILE_ID)
    if shown != recorded.file_id and not (shown is None and found.may_lose_metadata and _is_same(recorded, found)):
        return Seen(Verdict.DIFFERS, found.stored, why="is somebody else's: it does not carry the file's id")
    if found.size != recorded.digests.size:
        why = f"has {found.size} bytes instead of {recorded.digests.size}"
        return Seen(Verdict.DIFFERS, found.stored, is_ours=True, why=why)
    if found.crc64nvme not in (None, recorded.digests.crc64nvme):
        return Seen(Verdict.DIFFERS, found.stored, is_ours=True, why="has another checksum")
    return Seen(Verdict.GOOD, found.stored, is_ours=True)


def _has_to_be_read(recorded: Recorded, found: FoundObject) -> bool:
    return recorded.error_code == REPLACED or (found.crc64nvme is None and not _is_same(recorded, found))


def _is_same(recorded: Recorded, found: FoundObject) -> bool:
    """Exactly what was stored, also where the store lost the metadata."""
    if recorded.version_id is not None:
        return found.stored.version_id == recorded.version_id
    return bool(recorded.etag) and found.stored.etag.strip('"') == (recorded.etag or "").strip('"')


async def _read_through(recorded: Recorded, stored: Stored, bucket: StorageAccount) -> Seen:
    """Raises `ReplicaMissingError` if it is not there any more."""
    for _ in range(_READINGS):
        if await patiently(lambda: _hashed(recorded, stored, bucket)) == recorded.digests:
            return Seen(Verdict.GOOD, stored, is_ours=True)
    return Seen(Verdict.DIFFERS, stored, is_ours=True, why="gives other bytes")


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Again, if it may help, before an account is said not to answer. Raises `AccountError`."""
    for attempt in range(_ATTEMPTS):
        try:
            return await ask()
        except AccountError as error:
            if not error.retryable or attempt + 1 == _ATTEMPTS:
                raise
        await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))  # noqa: S311 - jitter, no secret
    raise AssertionError  # the last attempt returns or raises


async def _hashed(recorded: Recorded, stored: Stored, bucket: StorageAccount) -> Digests:
    size, sha256, checksum, count = recorded.digests.size, hashlib.sha256(), 0, 0
    async with bucket.read(stored, file_id=recorded.file_id, start=0, stop=size, size=size) as pieces:
        async for piece in pieces:
            sha256.update(piece)
            checksum = crc64nvme(piece, checksum)
            count += len(piece)
    return Digests(count, sha256.digest(), checksum)
