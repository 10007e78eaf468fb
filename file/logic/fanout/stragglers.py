"""Lanes that go on after the answer, because the ack was met without them.

Each is followed to its end, and its outcome goes into the ledger. Their parts use memory that uploads under way could
use: at most an eighth of UPLOAD_MEMORY per account. A lane beyond that is dropped at once.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import structlog

from file.logic.errors import LedgerUnavailableError, UploadError
from file.logic.fanout.lane import Lane
from file.logic.ports import Ledger
from file.logic.values import KiB, Limits, Pending, Removal

_log = structlog.get_logger()
_SHARE = 8
_LEAST_BYTES = 64 * KiB  # the minimum that a lane counts, because its tasks and its request need memory, too


class Stragglers:
    """Belongs to one event loop; `drain` before it ends."""

    def __init__(self, ledger: Ledger, limits: Limits) -> None:
        self._ledger = ledger
        self._most = limits.memory // _SHARE
        self._held: Counter[str] = Counter()
        self._followed: dict[asyncio.Task[None], Lane] = {}

    @property
    def under_way(self) -> int:
        return len(self._followed)

    def has(self, account: str) -> bool:
        """Whether an earlier upload still goes on there: then an upload waits for the account only if it needs it."""
        return self._held[account] > 0

    def admit(self, lanes: Sequence[Lane]) -> None:
        """Before the receipt is written: drops the lanes for which there is no room.

        The others count at once until they end, because many uploads may come here before the first receipt is written.
        """
        for lane in lanes:
            if lane.ended:
                continue
            weight = max(lane.parts.held, _LEAST_BYTES)
            if self._held[lane.account] + weight > self._most:
                lane.drop()
            else:
                self._held[lane.account] += weight
                lane.when_ended(partial(self._held.subtract, {lane.account: weight}))

    def follow(self, file_id: str, lanes: Sequence[Lane]) -> None:
        """After the receipt is written: follows these lanes to their end.

        From now on the file may be erased, and a store may lock an object that it gets later. So each lane asks the
        ledger before it publishes.
        """
        for lane in lanes:
            lane.calls.may_publish = partial(self._may_publish, file_id, lane.account)
            task = asyncio.create_task(self._follow(file_id, lane))
            self._followed[task] = lane
            task.add_done_callback(self._followed.pop)

    async def drain(self, seconds: float) -> None:
        """Waits for the lanes, then stops the rest; incomplete uploads are aborted."""
        if self._followed:
            await asyncio.wait(self._followed, timeout=seconds)
        for lane in self._followed.values():
            if not lane.ended:
                lane.drop()
        if self._followed:
            await asyncio.wait(self._followed)

    async def _may_publish(self, file_id: str, account: str) -> bool:
        try:
            return await self._ledger.may_publish(file_id, account)
        except LedgerUnavailableError:  # catch-up copies the file, if it still exists
            return False

    async def _follow(self, file_id: str, lane: Lane) -> None:
        await lane.until_ended()
        try:
            removal = Removal.REMOVED if lane.stored else await lane.abandon()
            outcome = lane.outcome()
            if isinstance(outcome, Pending) and removal is Removal.PENDING:
                outcome = replace(outcome, retryable=True)  # catch-up must examine what is left there
            if not await self._ledger.follow(file_id, outcome):
                await lane.roll_back()
            _log.info("account_followed", id=file_id, account=lane.account, stored=lane.stored is not None)
        except UploadError as error:  # the lease ends, and catch-up examines the account
            _log.warning("follow_failed", id=file_id, account=lane.account, code=error.code)
