"""How long to wait before something is tried again, and trying again.

Waits are drawn at random (jitter), so that many callers never go in step.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from file.logic.errors import AccountError

T = TypeVar("T")


def full_jitter(attempt: int, *, first_seconds: float, longest_seconds: float) -> float:
    """Seconds before the next attempt: up to `first_seconds` after attempt 0, twice as long after each further one."""
    return random.uniform(0, min(longest_seconds, first_seconds * 2**attempt))  # noqa: S311 - no secret


def spread(seconds: float, least: float = 0.5, most: float = 1.0) -> float:
    """A time between these shares of `seconds`."""
    return seconds * random.uniform(least, most)  # noqa: S311 - no secret


async def retried(
    ask: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    first_seconds: float,
    longest_seconds: float,
    may_retry: Callable[[AccountError], bool] = lambda error: error.retryable,
) -> T:
    """Ask until it succeeds, fails for good, or has failed `attempts` times. Raises `AccountError`."""
    for attempt in range(attempts):
        try:
            return await ask()
        except AccountError as error:
            if not may_retry(error) or attempt + 1 == attempts:
                raise
        await asyncio.sleep(full_jitter(attempt, first_seconds=first_seconds, longest_seconds=longest_seconds))
    raise AssertionError  # the last attempt returns or raises
