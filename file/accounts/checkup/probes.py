"""What a check-up does in an account: probe objects and uploads under keys of its own, and taking them back.

Every key begins with `<prefix>mentum-check-<uuid>`, so that nothing of anybody's is overwritten or removed. What a
request may make is noted before it is sent, for its answer may be lost; a probe carries no file's id, so that one that
has to stay is a stranger to the ledger. Leaves to others: what to ask, and what an answer says (`checkup.py`).
"""

import asyncio
import copy
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

from awscrt.checksums import crc64nvme

from file.logic.errors import AccountError, AccountStalledError
from file.logic.values import Account, Body, ObjectDescription, Part, checksum_text
from file.s3.bucket import S3Bucket
from file.s3.client import Answer, Call, S3Client
from file.s3.errors import account_error
from file.s3.xml import OpenUpload, Version, complete_answer, complete_request, parse_error, upload_id
from file.s3.xml import uploads as read_uploads
from file.s3.xml import versions as read_versions

BODY = b"A probe of the check-up of Mentum file upload. It may be deleted.\n"
OTHER_BODY = b"Not what was announced.\n"
METADATA = "mentum-check"  # names no file: a probe that has to stay is a stranger
DENIED_CODES = ("AccessDenied", "AccessDeniedException", "Forbidden", None)  # a HEAD's has none
_NAMED_ACTION = re.compile(rb"not authorized to perform: ((?:s3|kms):[A-Za-z]{1,64})\b")
_LOCKED = re.compile(rb"object ?lock|WORM", re.IGNORECASE)
_CHECKSUM = "x-amz-checksum-crc64nvme"
_ATTEMPTS = 3
_TAKE_BACK_SECONDS = 60.0
_NO_VERSION = "null"  # what S3 calls the only one of a bucket that keeps none


class DeniedError(Exception):
    """These credentials may not. `action`: the one that S3 named, which it does not always; `locked`: or a lock."""

    def __init__(self, operation: str, action: str | None = None, *, locked: bool = False) -> None:
        self.action = action
        self.locked = locked
        super().__init__(operation)


