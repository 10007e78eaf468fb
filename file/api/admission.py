"""The gate of the uploads: how many are under way, and how they end when the service does."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from file.logic.errors import BusyError, ShuttingDownError

T = TypeVar("T")


class Gate:
    """Lets `max_uploads` in at once, of which one holder has `share` at most. Belongs to one event loop."""

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
        """Run an upload to its end, whatever becomes of the connection. Raises `BusyError` if it may not begin."""
        try:
            self._check(who)
        except BusyError:
            upload.close()
            raise
        task = asyncio.ensure_future(upload)
        self._uploads.add(task)
        self._of[who] += 1
        task.add_done_callback(partial(self._ended, who))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `drain`, not by the server
                raise ShuttingDownError from None
            raise
        finally:
            del task  # or an error of the upload holds this frame, and the frame the error

    def _check(self, who: str) -> None:
        if self.draining:
            raise ShuttingDownError
        if len(self._uploads) >= self._max_uploads:
            raise BusyError(f"The service is busy: {self._max_uploads} uploads are under way.")
        if self._of[who] >= self._max_of_one:
            raise BusyError(f"The service is busy: {self._max_of_one} uploads of this token are under way.")

    def _ended(self, who: str, task: asyncio.Task[Any]) -> None:
        self._uploads.discard(task)
        self._of[who] -= 1

    async def drain(self, seconds: float) -> None:
        """Let nobody in any more; wait for those inside, then cancel them and wait until they have taken back."""
        self.draining = True
        if self._uploads:
            await asyncio.wait(self._uploads, timeout=seconds)
        for task in self._uploads:
            task.cancel()
        if self._uploads:
            await asyncio.wait(self._uploads)
