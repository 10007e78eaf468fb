"""Time limits for many waits of one task in a row: one timer for all of them, and the minimum rate of a client.

`asyncio.timeout` makes and cancels a timer per wait, and a body arrives in many chunks: that took a tenth of the CPU
time of a 5 MiB upload. This one interrupts in the same way: it cancels the task and un-cancels it when the wait ends,
so that a cancellation by another party stays one.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class ReusableTimeout:
    """The limit of a wait may not lie before the limit of the wait before. `close` it after the last wait."""

    __slots__ = ("_cancelling", "_deadline", "_is_over", "_task", "_timer")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None  # the task that waits now
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = 0
        self._deadline = 0.0
        self._is_over = False

    def begin(self, seconds: float) -> None:
        """The current task waits from now on, for `seconds` at most."""
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancelling = self._task.cancelling()
        self._deadline = time.monotonic() + seconds
        if self._timer is None:
            self._set(seconds)

    def end(self) -> None:
        """The wait is over. Raises `TimeoutError` if it took too long, unless another party cancelled the task.

        To be called however the wait ended.
        """
        task, self._task = self._task, None
        if self._is_over:
            self._is_over = False
            assert task is not None
            left = task.uncancel()
            del task  # or the error holds this frame, the frame the task, and the task the error
            if left <= self._cancelling:
                raise TimeoutError

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._task is None:
            return  # the next wait sets the timer again
        left = self._deadline - time.monotonic()
        if left > 0:
            self._set(left)
        else:
            self._is_over = True
            self._task.cancel()


class MinimumRate:
    """The minimum rate of one client; 0 means no limit. Only the time counts in which the service waits for the client.

    Bytes pay for the time that has passed, never for time to come: a fast beginning buys no silence later.
    """

    def __init__(self, bytes_per_second: int, grace_seconds: float) -> None:
        self._rate = bytes_per_second
        self._grace_seconds = grace_seconds
        self._owed_seconds = 0.0
        self._timeout = ReusableTimeout()

    async def wait(self, step: Awaitable[T]) -> T:
        """The result of `step`, for which the service waits. Raises `TimeoutError`."""
        if not self._rate:
            return await step
        began = time.monotonic()
        # The debt grows by the time waited at most, so the limit never moves back.
        self._timeout.begin(max(0.0, self._grace_seconds - self._owed_seconds))
        try:
            result = await step
        finally:
            self._timeout.end()
        self._owed_seconds += time.monotonic() - began
        return result

    def paid(self, size: int) -> None:
        """The client has sent or taken `size` bytes."""
        if self._rate:
            self._owed_seconds = max(0.0, self._owed_seconds - size / self._rate)

    def close(self) -> None:
        """No further wait follows."""
        self._timeout.close()