class Probe:
    """All that one check-up makes in one account."""

    def __init__(self, client: S3Client, *, pause_seconds: float, settle_seconds: float) -> None:
        self.client = client
        self.account = client.account
        self._mark = str(uuid4())
        self.key = f"{client.account.prefix}mentum-check-{self._mark}"
        self._versioned: bool | None = None
        self.locked = False  # an object says so: S3 tells it to some only
        self.answered = False  # something else than "you may not" was said
        self._bucket = S3Bucket(client, requests=1)
        self._pause_seconds = pause_seconds
        self._settle_seconds = settle_seconds
        self._unanswered = False
        self._made: dict[str, set[str]] = {}  # key -> versions that are known
        self._uploads: dict[str, str] = {}  # id -> key
        self._begun: set[str] = set()  # keys whose uploads may have no id
        self._parts: dict[str, tuple[int, str, str | None]] = {}

    @property
    def versioned(self) -> bool | None:
        """Whether the bucket keeps versions, by what a put says; None until an object was put."""
        return self._versioned and self.account.versions

    @property
    def wrote(self) -> bool:
        """Something may have been made."""
        return bool(self._made or self._begun)

    @property
    def is_put(self) -> bool:
        """The object under `key` is there, or may be."""
        return self.key in self._made

    def assume(self, account: Account) -> None:
        """Ask from now on as if the account's JSON were this one."""
        self.account = account
        self.client = copy.copy(self.client)
        self.client.account = account
        self._bucket = S3Bucket(self.client, requests=1)

    async def ask(self, call: Call) -> Answer:
        """Send one request, and again if it failed for the moment. Raises `DeniedError`, `AccountError`."""
        return await self.send_patiently(call, self._ask_once)

    async def send_patiently(self, call: Call, send: Callable[[Call], Awaitable[Answer]]) -> Answer:
        """A write that may have landed is not repeated: its condition would be refused, and nobody would know why."""
        for attempt in range(_ATTEMPTS):
            try:
                return await send(call)
            except AccountError as error:
                may_have_landed = error.unanswered and call.method in ("PUT", "POST")
                self._unanswered |= may_have_landed or isinstance(error, AccountStalledError)
                is_last = may_have_landed or isinstance(error, AccountStalledError) or attempt + 1 == _ATTEMPTS
                if is_last or not error.retryable:
                    raise
            await asyncio.sleep(random.uniform(0, self._pause_seconds * 2**attempt))  # noqa: S311 - jitter, no secret
        raise AssertionError  # the last attempt returns or raises

    async def put(
        self,
        tail: str = "",
        *,
        body: Body = BODY,
        announced: Body | None = None,
        encrypted: bool = True,
        tolerate: Sequence[int] = (),
    ) -> Answer:
        """PutObject, as the service does it. `announced`: the bytes that the checksum is of, if others than sent."""
        key = self.key + tail
        headers = self._headers(key) | self._integrity(body if announced is None else announced)
        headers |= self._bucket._condition()
        if not encrypted:
            headers = {name: value for name, value in headers.items() if "server-side-encryption" not in name}
        call = Call("put", "PUT", key, headers=headers, body=body, tolerate=tolerate)
        return await self._making(key, call)

    async def begin(self, tail: str = "") -> str:
        """CreateMultipartUpload: the upload's id."""
        key = self.key + tail
        headers = self._headers(key)
        if self.account.checksums:
            headers |= {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT"}
        self._begun.add(key)
        try:
            answer = await self.ask(Call("begin", "POST", key, query=[("uploads", "")], headers=headers))
        except DeniedError:
            self._begun.discard(key)
            raise
        begun = self.client.understood("begin", upload_id, answer)
        self._uploads[begun] = key
        return begun

    async def send(self, id: str) -> None:
        """UploadPart: the only one, so that it may be small."""
        headers = self._integrity(BODY)
        query = [("partNumber", "1"), ("uploadId", id)]
        answer = await self.ask(Call("part", "PUT", self._uploads[id], query=query, headers=headers, body=BODY))
        self._parts[id] = 1, self.client.etag_of("part", answer), headers.get(_CHECKSUM)

    async def complete(
        self, id: str, *, announced: Body = BODY, conditional: bool = True, tolerate: Sequence[int] = ()
    ) -> Answer:
        """CompleteMultipartUpload; raises `AccountError` for an error inside of a 200, too."""
        key = self._uploads[id]
        headers: dict[str, str] = {"content-type": "application/xml"}
        if conditional:
            headers |= self._bucket._condition()
        if self.account.checksums:
            headers |= {_CHECKSUM: checksum_text(crc64nvme(announced)), "x-amz-checksum-type": "FULL_OBJECT"}
            headers["x-amz-mp-object-size"] = str(len(BODY))
        body = complete_request([self._parts[id]])
        call = Call(
            "complete", "POST", key, query=[("uploadId", id)], headers=headers, body=body, tolerate=tuple(tolerate)
        )
        answer = await self._making(key, call)
        if answer.status == 200:
            completed = self.client.understood("complete", complete_answer, answer)
            if completed.code is not None:
                raise account_error(self.account, "complete", 500, completed.code)
            del self._uploads[id]
        return answer

    async def abort(self, id: str) -> None:
        """AbortMultipartUpload; one that is gone already is no error."""
        key = self._uploads.get(id, self.key)
        await self.ask(Call("abort", "DELETE", key, query=[("uploadId", id)], tolerate=(404,)))
        self._uploads.pop(id, None)

    def version(self, tail: str = "") -> str:
        """The version under the key that is known, or what S3 calls the only one."""
        return next(iter(self._made.get(self.key + tail, ())), _NO_VERSION)

    async def delete(self, tail: str = "", version: str | None = None) -> None:
        """DeleteObject, of a version or without naming one. What is not there is no error."""
        key = self.key + tail
        query = [] if version is None else [("versionId", version)]
        answer = await self.ask(Call("delete", "DELETE", key, query=query, tolerate=(404,)))
        marker = answer.headers.get("x-amz-version-id")
        if version is None and marker is not None and answer.headers.get("x-amz-delete-marker") == "true":
            self._made.setdefault(key, set()).add(marker)

    def is_marked(self, answer: Answer) -> bool:
        """Whether an object shows the metadata that was stored with it."""
        return answer.headers.get(f"x-amz-meta-{METADATA}") == self._mark

    async def list_versions(self) -> list[Version]:
        """Those of all our keys, delete markers too."""
        query = [("versions", ""), ("prefix", self.key)]
        answer = await self.ask(Call("list_versions", "GET", None, query=query))
        page = self.client.understood("list_versions", read_versions, answer)
        return [version for version in page.versions if version.key.startswith(self.key)]

    async def list_uploads(self) -> list[OpenUpload]:
        """Those of all our keys."""
        query = [("uploads", ""), ("prefix", self.key)]
        answer = await self.ask(Call("list_uploads", "GET", None, query=query))
        page = self.client.understood("list_uploads", read_uploads, answer)
        return [upload for upload in page.uploads if upload.key.startswith(self.key)]

    async def take_back(self) -> list[str]:
        """Leave nothing behind; returns the keys under which something is, or may be. Never raises `AccountError`."""
        left = set(self._made) | self._begun
        with suppress(TimeoutError):
            async with asyncio.timeout(_TAKE_BACK_SECONDS):
                if self._unanswered:  # it may land late
                    await asyncio.sleep(self._settle_seconds)
                open_uploads = await self._end_uploads()
                for key in sorted(left):
                    if await self._is_removed(key) and key not in open_uploads:
                        left.discard(key)
        return sorted(left)

    async def _end_uploads(self) -> set[str]:
        """The keys of those that may be open still."""
        found = dict(self._uploads)
        try:
            found |= {upload.upload_id: upload.key for upload in await self.list_uploads()}
            left = set()
        except (AccountError, DeniedError):
            left = self._begun - set(found.values()) if self._unanswered else set()
        for upload, key in found.items():
            self._uploads[upload] = key
            try:
                await self.abort(upload)
            except (AccountError, DeniedError):
                if not await self._is_finished(upload):
                    left.add(key)
        return left

    async def _is_finished(self, id: str) -> bool:
        """One that may not be aborted is completed, and deleted like the other objects."""
        if id not in self._parts:
            return False
        with suppress(AccountError, DeniedError):
            return (await self.complete(id, conditional=False)).status == 200
        return False

    async def _is_removed(self, key: str) -> bool:
        if key not in self._made and not await self._listed(key):
            return True
        tail = key.removeprefix(self.key)
        known = self._made.get(key, set()) | {v.version_id or _NO_VERSION for v in await self._listed(key) or ()}
        was_deleted = True
        named: list[str | None] = [*sorted(known or {_NO_VERSION})]
        if not self.account.versions and known <= {_NO_VERSION}:
            named = [None]
        for version in named:
            try:
                await self.delete(tail, version)
            except (AccountError, DeniedError):
                was_deleted = False
        if not was_deleted and not self.versioned:  # another permission, and enough where no versions are kept
            with suppress(AccountError, DeniedError):
                await self.delete(tail)
                was_deleted = True
        listed, there = await self._listed(key), await self._is_there(key)
        if listed or there:
            return False
        return was_deleted or (listed is not None and there is not None)

    async def _listed(self, key: str) -> list[Version] | None:
        """None if it may not be asked."""
        with suppress(AccountError, DeniedError):
            return [version for version in await self.list_versions() if version.key == key]
        return None

    async def _is_there(self, key: str) -> bool | None:
        """None if it may not be asked."""
        with suppress(AccountError, DeniedError):
            return (await self.ask(Call("head", "HEAD", key, tolerate=(404,)))).status == 200
        return None

    async def _making(self, key: str, call: Call) -> Answer:
        """A request that makes an object. What it made is noted, and what it may have made."""
        is_new = key not in self._made
        versions = self._made.setdefault(key, set())
        try:
            answer = await self.ask(call)
        except (AccountError, DeniedError) as error:
            if is_new and not (isinstance(error, AccountError) and (error.unanswered or error.retryable)):
                del self._made[key]
            raise
        if answer.status < 300:
            version = answer.headers.get("x-amz-version-id")
            self._versioned = version is not None
            versions.add(version or _NO_VERSION)
        elif is_new:
            del self._made[key]
        return answer

    async def _ask_once(self, call: Call) -> Answer:
        answer = await self.client.brief(replace(call, tolerate=(*call.tolerate, 403)))
        if answer.status != 403:
            self.answered = True
            self.locked |= "x-amz-object-lock-mode" in answer.headers
            return answer
        code = parse_error(answer.body).code
        if code not in DENIED_CODES:
            error = account_error(self.account, call.operation, answer.status, code)
            error.request_id = answer.request_id
            raise error
        named = _NAMED_ACTION.search(answer.body)
        locked = _LOCKED.search(answer.body) is not None or (call.operation == "delete" and self.locked)
        raise DeniedError(call.operation, named[1].decode() if named else None, locked=locked)

    def _headers(self, key: str) -> dict[str, str]:
        """Metadata, encryption and storage class, as every object of the account has them."""
        metadata = {METADATA: self._mark}
        return self._bucket._headers(
            ObjectDescription(file_id="", key=key, content_type="text/plain", metadata=metadata)
        )

    def _integrity(self, body: Body) -> dict[str, str]:
        return self._bucket._integrity(Part(1, body, crc64nvme(body)))
