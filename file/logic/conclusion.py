"""The end of one upload: the receipt, its log lines, and its outcome in the ledger; or everything is rolled back.

Promises: the outcome is durable before a receipt is returned. A cancellation ends the work, but never the conclusion.
Leaves to others: when an upload ends (the flow), and lanes that go on after it (`fanout/stragglers.py`).
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import replace

from file.logic.errors import LeaseLostError, LedgerUnavailableError
from file.logic.fanout.cancellation import despite_cancellation
from file.logic.fanout.fanout import FanOut
from file.logic.fanout.retries import Attempts
from file.logic.fanout.stragglers import Stragglers
from file.logic.metadata import log_outcomes
from file.logic.parts import PartReader
from file.logic.ports import Ledger
from file.logic.values import Identity, IncomingFile, Outcome, Receipt


class Conclusion:
    """Of one file, whose intent is in the ledger."""

    def __init__(
        self, file: IncomingFile, identity: Identity, reader: PartReader, ledger: Ledger, stragglers: Stragglers
    ) -> None:
        self._file = file
        self._identity = identity
        self._reader = reader
        self._ledger = ledger
        self._stragglers = stragglers

    async def after(self, work: Awaitable[None], fanout: FanOut) -> Receipt:
        """Waits for `work`, and concludes with the outcomes of the lanes.

        An error of the work, or its cancellation, is raised after everything was rolled back; if enough accounts for
        the ack have the file all the same, there is a receipt.
        """
        try:
            await work
        except BaseException:
            receipt = await despite_cancellation(self.of_lanes(fanout))
            if not receipt.acknowledged:
                raise
            return receipt
        return await despite_cancellation(self.of_lanes(fanout))

    async def of_lanes(self, fanout: FanOut) -> Receipt:
        """The ack is met, or everything is rolled back.

        Raises `LeaseLostError`, and `LedgerUnavailableError` if it may have been recorded (then nothing is deleted).
        """
        behind = [lane for lane in fanout.lanes if lane.stored is None]
        outcomes: Sequence[Outcome]
        if fanout.met:
            self._stragglers.admit(behind)
            outcomes = [lane.outcome() for lane in fanout.lanes]
        else:
            await fanout.end()
            outcomes = await _roll_back(fanout)
        try:
            receipt, held = await self.record(outcomes, [lane.calls for lane in fanout.lanes])
        except LedgerUnavailableError:
            await fanout.end()
            raise
        if not held:
            await self.lose(receipt, fanout)
        if receipt.acknowledged:
            self._stragglers.follow(self._file.id, behind)
        return receipt

    async def record(self, outcomes: Sequence[Outcome], calls: Sequence[Attempts]) -> tuple[Receipt, bool]:
        """Writes the receipt into log and ledger. Returns it, and whether the lease was still held."""
        receipt = Receipt(
            id=self._file.id,
            key=self._identity.key,
            name=self._identity.name,
            content_type=self._file.content_type,
            digests=self._reader.checked,
            outcomes=tuple(outcomes),
            metadata=self._file.metadata,
            content_headers=self._file.content_headers,
        )
        log_outcomes(receipt, calls)
        return receipt, await self._ledger.conclude(receipt)

    async def lose(self, receipt: Receipt, fanout: FanOut) -> None:
        """Rolls back, because another process has taken the lease. Raises `LeaseLostError`."""
        await fanout.end()
        outcomes = await _roll_back(fanout)
        await self._ledger.conclude(replace(receipt, outcomes=tuple(outcomes)))  # with what could not be removed
        raise LeaseLostError


async def _roll_back(fanout: FanOut) -> Sequence[Outcome]:
    removals = await asyncio.gather(*(lane.roll_back() for lane in fanout.lanes))
    return [lane.failed(removal) for lane, removal in zip(fanout.lanes, removals, strict=True)]
