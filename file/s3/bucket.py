"""The port `StorageAccount`, made of S3 requests: put, the multipart calls, and what settles a lost answer.

Every object carries our file's id. After a 412, a `NoSuchUpload` or an answer that never came, HEAD tells whether the
object under the key is ours; an equal object of somebody else's is never adopted. Bodies are sent with a CRC64NVME
computed as the bytes came in, so that S3 refuses a damaged one (or Content-MD5, for stores without checksums).
"""

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from file.logic.errors import AccountError, KeyOccupiedError, OwnershipUnknownError, PartRefusedError
from file.logic.fanout.containment import contained
from file.logic.ports import FoundObject, ListedUpload
from file.logic.values import Digests, ObjectDescription, Part, Stored, checksum_text
from file.s3.client import Call, S3Client
from file.s3.download import Reads
from file.s3.errors import account_error
from file.s3.listing import S3Listing
from file.s3.objects import (
    abort_upload,
    abort_uploads_between,
    find_object,
    look,
    remove_versions,
    stored_object,
)
from file.s3.ownership import Whose, Written, file_id_of, whose
from file.s3.xml import complete_answer, complete_request, upload_id

_CHECKSUM = "x-amz-checksum-crc64nvme"


class S3Bucket:
    """One account's bucket. `requests`, `reads`: how many may be under way. `pause_seconds`: see `S3Listing`."""

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
        self._reads = Reads(client, at_once=reads, stall_seconds=stall_seconds)
        self._listing = S3Listing(client, pause_seconds=pause_seconds)

    @contained("put")
    async def put(self, description: ObjectDescription, part: Part) -> Stored:
        """One PutObject. See `StorageAccount.put`."""
        if not self.account.conditional_writes:
            await self._refuse_occupied(description)
        headers = {**self._headers(description), **self._integrity(part), **self._condition()}
        try:
            answer = await self.client.write(
                Call("put", "PUT", self._key(description), headers=headers, body=part.body)
            )
            return stored_object(self.account, self._key(description), answer, self.client.etag_of("put", answer))
        except AccountError as error:
            return await self._settle(description, "put", error, part.crc64nvme)

    @contained("begin")
    async def begin(self, description: ObjectDescription) -> "S3Upload":
        """CreateMultipartUpload. See `StorageAccount.begin`."""
        await self._refuse_occupied(description)
        headers = self._headers(description)
        if self.account.checksums:
            headers |= {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT"}
        answer = await self.client.write(
            Call("begin", "POST", self._key(description), query=[("uploads", "")], headers=headers)
        )
        begun = self.client.told("begin", answer, self.client.understood("begin", upload_id, answer))
        return S3Upload(self, description, begun)

    @contained("head")
    async def find(self, object_key: str, file_id: str, checksum: str | None = None) -> Stored | None:
        """See `StorageAccount.find`."""
        return await find_object(self.client, object_key, file_id, checksum)

    @contained("delete")
    async def remove(
        self, object_key: str, file_id: str, version_id: str | None = None, etag: str | None = None
    ) -> int:
        """Delete every version that is the file's. See `StorageAccount.remove`."""
        return await remove_versions(self.client, object_key, Written(file_id, version_id, etag))

    @contained("abort")
    async def abort(self, object_key: str, upload_id: str) -> None:
        """See `StorageAccount.abort`."""
        await abort_upload(self.client, object_key, upload_id)

    @contained("list_uploads")
    async def abort_lost(self, object_key: str, *, since: datetime, until: datetime) -> None:
        """See `StorageAccount.abort_lost`."""
        await abort_uploads_between(self.client, object_key, since, until)

    @property
    def has_room(self) -> bool:
        """See `StorageAccount.has_room`."""
        return self._reads.has_room

    def read(
        self, stored: Stored, *, file_id: str, start: int, stop: int, size: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See `StorageAccount.read`."""
        return self._reads.read(stored, file_id=file_id, start=start, stop=stop, size=size)

    def pages(self, under: str = "") -> AsyncGenerator[Sequence[str]]:
        """See `StorageAccount.pages`."""
        return self._listing.pages(under)

    def open_uploads(self, under: str = "") -> AsyncGenerator[Sequence[ListedUpload]]:
        """See `StorageAccount.open_uploads`."""
        return self._listing.open_uploads(under)

    async def keys_behind(self, object_key: str) -> Sequence[str]:
        """See `StorageAccount.keys_behind`."""
        return await self._listing.keys_behind(object_key)

    async def look(self, object_key: str) -> FoundObject | None:
        """See `StorageAccount.look`."""
        return await self._listing.look(object_key)

    @contained("probe")
    async def probe(self) -> None:
        """One cheap question: may these credentials list this bucket? Raises `AccountError`."""
        await self.client.brief(Call("probe", "GET", None, query=[("list-type", "2"), ("max-keys", "1")]))

    def _key(self, description: ObjectDescription) -> str:
        return self.account.prefix + description.key

    def _headers(self, description: ObjectDescription) -> dict[str, str]:
        account = self.account
        headers = {"content-type": description.content_type, **description.content_headers}
        headers |= {f"x-amz-meta-{name}": value for name, value in description.metadata.items()}
        for name, value in (
            ("x-amz-server-side-encryption", account.server_side_encryption),
            ("x-amz-server-side-encryption-aws-kms-key-id", account.kms_key_id),
            ("x-amz-storage-class", account.storage_class),
        ):
            if value is not None:
                headers[name] = value
        return headers

    def _integrity(self, part: Part) -> dict[str, str]:
        if self.account.checksums:
            return {_CHECKSUM: checksum_text(part.crc64nvme)}
        md5 = hashlib.md5(part.body, usedforsecurity=False).digest()
        return {"content-md5": base64.b64encode(md5).decode()}

    def _condition(self) -> dict[str, str]:
        return {"if-none-match": "*"} if self.account.conditional_writes else {}

    async def _refuse_occupied(self, description: ObjectDescription) -> None:
        """Before the bytes are sent rather than after; S3's own condition is asked at the end all the same."""
        found = await look(self.client, self._key(description))
        if found is not None and file_id_of(self.client, found) != description.file_id:
            raise KeyOccupiedError(self.account.name, "head")

    async def _settle(
        self, description: ObjectDescription, operation: str, error: AccountError, crc64nvme: int
    ) -> Stored:
        """Find out what became of a put or complete that was refused as a repeat, or went unanswered.

        Returns `Stored` if our object is there. Otherwise raises: that the key is another's, or `error` itself. A
        revoked key comes out here, too: S3's early 403 is often lost with the connection it closed.
        """
        if not (error.unanswered or isinstance(error, KeyOccupiedError) or error.s3_code == "NoSuchUpload"):
            raise error
        try:
            found = await look(self.client, self._key(description))
        except AccountError as unknown:
            unknown.unanswered = True  # what became of the write is as open as before
            raise
        if found is None:
            raise error
        if file_id_of(self.client, found) != description.file_id:
            # After a 412 nothing of this request is there; after an answer that never came, it may be.
            if error.unanswered and whose(self.client, found, Written(description.file_id)) is Whose.UNKNOWN:
                raise OwnershipUnknownError(self.account.name, operation, unanswered=True) from error
            raise KeyOccupiedError(self.account.name, operation) from error
        # S3 checked the bytes when it took them; where it shows its checksum, it is looked at once more.
        if found.headers.get(_CHECKSUM, expected := checksum_text(crc64nvme)) != expected:
            raise PartRefusedError(
                self.account.name, operation, "keeps other bytes than we sent", unanswered=True
            ) from error
        return stored_object(self.account, self._key(description), found)


class S3Upload:
    """One open multipart upload and the ETags of its parts."""

    def __init__(self, bucket: S3Bucket, description: ObjectDescription, id: str) -> None:
        self.id = id
        self.account = bucket.account
        self._bucket = bucket
        self._description = description
        self._key = bucket._key(description)
        self._etags: dict[int, tuple[str, str | None]] = {}

    @contained("part")
    async def send(self, part: Part) -> None:
        """UploadPart. See `Upload.send`."""
        query = [("partNumber", str(part.number)), ("uploadId", self.id)]
        headers = self._bucket._integrity(part)
        answer = await self._bucket.client.write(
            Call("part", "PUT", self._key, query=query, headers=headers, body=part.body)
        )
        self._etags[part.number] = (self._bucket.client.etag_of("part", answer), headers.get(_CHECKSUM))

    @contained("complete")
    async def complete(self, digests: Digests) -> Stored:
        """CompleteMultipartUpload, which may answer 200 with an error inside. See `Upload.complete`."""
        bucket, account = self._bucket, self.account
        headers: dict[str, str] = {"content-type": "application/xml", **bucket._condition()}
        if account.checksums:
            headers |= {_CHECKSUM: checksum_text(digests.crc64nvme), "x-amz-checksum-type": "FULL_OBJECT"}
            headers["x-amz-mp-object-size"] = str(digests.size)
        parts = [(number, etag, checksum) for number, (etag, checksum) in sorted(self._etags.items())]
        try:
            answer = await bucket.client.write(
                Call(
                    "complete",
                    "POST",
                    self._key,
                    query=[("uploadId", self.id)],
                    headers=headers,
                    body=complete_request(parts),
                )
            )
            completed = bucket.client.understood("complete", complete_answer, answer)
            if completed.code is not None:
                raise account_error(account, "complete", 500, completed.code)
            etag = bucket.client.told("complete", answer, completed.etag or "")
            if completed.checksum not in (None, checksum_text(digests.crc64nvme)):
                raise PartRefusedError(account.name, "complete", "joined other bytes than we sent", unanswered=True)
        except AccountError as error:
            return await bucket._settle(self._description, "complete", error, digests.crc64nvme)
        return stored_object(account, self._key, answer, etag)

    @contained("abort")
    async def abort(self) -> None:
        """AbortMultipartUpload until S3 says that it does not know the upload. See `Upload.abort`."""
        await abort_upload(self._bucket.client, self._key, self.id)
