"""Admission of uploads: how many run at once, and how they end when the service ends.

An upload runs in the task of its request, which the server never cancels: the upload of a body that has arrived whole
ends as if its client were there.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from file.logic.errors import BusyError, ShuttingDownError


class Admission:
    """Admits `max_uploads` at once. One principal has at most `share` of them. Belongs to one event loop."""

    def __init__(self, max_uploads: int, *, share: float = 1.0) -> None:
        self.draining = False
        self._max_uploads = max_uploads
        self._max_of_one = max(1, int(max_uploads * share))
        self._of: Counter[str] = Counter()
        self._uploads: set[asyncio.Task[Any]] = set()
        self._stopped: set[asyncio.Task[Any]] = set()  # by `drain`
        self._ended = asyncio.Event()

    @property
    def under_way(self) -> int:
        return len(self._uploads)

    @contextmanager
    def admitted(self, who: str) -> Iterator[None]:
        """To be held while the current task runs an upload.

        Raises `BusyError` on entering, `ShuttingDownError` where `drain` has cancelled the upload.
        """
        self._check(who)
        task = asyncio.current_task()
        assert task is not None
        self._uploads.add(task)
        self._of[who] += 1
        try:
            yield
        except asyncio.CancelledError:
            if task in self._stopped:
                raise ShuttingDownError from None
            raise
        finally:
            self._uploads.discard(task)
            self._of[who] -= 1
            self._ended.set()
            if task in self._stopped:
                self._stopped.discard(task)
                task.uncancel()  # it goes on, with an answer
            del task  # an error of the upload would hold this frame, and the frame the task

    def _check(self, who: str) -> None:
        if self.draining:
            raise ShuttingDownError
        if len(self._uploads) >= self._max_uploads:
            raise BusyError(f"The service is busy: {self._max_uploads} uploads are running.")
        if self._of[who] >= self._max_of_one:
            raise BusyError(f"The service is busy: {self._max_of_one} uploads with this token are running.")

    async def drain(self, seconds: float) -> None:
        """Admit no more uploads; wait for those under way, then cancel them and wait for their roll-back."""
        self.draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._until_idle()
        for task in self._uploads - self._stopped:  # once, also if a second signal drains again
            self._stopped.add(task)
            task.cancel()
        await self._until_idle()

    async def _until_idle(self) -> None:
        while self._uploads:
            self._ended.clear()
            await self._ended.wait()
