"""One account's lane: a bounded queue of parts, the workers that send them, and what became of the account.

A lane never raises for trouble in its account: it remembers the first error and goes on emptying its queue, so that
the feeder and the other lanes are not held up. Retries live here, under one slot of the account and one deadline,
which starts when the slot is taken.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from file.logic.errors import AccountError, AccountStalledError, TakenBackError
from file.logic.parts import SharedPart
from file.logic.seams import Bucket, Upload
from file.logic.values import Digests, Failed, Limits, ObjectDescription, Outcome, Part, Removal, Stored

T = TypeVar("T")
_log = structlog.get_logger()

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 3.0


class Lane:
    """`description` is what its bucket is to hold. `on_failure` is called once, when the account fails."""

    def __init__(self, bucket: Bucket, description: ObjectDescription, limits: Limits) -> None:
        self.stored: Stored | None = None
        self.error: AccountError | None = None
        self.attempts = 0
        self.seconds = 0.0
        self._bucket = bucket
        self._description = description
        self._limits = limits
        self._upload: Upload | None = None
        self._beginning = asyncio.Lock()
        self._parts: asyncio.Queue[SharedPart | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(1)  # not the queue's own bound: closing must never wait
        self._on_failure: Callable[[], object] = lambda: None
        # What roll-back has to look for: something may be there; something may still land.
        self._left_traces = False
        self._unanswered = False
        self._lost_begin = False
        self._begun_after: datetime | None = None

    # --- one put

    async def put(self, part: Part) -> None:
        """Store a file that fits one part."""
        await self._store(lambda: self._bucket.put(self._description, part), self._patience(len(part.body)))

    # --- many parts

    def open(self, group: asyncio.TaskGroup, on_failure: Callable[[], object]) -> None:
        """Start the workers. The upload begins with the first part."""
        self._on_failure = on_failure
        for _ in range(self._limits.parts_in_flight):
            group.create_task(self._work())

    async def offer(self, shared: SharedPart) -> None:
        """Wait for room in the queue."""
        await self._room.acquire()
        self._parts.put_nowait(shared)

    def close(self) -> None:
        """No more parts will be offered; the workers end after the last."""
        self._parts.put_nowait(None)

    def discard(self) -> None:
        """Let go of what is still queued; the workers end as they would."""
        closed = False
        while not self._parts.empty():
            shared = self._parts.get_nowait()
            if shared is None:
                closed = True
            else:
                self._room.release()
                shared.let_go()
        if closed:
            self.close()

    async def complete(self, digests: Digests) -> None:
        """Publish in this account."""
        if self._upload is not None and self.error is None:
            upload = self._upload
            await self._store(lambda: upload.complete(digests), self._limits.complete_seconds)
            if self.stored is not None:
                await self._tidy_up()

    async def _tidy_up(self) -> None:
        """A begin that went unanswered and was repeated left an upload of which nobody has the id."""
        try:
            async with asyncio.timeout(self._limits.remove_seconds):
                await self._abort_lost()
        except (AccountError, TimeoutError) as error:
            _log.warning(
                "upload_left_open", account=self._bucket.account.name, key=self._description.key, error=repr(error)
            )

    async def _work(self) -> None:
        while (shared := await self._parts.get()) is not None:
            self._room.release()
            try:
                if self.error is None:
                    await self._send(shared.part)
            except AccountError as error:
                self._fail(error)
            finally:
                shared.let_go()
        self._parts.put_nowait(None)  # for the next worker

    async def _send(self, part: Part) -> None:
        """In a frame of its own: a worker that waits for its next part must not hold the bytes of its last."""
        upload = await self._begun()
        await self._attempt("part", lambda: upload.send(part), self._patience(len(part.body)))

    async def _begun(self) -> Upload:
        async with self._beginning:
            if self.error is not None:  # the worker before us found the account failing
                raise self.error
            if self._upload is None:
                self._begun_after = datetime.now(UTC)
                begin = self._attempt("begin", self._begin, self._limits.stall_seconds)
                self._upload = await begin
                self._left_traces = True
            return self._upload

    async def _begin(self) -> Upload:
        try:
            return await self._bucket.begin(self._description)
        except AccountError as error:
            self._lost_begin |= error.retryable or error.unanswered
            raise
        except asyncio.CancelledError:
            self._lost_begin = True
            raise

    # --- the end

    async def roll_back(self) -> Removal:
        """Take back what this upload left in the account. Never raises, whatever the account answers."""
        if not self._left_traces:
            return Removal.REMOVED
        try:
            await self._attempt("remove", self._remove, self._limits.remove_seconds)
            if self._unanswered:
                # What went unanswered may land after we looked: look again once it had time to settle.
                await asyncio.sleep(self._limits.settle_seconds)
                await self._attempt("remove", self._remove, self._limits.remove_seconds)
        except AccountError as error:
            _log.warning("removal_pending", account=error.account, detail=error.detail, s3_code=error.s3_code)
            return Removal.PENDING
        except Exception:  # noqa: BLE001 - one account's nonsense must not hide the outcomes of the others
            _log.exception("removal_crashed", account=self._bucket.account.name, key=self._description.key)
            return Removal.PENDING
        return Removal.REMOVED

    async def _remove(self) -> None:
        if self._upload is not None:
            await self._upload.abort()
        await self._abort_lost()
        await self._bucket.remove(self._description)

    async def _abort_lost(self) -> None:
        if self._lost_begin and self._begun_after is not None:
            await self._bucket.abort_lost(self._description, since=self._begun_after)

    def outcome(self, removal: Removal | None) -> Outcome:
        """What became of the account; `removal` when the upload as a whole was taken back."""
        account = self._bucket.account
        if self.stored is not None and removal is None:
            return self.stored
        return Failed(
            account=account.name,
            bucket=account.s3_bucket_name,
            object_key=account.prefix + self._description.key,
            error=self.error or TakenBackError(account.name, "upload"),
            removal=removal or Removal.REMOVED,
        )

    # --- under one slot and one deadline

    def _patience(self, size: int) -> float:
        return self._limits.stall_seconds + size / self._limits.account_bytes_per_second

    def _fail(self, error: AccountError) -> None:
        _without_frames(error)
        if self.error is None:
            self.error = error
            self._on_failure()

    async def _store(self, publish: Callable[[], Awaitable[Stored]], seconds: float) -> None:
        try:
            self.stored = await self._attempt("publish", publish, seconds)
            self._left_traces = True
        except AccountError as error:
            self._fail(error)

    async def _attempt(self, operation: str, call: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Call until it succeeds, fails for good, or time is up. Raises `AccountError`."""
        name = self._bucket.account.name
        started = time.monotonic()
        errors: list[AccountError] = []

        async def counted() -> T:
            if operation != "remove":
                self.attempts += 1
            return await call()

        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await self._bucket.slots.acquire()
        except TimeoutError:
            raise AccountStalledError(name, operation, "has too many requests under way") from None
        try:
            async with asyncio.timeout(seconds):
                return await self._retry(counted, errors)
        except AccountError:
            raise
        except BaseException as error:  # out of time, cancelled, or a bug: nobody knows what became of the request
            self._left_traces = self._unanswered = True
            if isinstance(error, TimeoutError):
                raise (errors[-1] if errors else AccountStalledError(name, operation, unanswered=True)) from None
            raise
        finally:
            self._bucket.slots.release()
            self.seconds += time.monotonic() - started

    async def _retry(self, call: Callable[[], Awaitable[T]], errors: list[AccountError]) -> T:
        """Full jitter between attempts. `errors` is the caller's, to look at when time runs out in here."""
        for attempt in range(self._limits.attempts):
            if attempt:
                longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt)
                await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - jitter, no secret
            try:
                return await call()
            except AccountError as error:
                # An account that answers "500" may have done it all the same.
                self._left_traces |= error.retryable or error.unanswered
                self._unanswered |= error.unanswered
                errors.append(_without_frames(error))
                if not error.retryable:
                    break
        raise errors[-1]


def _without_frames(error: AccountError) -> AccountError:
    """A traceback holds frames, and they the bytes of parts that were given back, in cycles that may stay for long."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__context__
    return error
