"""The objects and uploads of one check-up in an account, under keys of its own, and their removal.

Every key begins with `<prefix>mentum-check-<uuid>`, so that no object of others is overwritten or removed. An object is
recorded before its request is sent, because the answer may be lost. An object of a check-up has no file's id: if it
cannot be removed, it is an unknown object.
Leaves to others: the questions, and what an answer means (`checks.py`).
"""

import copy
import re
from asyncio import sleep, timeout
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar
from uuid import uuid4

from awscrt.checksums import crc64nvme

from file.logic.backoff import retried
from file.logic.errors import AccessRefusedError, AccountError, AccountStalledError
from file.logic.values import Account, Body, Digests, ObjectDescription, Part
from file.s3 import calls, xml
from file.s3.calls import Call
from file.s3.client import Answer, S3Client
from file.s3.errors import account_error
from file.s3.fields import METADATA

BODY = b"A probe of the check-up of Mentum file upload. It may be deleted.\n"
OTHER_BODY = b"Not what was announced.\n"
NO_VERSION = "null"  # what S3 calls the only version in a bucket that keeps none
DENIED_CODES = ("AccessDenied", "AccessDeniedException", "Forbidden", None)  # a HEAD's has none
_MARK = "mentum-check"  # names no file
_NAMED_ACTION = re.compile(rb"not authorized to perform: ((?:s3|kms):[A-Za-z]{1,64})\b")
_LOCKED = re.compile(rb"object ?lock|WORM", re.IGNORECASE)
_ATTEMPTS = 3
_TAKE_BACK_SECONDS = 60.0
T = TypeVar("T")
Codes = Sequence[int]


class DeniedError(AccessRefusedError):
    """The credentials do not allow it. `action`: the one that S3 named. `locked`: an object lock denies it."""

    action: str | None = None
    locked = False


def assuming(client: S3Client, account: Account) -> S3Client:
    """The same connections with another JSON of the account."""
    other = copy.copy(client)
    other.account = account
    return other


