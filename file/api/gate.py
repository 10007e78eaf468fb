"""The gate of the uploads: how many are under way, and how they end when the service does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from file.logic.errors import BusyError, ShuttingDownError

T = TypeVar("T")


class Gate:
    """Lets `max_uploads` in at once. Belongs to one event loop."""

    def __init__(self, max_uploads: int) -> None:
        self.draining = False
        self._max_uploads = max_uploads
        self._uploads: set[asyncio.Task[Any]] = set()

    @property
    def under_way(self) -> int:
        return len(self._uploads)

    async def run(self, upload: Coroutine[Any, Any, T]) -> T:
        """Run an upload to its end, whatever becomes of the connection. Raises `BusyError` if it may not begin."""
        if self.draining or len(self._uploads) >= self._max_uploads:
            upload.close()
            if self.draining:
                raise ShuttingDownError
            raise BusyError(f"The service is busy: {self._max_uploads} uploads are under way.")
        task = asyncio.ensure_future(upload)
        self._uploads.add(task)
        task.add_done_callback(self._uploads.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # by `drain`, not by the server
                raise ShuttingDownError from None
            raise
        finally:
            del task  # or an error of the upload holds this frame, and the frame the error

    async def drain(self, seconds: float) -> None:
        """Let nobody in any more; wait for those inside, then cancel them and wait until they have taken back."""
        self.draining = True
        if self._uploads:
            await asyncio.wait(self._uploads, timeout=seconds)
        for task in self._uploads:
            task.cancel()
        if self._uploads:
            await asyncio.wait(self._uploads)
