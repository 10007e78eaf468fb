"""Implements the port `StorageAccount` with S3 requests: writes, reads, lists, and cleans one account's bucket.

Every object carries our file's id. After a 412, a `NoSuchUpload`, or no answer, HEAD shows whether the object under the
key is ours; an equal object of others is never adopted. A read compares version, ETag, size, and our file's id before
it passes on the first byte, because the key may have a new object. A body is never in memory as a whole.
Leaves to others: the requests (`calls.py`), the content of one key (`objects.py`), listings (`listing.py`), and whether
the bytes of a read are right (`file/logic/reading.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from datetime import datetime

from file import metrics
from file.logic.errors import (
    AccountBusyError,
    AccountError,
    AccountFailingError,
    AccountUnreachableError,
    KeyOccupiedError,
    OwnershipUnknownError,
    PartRefusedError,
    ReplicaMissingError,
)
from file.logic.fanout.containment import contained, containing
from file.logic.ports import FoundObject, ListedUpload
from file.logic.values import Digests, ObjectDescription, Part, Stored, checksum_text
from file.s3 import calls, listing, objects
from file.s3.client import Answer, S3Client
from file.s3.errors import account_error
from file.s3.xml import complete_answer, upload_id


class S3Bucket:
    """`slots` limits the writes under way. `requests`, `reads`: how many may be under way.

    `pause_seconds`: the longest wait before a request of a listing is repeated; it then doubles.
    """

    def __init__(
        self,
        client: S3Client,
        *,
        requests: int,
        reads: int = 64,
        stall_seconds: float = 30.0,
        pause_seconds: float = 0.5,
    ) -> None:
        self.account = client.account
        self.slots = asyncio.Semaphore(requests)
        self.client = client
        self._reads = asyncio.Semaphore(reads)  # apart from the writes
        self._stall_seconds = stall_seconds
        self._pause_seconds = pause_seconds

    @contained("put")
    async def put(self, description: ObjectDescription, part: Part) -> Stored:
        """One PutObject."""
        if not self.account.conditional_writes:
            await self._refuse_occupied(description)
        key = self._key(description)
        try:
            answer = await self.client.write(calls.put(self.account, key, description, part))
            return objects.stored_object(self.account, key, answer, self.client.etag_of("put", answer))
        except AccountError as error:
            return await self._settle(description, "put", error, part.crc64nvme)

    @contained("begin")
    async def begin(self, description: ObjectDescription) -> "S3Upload":
        """CreateMultipartUpload."""
        await self._refuse_occupied(description)
        answer = await self.client.write(calls.begin(self.account, self._key(description), description))
        begun = self.client.told("begin", answer, self.client.understood("begin", upload_id, answer))
        return S3Upload(self, description, begun)

    @contained("head")
    async def find(self, object_key: str, file_id: str, checksum: str | None = None) -> Stored | None:
        return await objects.find_object(self.client, object_key, file_id, checksum)

    @contained("delete")
    async def remove(
        self, object_key: str, file_id: str, version_id: str | None = None, etag: str | None = None
    ) -> int:
        """Deletes every version of the file."""
        return await objects.remove_versions(self.client, object_key, objects.Written(file_id, version_id, etag))

    @contained("abort")
    async def abort(self, object_key: str, upload_id: str) -> None:
        await objects.abort_upload(self.client, object_key, upload_id)

    @contained("list_uploads")
    async def abort_lost(self, object_key: str, *, since: datetime, until: datetime) -> None:
        await objects.abort_uploads_between(self.client, object_key, since, until)

    @property
    def has_room(self) -> bool:
        return not self._reads.locked()

    @asynccontextmanager
    async def read(
        self, stored: Stored, *, file_id: str, start: int, stop: int, size: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """GetObject, or HEAD for no bytes. See `StorageAccount.read`."""
        name, seconds = self.account.name, self._stall_seconds
        call = calls.get(self.account, stored, start, stop, size)
        async with AsyncExitStack() as stack:
            try:  # a slow client keeps its slot, so that there may be none for a long time
                async with asyncio.timeout(seconds):
                    await stack.enter_async_context(self._reads)
            except TimeoutError:
                raise AccountBusyError(name, "get") from None
            with containing(name, "get"):
                answer, pieces = await stack.enter_async_context(self.client.streamed(call, stall_seconds=seconds))
                self._check_read(answer, call.headers.get("range"), stored, file_id, size)
            yield await stack.enter_async_context(aclosing(_counted(name, pieces, stop - start)))

    async def pages(self, under: str = "") -> AsyncGenerator[Sequence[str]]:
        with containing(self.account.name, "list_objects"):
            async for keys in listing.object_pages(self.client, self.account.prefix + under, self._pause_seconds):
                yield keys

    async def open_uploads(self, under: str = "") -> AsyncGenerator[Sequence[ListedUpload]]:
        with containing(self.account.name, "list_uploads"):
            async for uploads in listing.uploads_by_our_clock(self.client, self.account.prefix + under):
                yield uploads

    @contained("list_objects")
    async def keys_behind(self, object_key: str) -> Sequence[str]:
        return await listing.keys_behind(self.client, object_key, self._pause_seconds)

    @contained("head")
    async def look(self, object_key: str) -> FoundObject | None:
        answer = await listing.patiently(lambda: objects.look(self.client, object_key), self._pause_seconds)
        return None if answer is None else objects.found_object(self.client, object_key, answer)

    def repeats(self, operation: str) -> None:
        metrics.S3_RETRIES.labels(self.account.name, operation).inc()

    @contained("probe")
    async def probe(self) -> None:
        """A cheap request: may these credentials list this bucket? Raises `AccountError`."""
        await self.client.brief(calls.probe())

    def _key(self, description: ObjectDescription) -> str:
        return self.account.prefix + description.key

    async def _refuse_occupied(self, description: ObjectDescription) -> None:
        """Checks the key before the bytes are sent. S3's own condition still applies at the end."""
        found = await objects.look(self.client, self._key(description))
        if found is not None and objects.file_id_of(self.client, found) != description.file_id:
            raise KeyOccupiedError(self.account.name, "head")

    def _check_read(self, answer: Answer, asked: str | None, stored: Stored, file_id: str, size: int) -> None:
        """Raises `AccountError` for another object, or for other bytes than the range that was `asked` for."""
        etag = self.client.etag_of("get", answer)
        there = answer.headers.get("content-length" if asked is None else "content-range", "")
        if answer.status != (200 if asked is None else 206) or not there:
            raise self.client.not_understood("get", answer)
        is_same = not stored.etag or calls.bare_etag(etag) == calls.bare_etag(stored.etag)
        # A store may lose the metadata. A numbered version never changes; an equal object without one may be another's.
        is_numbered = bool(stored.version_id) and self.account.versions and not self.client.shows_metadata
        shown = objects.file_id_of(self.client, answer)
        is_ours = shown == file_id or (shown is None and is_numbered)
        if not (is_ours and is_same and there.rpartition("/")[2] == str(size)):
            raise ReplicaMissingError(self.account.name, "get", request_id=answer.request_id)
        if asked is not None and there != f"{asked.replace('=', ' ')}/{size}":
            raise self.client.not_understood("get", answer)

    async def _settle(
        self, description: ObjectDescription, operation: str, error: AccountError, crc64nvme: int
    ) -> Stored:
        """Finds the result of a put or complete that was refused as a repetition, or got no answer.

        Returns `Stored` if our object is there. Otherwise raises `KeyOccupiedError`, or `error` itself. This also finds
        revoked credentials: S3's early 403 is often lost with the connection that it closed.
        """
        if not (error.unanswered or isinstance(error, KeyOccupiedError) or error.s3_code == "NoSuchUpload"):
            raise error
        key = self._key(description)
        try:
            found = await objects.look(self.client, key)
        except AccountError as unknown:
            unknown.unanswered = True  # the result of the write is still unknown
            raise
        if found is None:
            raise error
        if objects.file_id_of(self.client, found) != description.file_id:
            # After a 412, nothing of this request is stored; without an answer, it may be.
            written = objects.Written(description.file_id)
            if error.unanswered and objects.owner_of(self.client, found, written) is objects.Owner.UNKNOWN:
                raise OwnershipUnknownError(self.account.name, operation, unanswered=True) from error
            raise KeyOccupiedError(self.account.name, operation) from error
        # S3 checked the bytes when it stored them. If it shows its checksum, it is compared again.
        if found.headers.get(calls.CHECKSUM, expected := checksum_text(crc64nvme)) != expected:
            raise PartRefusedError(
                self.account.name, operation, "keeps other bytes than we sent", unanswered=True
            ) from error
        return objects.stored_object(self.account, key, found)


