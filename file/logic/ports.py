"""The ports between the job and the world: an account with its bucket, an upload in it, and the ledger.

Promises: what goes wrong in an account raises `AccountError` and nothing else, so that the flow needs no knowledge of
S3. `tests/contract/` says what each promise means, for the memory bucket and for real servers alike.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from file.logic.values import Account, Digests, Intent, ObjectDescription, Part, Pending, Receipt, Stored


class Upload(Protocol):
    """One open multipart upload, with S3's `id` for it. Nothing of it is visible before `complete`."""

    id: str

    async def send(self, part: Part) -> None:
        """Send one part; parts may go at once and in any order. Sending the same part again is harmless."""

    async def complete(self, digests: Digests) -> Stored:
        """Publish: S3 joins the parts and checks size and checksum of the whole. A lost answer is found again."""

    async def abort(self) -> None:
        """Give it up. Returns when S3 no longer knows it; one that is completed or gone already is no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """What an account says of an object. `metadata` is all of it, ours too; not every store shows its `crc64nvme`.

    `may_lose_metadata`: the account has not shown the metadata of an object of ours yet, so that it may show none.
    """

    stored: Stored
    size: int
    content_type: str
    metadata: Mapping[str, str]
    crc64nvme: int | None
    last_modified: datetime
    may_lose_metadata: bool = False
    content_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUpload:
    """An open multipart upload. `begun` by our clock; None where the account does not say."""

    object_key: str
    upload_id: str
    begun: datetime | None


class Source(Protocol):
    """One account's bucket, to read from."""

    account: Account

    @property
    def has_room(self) -> bool:
        """For another reader: without it `read` waits, and may raise `AccountBusyError`."""

    def read(
        self, stored: Stored, *, file_id: str, start: int, stop: int, size: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes from `start` to before `stop` of an object of `size` bytes, in pieces of some 64 KiB.

        Entering asks S3, and raises `AccountError` if it cannot give the object, or has another than `stored` there;
        so does the iterator when the account fails on the way. Leaving early closes the connection.
        """


class StorageAccount(Source, Protocol):
    """One account and its bucket: everything that the service does there.

    Object keys are whole, with the account's prefix, but for those in an `ObjectDescription`. `slots` bounds the writes
    under way: take one before each.
    """

    slots: asyncio.Semaphore

    async def put(self, description: ObjectDescription, part: Part) -> Stored:
        """Store a file that fits one part. Never overwrites; a lost answer is found again by the file's id."""

    async def begin(self, description: ObjectDescription) -> Upload:
        """Open a multipart upload. Refuses early (`KeyOccupiedError`) if the key has an object."""

    async def find(self, object_key: str, file_id: str, checksum: str | None = None) -> Stored | None:
        """Our object under the key, or None if there is none or another's; or one that shows another `checksum`."""

    async def remove(
        self, object_key: str, file_id: str, version_id: str | None = None, etag: str | None = None
    ) -> int:
        """Leave no object and no version of this file under the key; others are not touched.

        `version_id`, `etag`: what the account said when it stored the object, if that is known. Ours is what carries
        the file's id, and what has that version, or that ETag and no file's id. Returning means that S3 was asked and
        said so. Raises `AccountError` when it cannot be ruled out: in a bucket that keeps versions and does not let us
        list them; `OwnershipUnknownError` for an object that may be ours and does not show it.
        Returns how many versions of others lie under the key.
        """

    async def abort(self, object_key: str, upload_id: str) -> None:
        """Give an upload up. Returns when S3 no longer knows it; one that is completed or gone already is no error."""

    async def abort_lost(self, object_key: str, *, since: datetime, until: datetime) -> None:
        """Abort the uploads under exactly this key begun between `since` and `until`: a `begin` of ours got lost."""

    def pages(self, under: str = "") -> AsyncGenerator[Sequence[str]]:
        """All object keys under the account's prefix and `under`, whoever put them there: page by page, in any order.

        Raises `AccountError`.
        """

    async def keys_behind(self, object_key: str) -> Sequence[str]:
        """One page of keys, in the order of the listing, from behind this one, which need not be there."""

    def open_uploads(self, under: str = "") -> AsyncGenerator[Sequence[ListedUpload]]:
        """The open multipart uploads there, page by page. Raises `AccountError`."""

    async def look(self, object_key: str) -> FoundObject | None:
        """The object under the key now, if there is one."""

    async def probe(self) -> None:
        """Returns if the account would take a file, as far as one cheap question can tell. Raises `AccountError`."""


class Ledger(Protocol):
    """The record of files. A key belongs to one file as long as it lives.

    From `intend` to `conclude` the upload has a lease, which the ledger renews by itself; so has a `Pending` replica
    from `conclude` to `follow`. What is under a lease that ran out is cleaned up by whoever finds it.
    """

    @property
    def installation(self) -> str:
        """The id that every object of this ledger's files carries."""

    async def intend(self, intent: Intent) -> Receipt | None:
        """Claim the key, durably, before the first byte leaves.

        Returns None: go on. Returns the receipt of an acknowledged file that this may be a repetition of (the same
        `idempotency_key`; or, without one, the same key): nothing is claimed, and the caller compares the bytes. An
        intent with an `expected_id` never claims: raises `ConditionFailedError` if another file has the key, or none.
        Raises `KeyTakenError`, `KeyBusyError`, `IdempotencyKeyBusyError`, `IdempotencyKeyReusedError` (another name),
        `BusyError`, `LedgerUnavailableError`.
        """

    def begun(self, file_id: str, account: str, upload_id: str | None) -> None:
        """Note a multipart upload of the file, for a clean-up; None: one that may be open, of which nobody has the id.

        Returns at once. Becomes durable soon; until then a clean-up looks for it by key and time.
        """

    async def conclude(self, receipt: Receipt) -> bool:
        """Record all outcomes, durably, before the answer.

        An acknowledged receipt: returns False if the lease was lost, and then the caller takes everything back; raises
        `LedgerUnavailableError` if it cannot be known, and then the caller deletes nothing. A receipt with failures
        frees the key, once nothing is left (`Removal.PENDING`: the clean-up goes on); never raises for these.
        """

    async def may_publish(self, file_id: str, account: str) -> bool:
        """Whether the file is still to be there, and the lease is still the caller's; if not, nothing is published.

        Raises `LedgerUnavailableError`.
        """

    async def follow(self, file_id: str, outcome: Stored | Pending) -> bool:
        """What became of it: it has the file, or does not yet.

        Gives the lease back. Returns False if the file is not to be there any more: the caller takes back what it
        stored.
        """
