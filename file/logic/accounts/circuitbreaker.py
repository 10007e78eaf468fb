"""The circuit breaker of an account: after a few failures in a row it pauses requests, then sends one cheap request.

Meanwhile the breaker is open; log and metric call the account "left alone". Background work waits here for the account,
so that a thousand replicas of an account that is down cost only one request from time to time. Each replica has a pause
of its own, too (`file/ledger/work/results.py`). Only errors that may pass by themselves count: a refusal concerns one
replica, and is reported there.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from file.logic.backoff import spread
from file.logic.errors import AccountError, UploadError

_log = structlog.get_logger()
_FAILURES = 3
_SHORTEST_SECONDS = 0.5
_LONGEST_SECONDS = 60.0


class Breaker:
    """The breaker of one account. `probe` asks the account, and raises `AccountError`. Belongs to one event loop."""

    def __init__(self, account: str, probe: Callable[[], Awaitable[None]]) -> None:
        self._name = account
        self._probe = probe
        self._failures = 0
        self._rounds = 0  # pauses since the last success
        self._probing = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether requests are paused."""
        return self._failures >= _FAILURES

    async def passes(self) -> None:
        """Waits until requests are allowed."""
        async with self._probing:
            while self.is_open:
                longest = min(_LONGEST_SECONDS, _SHORTEST_SECONDS * 2 ** min(self._rounds, 20))
                self._rounds += 1
                await asyncio.sleep(spread(longest))
                try:
                    await self._probe()
                except AccountError as error:
                    _log.info("account_still_failing", account=self._name, code=error.code)
                else:
                    self._failures = 0
                    _log.info("account_answers_again", account=self._name)

    def failed(self, error: UploadError) -> None:
        """Counts a failed request."""
        if not error.retryable:
            return
        self._failures += 1
        if self._failures == _FAILURES:
            _log.warning("account_left_alone", account=self._name, code=error.code)

    def succeeded(self) -> None:
        if not self.is_open:
            self._failures = self._rounds = 0
