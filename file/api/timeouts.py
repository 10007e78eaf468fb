"""A time limit for many waits of one task in a row, with one timer for all of them.

`asyncio.timeout` makes and cancels a timer per wait, and a body arrives in many chunks: that took a tenth of the CPU
time of a 5 MiB upload. This one interrupts in the same way: it cancels the task and un-cancels it when the wait ends,
so that a cancellation by another party stays one.
"""

import asyncio
import time


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
