"""Lanes that go on after the answer, because the ack was met without them.

Each is followed to its end, and what became of it goes into the ledger. They keep parts in memory that uploads under
way could use: at most an eighth of UPLOAD_MEMORY an account. What would exceed that is let go at once.
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
_LEAST_BYTES = 64 * KiB  # what a lane counts for at least: its tasks and its request take memory, too


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
        """An earlier upload still goes on there: who does not need the account need not wait for it either."""
        return self._held[account] > 0

    def admit(self, lanes: Sequence[Lane]) -> None:
        """Before the receipt is written: let go of those for which there is no room.

        The others count at once, and until they end: many uploads may be admitted before the first receipt is written.
        """
        for lane in lanes:
            if lane.ended:
                continue
            weight = max(lane.held, _LEAST_BYTES)
            if self._held[lane.account] + weight > self._most:
                lane.let_go()
            else:
                self._held[lane.account] += weight
                lane.when_ended(partial(self._release, lane.account, weight))

    def follow(self, file_id: str, lanes: Sequence[Lane]) -> None:
        """After the receipt is written: see these lanes to their end.

        From now on the file may be erased, and be locked by an account that gets it all the same: so they ask first.
        """
        for lane in lanes:
            lane.calls.may_publish = partial(self._may_publish, file_id, lane.account)
            task = asyncio.create_task(self._follow(file_id, lane))
            self._followed[task] = lane
            task.add_done_callback(self._followed.pop)

    async def drain(self, seconds: float) -> None:
        """Wait for those under way, then cut them off; what they stored by half is taken back."""
        if self._followed:
            await asyncio.wait(self._followed, timeout=seconds)
        for lane in self._followed.values():
            if not lane.ended:
                lane.let_go()
        if self._followed:
            await asyncio.wait(self._followed)

    def _release(self, account: str, weight: int) -> None:
        self._held[account] -= weight

    async def _may_publish(self, file_id: str, account: str) -> bool:
        try:
            return await self._ledger.may_publish(file_id, account)
        except LedgerUnavailableError:  # catch-up brings it, if it is still to be there
            return False

    async def _follow(self, file_id: str, lane: Lane) -> None:
        await lane.until_ended()
        try:
            removal = Removal.REMOVED if lane.stored else await lane.abandon()
            outcome = lane.outcome()
            if isinstance(outcome, Pending) and removal is Removal.PENDING:
                outcome = replace(outcome, retryable=True)  # somebody has to look what is left there
            if not await self._ledger.follow(file_id, outcome):
                await lane.roll_back()
            _log.info("account_followed", id=file_id, account=lane.account, stored=lane.stored is not None)
        except UploadError as error:  # the lease runs out, and the clean-up looks what is there
            _log.warning("follow_failed", id=file_id, account=lane.account, code=error.code)
