"""The lane of one account in one upload: a bounded queue of parts, the workers that send them, and the outcome.

A lane never raises for a failure in its account: it stores the first error and continues to empty its queue, so that
the feeder and the other lanes do not wait for it. It is a separate task, which may outlive its flow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from file.logic.errors import (
    AccountError,
    LetGoError,
    OwnershipUnknownError,
    PartRefusedError,
    TakenBackError,
    without_frames,
)
from file.logic.fanout.containment import crashed
from file.logic.fanout.retries import Attempts, may_have_happened
from file.logic.parts import SharedPart
from file.logic.ports import StorageAccount, Upload
from file.logic.values import Digests, Failed, Limits, ObjectDescription, Part, Pending, Removal, Stored

_log = structlog.get_logger()


class Lane:
    """`description`: the object to store. `note` is called when the flow must check its conditions again; `begun` with
    the account and the id of every multipart upload that is opened (None: one may be open whose id is unknown).
    """

    def __init__(
        self,
        bucket: StorageAccount,
        description: ObjectDescription,
        limits: Limits,
        *,
        note: Callable[[], object],
        begun: Callable[[str, str | None], object],
    ) -> None:
        self.account = bucket.account.name
        self.stored: Stored | None = None
        self.error: AccountError | None = None
        self.ended = False
        self.ready = False  # has sent every part, and waits for permission to publish
        self.held = 0  # bytes of parts that it has not released
        self.calls = Attempts(bucket, limits)
        self._bucket = bucket
        self._description = description
        self._object_key = bucket.account.prefix + description.key
        self._limits = limits
        self._note = note
        self._note_begun = begun
        self._task: asyncio.Task[None] | None = None
        self._upload: Upload | None = None
        self._beginning = asyncio.Lock()
        self._parts: asyncio.Queue[SharedPart | None] = asyncio.Queue()
        self._waiting = 0  # parts in the queue; the queue itself is unbounded, because closing must never wait
        self._given_up = self._abandoned = self._lost_begin = False
        self._leave = asyncio.Event()
        self._digests: Digests | None = None
        self._begun_after: datetime | None = None
        self._left: AccountError | None = None  # why an object that may be ours was not removed

    # --- its task

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `put` or `send` to its end, also after the end of the flow."""
        self._task = asyncio.create_task(work)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        """Called after the task, because a task that is cancelled before it begins runs none of its code."""
        self._discard()
        self.ended = True
        if not task.cancelled() and (crash := task.exception()) is not None:
            self._fail(crashed(self.account, "upload", crash))
        self._note()

    async def end(self) -> None:
        """Cancels its work, and returns when no request is in flight."""
        if self._task is not None:
            self._task.cancel()
        await self.until_ended()

    async def until_ended(self) -> None:
        if self._task is not None and not self.ended:
            await asyncio.wait((self._task,))

    def when_ended(self, call: Callable[[], object]) -> None:
        assert self._task is not None  # it has not ended
        self._task.add_done_callback(lambda _: call())

    def drop(self) -> None:
        """Stops the lane, because the ack does not need it and it is behind."""
        self._fail(LetGoError(self.account, "upload"))
        if self._task is not None:
            self._task.cancel()

    # --- parts come in

    @property
    def has_room(self) -> bool:
        """Whether it takes one more part, besides those in flight."""
        return self._waiting < 1

    def take(self, shared: SharedPart) -> None:
        """Queues a part; the lane will release it."""
        self._waiting += 1
        self.held += shared.taken
        self._parts.put_nowait(shared)

    def _release(self, shared: SharedPart) -> None:
        self.held -= shared.taken
        shared.release()

    def _discard(self) -> None:
        while not self._parts.empty():
            if (shared := self._parts.get_nowait()) is not None:
                self._waiting -= 1
                self._release(shared)

    # --- one put

    async def put(self) -> None:
        """Stores a file that fits the one part that was taken."""
        shared = self._parts.get_nowait()
        assert shared is not None  # it was never closed
        self._waiting -= 1
        part = shared.part
        try:
            await self._store(lambda: self._bucket.put(self._description, part), self._patience(len(part.body)))
        finally:
            self._release(shared)

    # --- many parts

    async def send(self) -> None:
        """Sends the parts, waits for permission, and publishes. The multipart upload begins with the first part."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._limits.parts_in_flight):
                group.create_task(self._work())
        if self.error is None and not self._given_up:
            self.ready = True
            self._note()
            await self._leave.wait()
            if self._digests is not None:
                await self._complete(self._digests)

    def close(self) -> None:
        """Says that no more parts will come; the workers end after the last one."""
        self._parts.put_nowait(None)

    def publish(self, digests: Digests) -> None:
        """Permits it to publish, now or after it has sent every part."""
        self._digests = digests
        self._leave.set()

    def give_up(self) -> None:
        """Ends without publishing: releases the queued parts, and ends after the requests in flight."""
        self._given_up = True
        self._discard()
        self.close()
        self._leave.set()

    async def _complete(self, digests: Digests) -> None:
        upload = self._upload
        assert upload is not None  # every file has a first part
        await self._store(lambda: upload.complete(digests), self._limits.complete_seconds)
        if self.stored is not None:
            await self._tidy_up()

    async def _tidy_up(self) -> None:
        """Aborts an upload with an unknown id: a begin without an answer, which was repeated, may have left one."""
        try:
            async with asyncio.timeout(self._limits.remove_seconds):
                await self._abort_lost()
        except (AccountError, TimeoutError) as error:
            _log.warning("upload_left_open", account=self.account, key=self._description.key, error=repr(error))

    async def _work(self) -> None:
        while (shared := await self._parts.get()) is not None:
            self._waiting -= 1
            self._note()
            try:
                if self.error is None:
                    await self._send(shared.part)
            except AccountError as error:
                self._fail(error)
            finally:
                self._release(shared)
        self._parts.put_nowait(None)  # for the next worker

    async def _send(self, part: Part) -> None:
        """A separate stack frame: a worker that waits for its next part must not hold the bytes of the last one."""
        upload = await self._begun()
        await self.calls.store("part", lambda: upload.send(part), self._patience(len(part.body)))

    async def _begun(self) -> Upload:
        async with self._beginning:
            if self.error is not None:  # another worker failed meanwhile
                raise self.error
            if self._upload is None:
                self._begun_after = datetime.now(UTC)
                self._upload = await self.calls.store("begin", self._begin, self._limits.stall_seconds)
                self.calls.left_traces = True
                self._note_begun(self.account, self._upload.id)
            return self._upload

    async def _begin(self) -> Upload:
        try:
            return await self._bucket.begin(self._description)
        except BaseException as error:
            # Cancelled, or an error after which the upload may be open all the same.
            if not isinstance(error, AccountError) or may_have_happened(error):
                self._lost_begin = True
                self._note_begun(self.account, None)
            raise

    # --- the end

    async def roll_back(self) -> Removal:
        """Removes what this upload left in the account. Never raises, whatever the account answers."""
        if not self.calls.left_traces:
            return Removal.REMOVED
        try:
            await self.calls.remove(self._remove)
            if self.calls.unanswered:
                # A request without an answer may take effect later: ask again after the settling time.
                await asyncio.sleep(self._limits.settle_seconds)
                await self.calls.remove(self._remove)
        except AccountError as error:
            _log.warning("removal_pending", account=error.account, detail=error.detail, s3_code=error.s3_code)
            if isinstance(error, OwnershipUnknownError):
                self._left = error
            return Removal.PENDING
        except Exception:  # noqa: BLE001 - an unexpected answer of one account must not hide the outcomes of the others
            _log.exception("removal_crashed", account=self.account, key=self._description.key)
            return Removal.PENDING
        return Removal.REMOVED

    async def abandon(self) -> Removal:
        """Ends the upload of a file that is acknowledged without this account.

        An object that it may have stored is whole, and others may rely on it: it stays, and catch-up examines it. Only
        an object with other bytes is removed.
        """
        self._abandoned = not (isinstance(self.error, PartRefusedError) and self.error.unanswered)
        return await self.roll_back()

    async def _remove(self) -> None:
        if self._upload is not None:
            await self._upload.abort()
        await self._abort_lost()
        if not self._abandoned:
            known = (self.stored.version_id, self.stored.etag) if self.stored else ()
            await self._bucket.remove(self._object_key, self._description.file_id, *known)

    async def _abort_lost(self) -> None:
        if self._lost_begin and self._begun_after is not None:
            await self._bucket.abort_lost(self._object_key, since=self._begun_after, until=datetime.now(UTC))

    def failed(self, removal: Removal) -> Failed:
        """The outcome if the whole upload was rolled back."""
        return Failed(
            account=self.account,
            bucket=self._bucket.account.s3_bucket_name,
            object_key=self._object_key,
            error=self._left or self.error or TakenBackError(self.account, "upload"),
            removal=removal,
            unanswered=self.calls.unanswered,
            fenced=self._bucket.account.conditional_writes,
        )

    def outcome(self) -> Stored | Pending:
        """The outcome if the ack is met."""
        if self.stored is not None:
            return self.stored
        return Pending(
            account=self.account,
            bucket=self._bucket.account.s3_bucket_name,
            object_key=self._object_key,
            code=self.error.code if self.error else None,
            retryable=self.error is None or self.error.retryable or self.error.passes_with_another_upload,
            request_id=self.error.request_id if self.error else None,
        )

    # --- failures of the account are stored, not raised

    def _patience(self, size: int) -> float:
        return self._limits.stall_seconds + size / self._limits.account_bytes_per_second

    def _fail(self, error: AccountError) -> None:
        without_frames(error)
        if self.error is None and self.stored is None:
            self.error = error
            self._note()

    async def _store(self, publish: Callable[[], Awaitable[Stored]], seconds: float) -> None:
        try:
            stored = await self.calls.publish(publish, seconds)
            if stored is None:
                raise TakenBackError(self.account, "publish", "must not get the file any more")
            self.stored, self.calls.left_traces = stored, True
            self._note()
        except AccountError as error:
            self._fail(error)
