"""The interfaces between the logic and its surroundings: an account with its bucket, an upload in it, and the ledger.

Promises: a failure in an account raises `AccountError` and nothing else, so that the flow needs no knowledge of S3.
`tests/contract/` tests each promise, for the memory bucket and for real servers.
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
        """Sends one part; parts may be sent at the same time and in any order. A part may be sent again."""

    async def complete(self, digests: Digests) -> Stored:
        """Publishes: S3 joins the parts, and checks size and checksum of the whole. A lost answer is found again."""

    async def abort(self) -> None:
        """Aborts it. Returns when S3 no longer knows it; a completed or unknown upload is no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundObject:
    """What an account says about an object. `metadata`: all entries; not every store returns `crc64nvme`.

    `may_lose_metadata`: the account has not yet returned metadata for an object of ours, and may return none.
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
    """An open multipart upload. `begun`: its time by our clock; None if the account does not say."""

    object_key: str
    upload_id: str
    begun: datetime | None


class Source(Protocol):
    """The bucket of one account, for reading."""

    account: Account

    @property
    def has_room(self) -> bool:
        """Whether another reader may start: otherwise `read` waits, and may raise `AccountBusyError`."""

    def read(
        self, stored: Stored, *, file_id: str, start: int, stop: int, size: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The bytes from `start` to before `stop` of an object of `size` bytes, in pieces of about 64 KiB.

        Entering asks S3, and raises `AccountError` if it cannot return the object, or has another one than `stored`;
        so does the iterator if the account fails later. Leaving early closes the connection.
        """


class StorageAccount(Source, Protocol):
    """One account and its bucket: everything that the service does there.

    Object keys include the account's prefix, except in an `ObjectDescription`. `slots` limits the writes under way:
    take one before each write.
    """

    slots: asyncio.Semaphore

    async def put(self, description: ObjectDescription, part: Part) -> Stored:
        """Stores a file that fits one part. Never overwrites; a lost answer is found again by the file's id."""

    async def begin(self, description: ObjectDescription) -> Upload:
        """Opens a multipart upload. Raises `KeyOccupiedError` early if the key has an object."""

    async def find(self, object_key: str, file_id: str, checksum: str | None = None) -> Stored | None:
        """Our object under the key. None if there is none, if it is not ours, or if its `checksum` differs."""

    async def remove(
        self, object_key: str, file_id: str, version_id: str | None = None, etag: str | None = None
    ) -> int:
        """Removes all objects and versions of this file under the key; others are not touched.

        `version_id`, `etag`: from the answer when the object was stored, if known. An object is ours if it carries the
        file's id, or has that version, or has that ETag and no file id. After a return, S3 has confirmed that nothing
        is left. Raises `AccountError` if something may be left: in a bucket that keeps versions and does not allow to
        list them; `OwnershipUnknownError` for an object that may be ours.
        Returns the number of versions of others under the key.
        """

    async def abort(self, object_key: str, upload_id: str) -> None:
        """Aborts an upload. Returns when S3 no longer knows it; a completed or unknown upload is no error."""

    async def abort_lost(self, object_key: str, *, since: datetime, until: datetime) -> None:
        """Aborts the uploads under exactly this key that began from `since` to `until`: a `begin` was lost."""

    def pages(self, under: str = "") -> AsyncGenerator[Sequence[str]]:
        """All object keys under the account's prefix and `under`, also those of others: page by page, in any order.

        Raises `AccountError`.
        """

    async def keys_behind(self, object_key: str) -> Sequence[str]:
        """One page of keys after this one, in the order of the listing. The key itself need not exist."""

    def open_uploads(self, under: str = "") -> AsyncGenerator[Sequence[ListedUpload]]:
        """The open multipart uploads there, page by page. Raises `AccountError`."""

    async def look(self, object_key: str) -> FoundObject | None:
        """The object that the key has now, if there is one."""

    def repeats(self, operation: str) -> None:
        """Counts a call that is sent again: `begin`, `part`, `publish` or `remove`."""

    async def probe(self) -> None:
        """Returns if the account would probably accept a file, by one cheap request. Raises `AccountError`."""


class Ledger(Protocol):
    """The record of files. A key belongs to one file as long as it lives.

    An upload has a lease from `intend` to `conclude`, which the ledger renews; so has a `Pending` replica from
    `conclude` to `follow`. After the end of a lease, any process may clean up.
    """

    @property
    def installation(self) -> str:
        """The id that every object of this ledger carries."""

    async def intend(self, intent: Intent) -> Receipt | None:
        """Claims the key durably, before the first byte is sent.

        Returns None if the upload may go on. Returns a receipt if the request may repeat an acknowledged upload (the
        same `idempotency_key`; or, without one, the same key): nothing is claimed, and the caller compares the bytes.
        An intent with an `expected_id` never claims; it raises `ConditionFailedError` if not that file has the key.
        Raises `KeyTakenError`, `KeyBusyError`, `IdempotencyKeyBusyError`, `IdempotencyKeyReusedError` (another name),
        `BusyError`, `LedgerUnavailableError`.
        """

    def begun(self, file_id: str, account: str, upload_id: str | None) -> None:
        """Records a multipart upload for the clean-up. None: one may be open whose id is unknown.

        Returns at once. The record becomes durable soon; until then the clean-up searches by key and time.
        """

    async def conclude(self, receipt: Receipt) -> bool:
        """Records all outcomes durably, before the answer. A cancellation meanwhile has no effect.

        For an acknowledged receipt: returns False if the lease was lost: then the caller rolls back. Raises
        `LedgerUnavailableError` if the result is unknown: then the caller deletes nothing. A receipt with failures
        frees the key when nothing is left (`Removal.PENDING`: the clean-up continues); it never raises.
        """

    async def may_publish(self, file_id: str, account: str) -> bool:
        """Whether the file is still wanted, and the caller still has the lease; if not, nothing may be published.

        Raises `LedgerUnavailableError`.
        """

    async def follow(self, file_id: str, outcome: Stored | Pending) -> bool:
        """Records the outcome of a replica that went on after the receipt, and gives the lease back.

        Returns False if the file is no longer wanted: then the caller removes what it stored.
        """
