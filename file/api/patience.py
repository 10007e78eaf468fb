"""How long somebody may let us wait who is waited for again and again: one timer for all of that.

`asyncio.timeout` makes and cancels one for each wait, and a body arrives in many chunks: it was a tenth of what the
interpreter had to do for 5 MiB. It interrupts as that does: the task is cancelled, and un-cancelled where that is
understood, so that a cancellation by anybody else stays one.
"""

import asyncio
import time


class Patience:
    """The limit of a wait may not lie before that of the wait before. `close` it when nobody will be waited for."""

    __slots__ = ("_cancelling", "_deadline", "_is_over", "_task", "_timer")

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None  # that waits now
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
        """It does not wait any more. Raises `TimeoutError` if it did for too long, unless somebody else cancelled it.

        To be called whatever became of the wait.
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
            return  # whoever waits next sets it again
        left = self._deadline - time.monotonic()
        if left > 0:
            self._set(left)
        else:
            self._is_over = True
            self._task.cancel()
