"""A bucket in memory: implements `StorageAccount` without S3, with faults by name.

`tests/contract/` tests it with the same tests as the real one, so that tests of the flow are realistic.
Faults: `refuses_put`, `refuses_begin`, `refuses_part`, `refuses_complete`, `stalls_at_part`, `drops_connection`,
`loses_put_reply`, `loses_complete_reply`, `refuses_remove`, `refuses_get`, `breaks_in_the_middle`,
`stalls_in_the_middle`, `damages_a_piece`. `given` counts the bytes that were read, `being_read` the readers.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from awscrt.checksums import crc64nvme

from file.logic.errors import (
    AccessRefusedError,
    AccountFailingError,
    AccountUnreachableError,
    KeyOccupiedError,
    PartRefusedError,
    ReplicaMissingError,
)
from file.logic.ports import FoundObject, ListedUpload
from file.logic.values import FILE_ID, Account, Digests, KiB, ObjectDescription, Part, Stored, checksum_text

PIECE = 64 * KiB  # bytes per piece when reading
PAGE = 2  # keys per page of a listing


@dataclass
class MemoryObject:
    body: bytes
    metadata: dict[str, str]
    content_type: str
    content_headers: dict[str, str] = field(default_factory=dict)


@dataclass
class OpenUpload:
    key: str
    begun: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


def account(name: str, prefix: str = "") -> Account:
    return Account(
        name=name,
        access_key_id="id",
        secret_access_key="secret",  # noqa: S106 - opens nothing
        region_name="eu-central-1",
        s3_bucket_name=f"bucket-{name.lower()}",
        prefix=prefix,
    )


class MemoryBucket:
    """`faults`: the name of a fault, and how often it still happens. `released` ends a stall."""

    def __init__(
        self, name: str, *, prefix: str = "", delay_seconds: float = 0.0, faults: dict[str, int] | None = None
    ) -> None:
        self.account = account(name, prefix)
        self.slots = asyncio.Semaphore(64)
        self.objects: dict[str, MemoryObject] = {}
        self.uploads: dict[str, OpenUpload] = {}
        self.calls: Counter[str] = Counter()
        self.faults = faults or {}
        self.delay_seconds = delay_seconds
        self.stalled = asyncio.Event()
        self.released = asyncio.Event()
        self.first_part = asyncio.Event()
        self.has_room = True
        self.being_read = 0
        self.given = 0
        self._next = 0

    def strikes(self, fault: str) -> bool:
        if self.faults.get(fault, 0) <= 0:
            return False
        self.faults[fault] -= 1
        return True

    async def put(self, description: ObjectDescription, part: Part) -> Stored:
        await self._meet("put")
        key = self._key(description)
        if key in self.objects:
            return self._settled(description)
        self.objects[key] = _object_of(description, bytes(part.body))
        if self.strikes("loses_put_reply"):
            raise AccountUnreachableError(self.account.name, "put", unanswered=True)
        return self._stored(key)

    async def begin(self, description: ObjectDescription) -> "MemoryUpload":
        await self._meet("begin")
        if self._key(description) in self.objects:
            raise KeyOccupiedError(self.account.name, "begin")
        self._next += 1
        upload_id = f"upload-{self._next}"
        self.uploads[upload_id] = OpenUpload(self._key(description), datetime.now(UTC))
        if self.strikes("loses_begin_reply"):
            raise AccountUnreachableError(self.account.name, "begin", unanswered=True)
        return MemoryUpload(self, description, upload_id)

    async def find(self, object_key: str, file_id: str, checksum: str | None = None) -> Stored | None:
        await self._meet("find")
        if not self._is_ours(object_key, file_id):
            return None
        found = checksum_text(crc64nvme(self.objects[object_key].body))
        return self._stored(object_key) if checksum in (None, found) else None

    @asynccontextmanager
    async def read(
        self, stored: Stored, *, file_id: str, start: int, stop: int, size: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        await self._meet("get")
        key = stored.object_key
        if not self._is_ours(key, file_id) or len(self.objects[key].body) != size or self._etag(key) != stored.etag:
            raise ReplicaMissingError(self.account.name, "get")
        async with aclosing(self._pieces(self.objects[key].body[start:stop])) as pieces:
            self.being_read += 1
            try:
                yield pieces
            finally:
                self.being_read -= 1

    async def _pieces(self, body: bytes) -> AsyncGenerator[bytes]:
        for begin in range(0, len(body), PIECE):
            if begin > PIECE and self.strikes("stalls_in_the_middle"):
                self.stalled.set()
                await self.released.wait()
            if begin > PIECE and self.strikes("breaks_in_the_middle"):
                raise AccountUnreachableError(self.account.name, "get")
            piece = body[begin : begin + PIECE]
            if self.strikes("damages_a_piece"):
                piece = bytes([piece[0] ^ 1]) + piece[1:]
            self.given += len(piece)
            yield piece

    async def remove(
        self, object_key: str, file_id: str, version_id: str | None = None, etag: str | None = None
    ) -> int:
        await self._meet("remove")
        if self._is_ours(object_key, file_id):
            del self.objects[object_key]
        return int(object_key in self.objects)

    async def abort(self, object_key: str, upload_id: str) -> None:
        await self._meet("abort")
        if upload_id in self.uploads and self.uploads[upload_id].key == object_key:
            del self.uploads[upload_id]

    async def abort_lost(self, object_key: str, *, since: datetime, until: datetime) -> None:
        await self._meet("abort_lost")
        for upload_id, upload in list(self.uploads.items()):
            if upload.key == object_key and since <= upload.begun <= until:
                del self.uploads[upload_id]

    async def pages(self, under: str = "") -> AsyncGenerator[Sequence[str]]:
        keys = sorted(key for key in self.objects if key.startswith(self.account.prefix + under))
        for start in range(0, len(keys), PAGE):
            await self._meet("list")
            yield keys[start : start + PAGE]

    async def open_uploads(self, under: str = "") -> AsyncGenerator[Sequence[ListedUpload]]:
        await self._meet("list_uploads")
        yield [
            ListedUpload(object_key=upload.key, upload_id=upload_id, begun=upload.begun)
            for upload_id, upload in self.uploads.items()
            if upload.key.startswith(self.account.prefix + under)
        ]

    async def keys_behind(self, object_key: str) -> Sequence[str]:
        await self._meet("list")
        return sorted(key for key in self.objects if key > object_key)

    async def look(self, object_key: str) -> FoundObject | None:
        await self._meet("look")
        if object_key not in self.objects:
            return None
        found = self.objects[object_key]
        return FoundObject(
            stored=self._stored(object_key),
            size=len(found.body),
            content_type=found.content_type,
            content_headers=found.content_headers,
            metadata=found.metadata,
            crc64nvme=crc64nvme(found.body),
            last_modified=datetime.now(UTC),
        )

    def repeats(self, operation: str) -> None:
        self.calls[f"repeats_{operation}"] += 1

    async def probe(self) -> None:
        await self._meet("probe")

    def _key(self, description: ObjectDescription) -> str:
        return self.account.prefix + description.key

    async def _meet(self, operation: str) -> None:
        self.calls[operation] += 1
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.strikes(f"refuses_{operation}"):
            raise AccessRefusedError(self.account.name, operation)
        if self.strikes(f"fails_{operation}"):
            raise AccountFailingError(self.account.name, operation)
        if self.strikes("drops_connection"):
            raise AccountUnreachableError(self.account.name, operation, unanswered=True)
        if self.strikes(f"stalls_at_{operation}"):
            self.stalled.set()
            await self.released.wait()

    def _etag(self, key: str) -> str:
        return f'"{crc64nvme(self.objects[key].body):x}"'

    def _is_ours(self, object_key: str, file_id: str) -> bool:
        return object_key in self.objects and self.objects[object_key].metadata.get(FILE_ID) == file_id

    def _settled(self, description: ObjectDescription) -> Stored:
        """Our object, if an earlier answer was lost. Raises `KeyOccupiedError` if it is not ours."""
        if not self._is_ours(self._key(description), description.file_id):
            raise KeyOccupiedError(self.account.name, "put")
        return self._stored(self._key(description))

    def _stored(self, key: str) -> Stored:
        return Stored(
            account=self.account.name,
            bucket=self.account.s3_bucket_name,
            object_key=key,
            etag=self._etag(key),
            version_id=None,
            request_id="memory",
        )


def _object_of(description: ObjectDescription, body: bytes) -> MemoryObject:
    return MemoryObject(body, dict(description.metadata), description.content_type, dict(description.content_headers))


class MemoryUpload:
    def __init__(self, bucket: MemoryBucket, description: ObjectDescription, upload_id: str) -> None:
        self.id = upload_id
        self._bucket = bucket
        self._description = description

    async def send(self, part: Part) -> None:
        await self._bucket._meet("part")
        if self.id not in self._bucket.uploads:
            raise PartRefusedError(self._bucket.account.name, "part")
        self._bucket.uploads[self.id].parts[part.number] = bytes(part.body)
        self._bucket.first_part.set()

    async def complete(self, digests: Digests) -> Stored:
        bucket = self._bucket
        await bucket._meet("complete")
        key = bucket._key(self._description)
        if key in bucket.objects:
            return bucket._settled(self._description)
        if self.id not in bucket.uploads:
            raise PartRefusedError(bucket.account.name, "complete", s3_code="NoSuchUpload")
        upload = bucket.uploads[self.id]
        body = b"".join(upload.parts[number] for number in sorted(upload.parts))
        if len(body) != digests.size:
            raise PartRefusedError(bucket.account.name, "complete")
        del bucket.uploads[self.id]
        bucket.objects[key] = _object_of(self._description, body)
        if bucket.strikes("loses_complete_reply"):
            raise AccountUnreachableError(bucket.account.name, "complete", unanswered=True)
        return bucket._stored(key)

    async def abort(self) -> None:
        await self._bucket.abort(self._bucket._key(self._description), self.id)
