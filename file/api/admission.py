"""Admission of uploads: how many run at once, and how they end when the service ends."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Set
from typing import Any, TypeVar

from file.logic.errors import BusyError, ShuttingDownError

T = TypeVar("T")


class Admission:
    """Admits `max_uploads` at once. One principal has at most `share` of them. Belongs to one event loop."""

    def __init__(self, max_uploads: int, *, share: float = 1.0) -> None:
        self.draining = False
        self._max_uploads = max_uploads
        self._max_of_one = max(1, int(max_uploads * share))
        self._of: Counter[str] = Counter()
        self._uploads: set[asyncio.Task[Any]] = set()

    @property
    def under_way(self) -> int:
        return len(self._uploads)

    async def run(self, upload: Coroutine[Any, Any, T], *, who: str) -> T:
        """Run an upload to its end, also if its connection ends before. Raises `BusyError` if it is not admitted."""
        try:
            self._check(who)
        except BusyError:
            upload.close()
            raise
        task = asyncio.ensure_future(upload)
        self._uploads.add(task)
        self._of[who] += 1
        task.add_done_callback(self._uploads.discard)
        task.add_done_callback(lambda _: self._of.subtract((who,)))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `drain`, not by the server
                raise ShuttingDownError from None
            raise
        finally:
            del task  # an error of the upload would hold this frame, and the frame the error

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
        await drain(self._uploads, seconds)


async def drain(tasks: Set[asyncio.Task[Any]], seconds: float) -> None:
    """Wait for the tasks, which leave the set as they end; then cancel them and wait for their end."""
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
