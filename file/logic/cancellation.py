"""Work that a cancellation does not interrupt: what has begun is ended, so that its result is known."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def despite_cancellation(work: asyncio.Future[T] | Coroutine[Any, Any, T]) -> T:
    """The result of `work`, also if the caller is cancelled meanwhile: then the cancellation has no effect."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(task)
        return task.result()
    finally:
        del task, work  # or an error of the work holds this frame, and the frame the error
