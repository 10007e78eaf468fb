"""The calls of one upload to one account, with retries: each has one slot of the account and one deadline.

The deadline starts when the slot is taken. "Failed" does not mean "nothing happened", so two facts are stored:
`left_traces`: the account may have something; `unanswered`: something may still arrive there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from file.logic.backoff import full_jitter
from file.logic.errors import (
    AccountError,
    AccountStalledError,
    AccountUnreachableError,
    TakenBackError,
    without_frames,
)
from file.logic.ports import StorageAccount
from file.logic.values import Limits, ObjectDescription, Part, Stored

T = TypeVar("T")

PUBLISH = "publish"
_REMOVE = "remove"
_FIRST_SECONDS, _LONGEST_SECONDS = 0.1, 3.0  # pauses


class Attempts:
    """`count`: the number of calls that store; `seconds`: the time of all calls.

    If `may_publish` is set, it is asked before each call that publishes.
    """

    __slots__ = (
        "_account",
        "_bucket",
        "_limits",
        "_slots",
        "count",
        "left_traces",
        "may_publish",
        "seconds",
        "unanswered",
    )

    def __init__(self, bucket: StorageAccount, limits: Limits) -> None:
        self.left_traces = False
        self.unanswered = False
        self.count = 0
        self.seconds = 0.0
        self.may_publish: Callable[[], Awaitable[bool]] | None = None
        self._bucket = bucket
        self._account = bucket.account.name
        self._slots = bucket.slots
        self._limits = limits

    def put(self, description: ObjectDescription, part: Part) -> Coroutine[Any, Any, Stored]:
        """Stores a file of one part."""
        call = partial(self._bucket.put, description, part)
        return self.store(PUBLISH, call, self._limits.seconds_for(len(part.body)))

    async def remove(self, call: Callable[[], Awaitable[None]]) -> None:
        """Like `store`, for removals."""
        await self.store(_REMOVE, call, self._limits.remove_seconds)

    async def store(self, operation: str, call: Callable[[], Awaitable[T]], seconds: float) -> T:
        """Calls until it succeeds, fails permanently, or time is up. Raises `AccountError`; `TakenBackError` if
        `may_publish` forbids it.
        """
        started = time.monotonic()
        errors: list[AccountError] = []
        if self._slots.locked():
            await self._wait_for_slot(operation)
        else:
            await self._slots.acquire()  # at once
        try:
            async with asyncio.timeout(seconds):
                return await self._retry(operation, call, errors)
        except AccountError:
            raise
        except BaseException as error:  # out of time, cancelled, or a bug: the result of the request is unknown
            self.left_traces = self.unanswered = True
            if isinstance(error, TimeoutError):
                raise (
                    errors[-1] if errors else AccountStalledError(self._account, operation, unanswered=True)
                ) from None
            raise
        finally:
            errors.clear()  # otherwise the error and this frame hold each other
            self._slots.release()
            self.seconds += time.monotonic() - started

    async def _wait_for_slot(self, operation: str) -> None:
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise AccountStalledError(self._account, operation, "has too many requests under way") from None

    async def _retry(self, operation: str, call: Callable[[], Awaitable[T]], errors: list[AccountError]) -> T:
        """Retries with full jitter. The caller passes `errors`, to see them if time runs out in here."""
        for attempt in range(self._limits.attempts):
            if attempt:
                self._bucket.repeats(operation)
                pause = full_jitter(attempt, first_seconds=_FIRST_SECONDS, longest_seconds=_LONGEST_SECONDS)
                await asyncio.sleep(pause)
            if operation == PUBLISH and self.may_publish is not None and not await self.may_publish():
                raise TakenBackError(self._account, operation, "must not get the file any more")
            self.count += operation != _REMOVE
            try:
                return await call()
            except AccountError as error:
                self.left_traces |= may_have_happened(error)
                self.unanswered |= error.unanswered
                errors.append(without_frames(error))
                if not error.retryable:
                    break
        raise errors[-1]


def may_have_happened(error: AccountError) -> bool:
    """Whether the request may have taken effect: yes after an answer of 500, no if the account was never reached."""
    never_reached = isinstance(error, AccountUnreachableError) and not error.unanswered
    return error.unanswered or (error.retryable and not never_reached)
