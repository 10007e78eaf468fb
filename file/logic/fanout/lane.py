"""The lane of one account in one upload: a bounded queue of parts, the workers that send them, and the outcome.

A lane never raises for a failure in its account: it stores the first error and continues to empty its queue, so that
the feeder and the other lanes do not wait for it. It is a separate task, which may outlive its flow.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from file.logic.errors import AccountError, LetGoError, PartRefusedError, TakenBackError, without_frames
from file.logic.fanout.containment import crashed
from file.logic.fanout.retries import PUBLISH, Attempts
from file.logic.fanout.rollback import Rollback
from file.logic.parts import SharedPart
from file.logic.ports import StorageAccount, Upload
from file.logic.values import Digests, Failed, Limits, ObjectDescription, Part, Pending, Removal, Stored

_log = structlog.get_logger()


class PartQueue:
    """Parts that wait for a lane's workers. `held`: bytes of all parts that were put and not released."""

    def __init__(self) -> None:
        self.held = 0
        self._waiting = 0
        self._queue: asyncio.Queue[SharedPart | None] = asyncio.Queue()  # unbounded, because closing must never wait

    @property
    def has_room(self) -> bool:
        """For one part, besides those in flight."""
        return self._waiting < 1

    def take(self, shared: SharedPart) -> None:
        """Queues a part; the lane will release it."""
        self._waiting += 1
        self.held += shared.taken
        self._queue.put_nowait(shared)

    def close(self) -> None:
        """Says that no more parts will come; the workers end after the last one."""
        self._queue.put_nowait(None)

    async def next(self) -> SharedPart | None:
        """None: it was closed, and no part is left."""
        if (shared := await self._queue.get()) is not None:
            self._waiting -= 1
        return shared

    def release(self, shared: SharedPart) -> None:
        self.held -= shared.taken
        shared.release()

    def discard(self) -> None:
        """Releases the parts that wait."""
        while not self._queue.empty():
            if (shared := self._queue.get_nowait()) is not None:
                self._waiting -= 1
                self.release(shared)


class Lane:
    """`description`: the object to store; `calls`: the requests of this upload to the account.

    `note` is called when the flow must check its conditions again; `begun` with the account and the id of every
    multipart upload that is opened (None: one may be open whose id is unknown).
    """

    def __init__(
        self,
        bucket: StorageAccount,
        description: ObjectDescription,
        limits: Limits,
        calls: Attempts,
        *,
        note: Callable[[], object],
        begun: Callable[[str, str | None], object],
    ) -> None:
        self.account = bucket.account.name
        self.stored: Stored | None = None
        self.error: AccountError | None = None
        self.ended = False
        self.ready = False  # has sent every part, and waits for permission to publish
        self.calls = calls
        self._bucket = bucket
        self._description = description
        self._object_key = bucket.account.prefix + description.key
        self._limits = limits
        self._note = note
        self._rollback = Rollback(bucket, description, limits, calls, begun)
        self._task: asyncio.Task[Any] | None = None  # the result of a put is what was stored
        self._beginning = asyncio.Lock()
        self.parts = PartQueue()
        self._given_up = False
        self._leave = asyncio.Event()
        self._digests: Digests | None = None

    # --- its task

    def start(self) -> None:
        """Starts to send the parts that it will be offered. It runs to its end, also after the end of the flow."""
        self._watch(asyncio.create_task(self._send_parts()))

    def put(self, shared: SharedPart) -> None:
        """Starts to store a file that fits this part."""
        self.take_over(asyncio.create_task(self.calls.put(self._description, shared.part)), shared)

    def take_over(self, put: asyncio.Task[Stored], shared: SharedPart | None) -> None:
        """Takes over a put, by `calls`, which is under way or has ended, and its part if that is not released yet."""
        if shared is not None:
            self.parts.take(shared)
        self._watch(put)

    def _watch(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        if task.done():
            self._finish(task)
        else:
            task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[Any]) -> None:
        """Called after the task, because a task that is cancelled before it begins runs none of its code."""
        self.parts.discard()
        self.ended = True
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._fail(error if isinstance(error, AccountError) else crashed(self.account, "upload", error))
        elif not task.cancelled() and isinstance(stored := task.result(), Stored):
            self._keep(stored)
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

    # --- many parts

    async def _send_parts(self) -> None:
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

    def publish(self, digests: Digests) -> None:
        """Permits it to publish, now or after it has sent every part."""
        self._digests = digests
        self._leave.set()

    def give_up(self) -> None:
        """Ends without publishing: releases the queued parts, and ends after the requests in flight."""
        self._given_up = True
        self.parts.discard()
        self.parts.close()
        self._leave.set()

    async def _complete(self, digests: Digests) -> None:
        upload = self._rollback.upload
        assert upload is not None  # every file has a first part
        try:
            self._keep(await self.calls.store(PUBLISH, lambda: upload.complete(digests), self._limits.complete_seconds))
        except AccountError as error:
            self._fail(error)
        else:
            await self._rollback.tidy_up()

    async def _work(self) -> None:
        while (shared := await self.parts.next()) is not None:
            self._note()
            try:
                if self.error is None:
                    await self._send(shared.part)
            except AccountError as error:
                self._fail(error)
            finally:
                self.parts.release(shared)
        self.parts.close()  # for the next worker

    async def _send(self, part: Part) -> None:
        """A separate stack frame: a worker that waits for its next part must not hold the bytes of the last one."""
        upload = await self._begun()
        await self.calls.store("part", lambda: upload.send(part), self._limits.seconds_for(len(part.body)))

    async def _begun(self) -> Upload:
        async with self._beginning:
            if self.error is not None:  # another worker failed meanwhile
                raise self.error
            return self._rollback.upload or await self._rollback.begin()

    # --- the end

    async def roll_back(self) -> Removal:
        """Removes what this upload left in the account. Never raises, whatever the account answers."""
        return await self._rollback.roll_back(self.stored)

    async def abandon(self) -> Removal:
        """Ends the upload of a file that is acknowledged without this account.

        An object that it may have stored is whole, and others may rely on it: it stays, and catch-up examines it. Only
        an object with other bytes is removed.
        """
        has_other_bytes = isinstance(self.error, PartRefusedError) and self.error.unanswered
        return await self._rollback.roll_back(self.stored, keeps_object=not has_other_bytes)

    def failed(self, removal: Removal) -> Failed:
        """The outcome if the whole upload was rolled back."""
        return Failed(
            account=self.account,
            bucket=self._bucket.account.s3_bucket_name,
            object_key=self._object_key,
            error=self._rollback.error or self.error or TakenBackError(self.account, "upload"),
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

    # --- what became of it; failures of the account are stored, not raised

    def _fail(self, error: AccountError) -> None:
        without_frames(error)
        if self.error is None and self.stored is None:
            self.error = error
            self._note()

    def _keep(self, stored: Stored) -> None:
        self.stored, self.calls.left_traces = stored, True
        self._note()