class S3Upload:
    """One open multipart upload and the ETags of its parts."""

    def __init__(self, bucket: S3Bucket, description: ObjectDescription, id: str) -> None:
        self.id = id
        self.account = bucket.account
        self._bucket = bucket
        self._description = description
        self._key = bucket._key(description)
        self._sent: dict[int, calls.SentPart] = {}

    @contained("part")
    async def send(self, part: Part) -> None:
        """UploadPart."""
        client, call = self._bucket.client, calls.send(self.account, self._key, self.id, part)
        answer = await client.write(call)
        self._sent[part.number] = part.number, client.etag_of("part", answer), call.headers.get(calls.CHECKSUM)

    @contained("complete")
    async def complete(self, digests: Digests) -> Stored:
        """CompleteMultipartUpload, which may answer 200 with an error inside."""
        client, account = self._bucket.client, self.account
        call = calls.complete(account, self._key, self.id, list(self._sent.values()), digests)
        try:
            answer = await client.write(call)
            completed = client.understood("complete", complete_answer, answer)
            if completed.code is not None:
                raise account_error(account, "complete", 500, completed.code)
            etag = client.told("complete", answer, completed.etag or "")
            if completed.checksum not in (None, checksum_text(digests.crc64nvme)):
                raise PartRefusedError(account.name, "complete", "joined other bytes than we sent", unanswered=True)
        except AccountError as error:
            return await self._bucket._settle(self._description, "complete", error, digests.crc64nvme)
        return objects.stored_object(account, self._key, answer, etag)

    @contained("abort")
    async def abort(self) -> None:
        """AbortMultipartUpload, until S3 no longer knows the upload."""
        await objects.abort_upload(self._bucket.client, self._key, self.id)


async def _counted(account: str, pieces: AsyncIterator[bytes], expected: int) -> AsyncGenerator[bytes]:
    """Exactly the `expected` number of bytes, independent of headers. Raises `AccountError` for more or fewer."""
    with containing(account, "get"):
        async for piece in pieces:
            if len(piece) > expected:
                raise AccountFailingError(account, "get", "gave more bytes than it has")
            expected -= len(piece)
            yield piece
    if expected:
        raise AccountUnreachableError(account, "get", "ended its answer before the last byte")