class Probe:
    """All objects and uploads of one check-up in one account. `upload`: the id of the upload that the checks share."""

    def __init__(self, client: S3Client, *, pause_seconds: float, settle_seconds: float) -> None:
        self.client = client
        self.account = client.account
        mark = str(uuid4())
        self.key = f"{client.account.prefix}mentum-check-{mark}"
        self._description = ObjectDescription(file_id="", key="", content_type="text/plain", metadata={_MARK: mark})
        self.upload = ""
        self.answered = False  # something else than "you may not" was said
        self.loses_metadata = False  # an object did not show the metadata that was stored with it
        self._locked = False  # an object says so: S3 shows it only to some credentials
        self._keeps_versions: bool | None = None
        self._pause_seconds = pause_seconds
        self._settle_seconds = settle_seconds
        self._unanswered = False
        self._made: dict[str, set[str]] = {}  # key -> versions that are known
        self._uploads: dict[str, str] = {}  # id -> key
        self._begun: set[str] = set()  # keys whose uploads may have no id
        self._parts: dict[str, calls.SentPart] = {}

    @property
    def versioned(self) -> bool | None:
        """Whether the bucket keeps versions, according to a put; None before the first put."""
        return self._keeps_versions and self.account.versions

    @property
    def is_put(self) -> bool:
        """Whether `key` has, or may have, an object."""
        return self.key in self._made

    def assume(self, account: Account) -> None:
        """Uses this JSON of the account from now on."""
        self.account, self.client = account, assuming(self.client, account)

    async def ask(self, call: Call, send: Callable[[Call], Awaitable[Answer]] | None = None) -> Answer:
        """Send one request, and retry temporary errors. Raises `AccountError`.

        A write that may have taken effect is not repeated: S3 would refuse its condition.
        """
        send = send or self._send

        def may_retry(error: AccountError) -> bool:
            is_open = isinstance(error, AccountStalledError) or (error.unanswered and call.method in ("PUT", "POST"))
            self._unanswered |= is_open
            return error.retryable and not is_open

        pauses = {"first_seconds": self._pause_seconds, "longest_seconds": 2 * self._pause_seconds}
        return await retried(lambda: send(call), attempts=_ATTEMPTS, may_retry=may_retry, **pauses)

    async def put(
        self, tail: str = "", *, body: Body = BODY, announced: Body = b"", plain: bool = False, tolerate: Codes = ()
    ) -> Answer:
        """PutObject. `announced`: the bytes of the checksum, if they differ from the body."""
        account = replace(self.account, server_side_encryption=None, kms_key_id=None) if plain else self.account
        call = calls.put(account, self.key + tail, self._description, _part(announced or body))
        return await self._making(replace(call, body=body, tolerate=tolerate))

    async def begin(self, tail: str = "") -> str:
        """CreateMultipartUpload: the new upload's id."""
        key = self.key + tail
        self._begun.add(key)
        try:
            answer = await self.ask(calls.begin(self.account, key, self._description))
        except DeniedError:
            self._begun.discard(key)
            raise
        begun = self.client.understood("begin", xml.upload_id, answer)
        self._uploads[begun] = key
        return begun

    async def send(self, id: str) -> None:
        """UploadPart: the only one, so it may be small."""
        call = calls.send(self.account, self._uploads[id], id, _part(BODY))
        answer = await self.ask(call)
        self._parts[id] = 1, self.client.etag_of("part", answer), call.headers.get(calls.CHECKSUM)

    async def complete(
        self, id: str, *, announced: Body = BODY, conditional: bool = True, tolerate: Codes = ()
    ) -> Answer:
        """CompleteMultipartUpload; raises `AccountError` for an error inside a 200, too."""
        account = self.account if conditional else replace(self.account, conditional_writes=False)
        whole = Digests(len(BODY), b"", crc64nvme(announced))
        call = calls.complete(account, self._uploads[id], id, [self._parts[id]], whole)
        answer = await self._making(replace(call, tolerate=tolerate))
        if answer.status == 200:
            completed = self.client.understood("complete", xml.complete_answer, answer)
            if completed.code is not None:
                raise account_error(self.account, "complete", 500, completed.code)
            del self._uploads[id]
        return answer

    async def abort(self, id: str) -> Answer:
        """AbortMultipartUpload; an upload that is gone is no error."""
        answer = await self.ask(calls.abort(self._uploads.get(id, self.key), id))
        self._uploads.pop(id, None)
        return answer

    async def delete(self, key: str, version: str | None = None) -> Answer:
        """DeleteObject, with or without a version. A missing object is no error."""
        answer = await self.ask(calls.delete(key, version))
        marker = answer.headers.get("x-amz-version-id")
        if version is None and marker is not None and answer.headers.get("x-amz-delete-marker") == "true":
            self._made.setdefault(key, set()).add(marker)
        return answer

    async def list_versions(self, key: str | None = None) -> list[xml.Version]:
        """The versions of all our keys or of `key`, also markers."""
        call = Call("list_versions", "GET", None, query=[("versions", ""), ("prefix", self.key)])
        page = self.client.understood("list_versions", xml.versions, await self.ask(call))
        return [v for v in page.entries if (v.key.startswith(self.key) if key is None else v.key == key)]

    async def list_uploads(self) -> list[xml.OpenUpload]:
        """All under our keys."""
        call = Call("list_uploads", "GET", None, query=[("uploads", ""), ("prefix", self.key)])
        page = self.client.understood("list_uploads", xml.uploads, await self.ask(call))
        return [upload for upload in page.entries if upload.key.startswith(self.key)]

    def version(self) -> str:
        """The known version under `key`, or S3's name for the only one."""
        return next(iter(self._made.get(self.key, ())), NO_VERSION)

    def is_marked(self, answer: Answer) -> bool:
        """Whether an answer has the metadata of the check-up's object."""
        return answer.headers.get(METADATA + _MARK) == self._description.metadata[_MARK]

    async def remove_probes(self) -> list[str] | None:
        """Removes everything. Returns the keys that have, or may have, an object; None if nothing was created."""
        left = set(self._made) | self._begun
        if not left:
            return None
        with suppress(TimeoutError):
            async with timeout(_TAKE_BACK_SECONDS):
                if self._unanswered:  # it may land late
                    await sleep(self._settle_seconds)
                open_uploads = await self._end_uploads()
                for key in sorted(left):
                    if await self._is_removed(key) and key not in open_uploads:
                        left.discard(key)
        return sorted(left)

    async def _end_uploads(self) -> set[str]:
        """The keys of uploads that may be open. An upload that cannot be aborted is completed, then deleted."""
        listed = await _answer_of(self.list_uploads())
        found = self._uploads | {upload.upload_id: upload.key for upload in listed or ()}
        left = self._begun - set(found.values()) if listed is None and self._unanswered else set()
        for upload, key in found.items():
            self._uploads[upload] = key
            ended = await _answer_of(self.abort(upload))
            if ended is None and upload in self._parts:
                ended = await _answer_of(self.complete(upload, conditional=False))
            left |= {key} if ended is None else set()
        return left

    async def _is_removed(self, key: str) -> bool:
        """False if this is unknown."""
        listed = await _answer_of(self.list_versions(key))
        if key not in self._made and not listed:
            return True
        known = self._made.get(key, set()) | {version.version_id or NO_VERSION for version in listed or ()}
        names_none = not self.account.versions and known <= {NO_VERSION}
        named: list[str | None] = [None] if names_none else [*sorted(known or {NO_VERSION})]
        was_deleted = None not in [await _answer_of(self.delete(key, version)) for version in named]
        if not was_deleted and not self.versioned:  # another permission, and enough where no versions are kept
            was_deleted = await _answer_of(self.delete(key)) is not None
        listed, shown = await _answer_of(self.list_versions(key)), await _answer_of(self.ask(calls.head(key)))
        if listed or (shown is not None and shown.status == 200):
            return False
        return was_deleted or (listed is not None and shown is not None)

    async def _making(self, call: Call) -> Answer:
        """Sends a request that creates an object, and records what it created or may have created."""
        assert call.key is not None
        is_new = call.key not in self._made
        versions = self._made.setdefault(call.key, set())
        try:
            answer = await self.ask(call)
        except AccountError as error:
            if is_new and not (error.unanswered or error.retryable):
                del self._made[call.key]
            raise
        if answer.status < 300:
            version = answer.headers.get("x-amz-version-id")
            self._keeps_versions = version is not None
            versions.add(version or NO_VERSION)
        elif is_new:
            del self._made[call.key]
        return answer

    async def _send(self, call: Call) -> Answer:
        answer = await self.client.brief(replace(call, tolerate=(*call.tolerate, 403)))
        if answer.status == 403:
            raise _refusal(self.account, call.operation, answer, is_locked=self._locked)
        self.answered = True
        self._locked |= "x-amz-object-lock-mode" in answer.headers
        return answer


def _refusal(account: Account, operation: str, answer: Answer, *, is_locked: bool) -> AccountError:
    code = xml.parse_error(answer.body).code
    if code not in DENIED_CODES:
        return account_error(account, operation, answer.status, code, request_id=answer.request_id)
    error = DeniedError(account.name, operation)
    named = _NAMED_ACTION.search(answer.body)
    error.action = named[1].decode() if named else None
    error.locked = _LOCKED.search(answer.body) is not None or (operation == "delete" and is_locked)
    return error


def _part(body: Body) -> Part:
    return Part(1, body, crc64nvme(body))


async def _answer_of(request: Awaitable[T]) -> T | None:
    """None after an error."""
    with suppress(AccountError):
        return await request
    return None
