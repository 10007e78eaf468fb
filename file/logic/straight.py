"""The straight way of a file of one part: one put per account, all at the same time, and no lanes.

If every account has the file, its outcome is recorded, and that is all. Lanes are opened only when the ack needs fewer
accounts, an account failed, the upload was cancelled, or its lease was lost. They take over the puts as they are, under
way or ended, so that only lanes know how an upload waits for some of its accounts, and how it is rolled back.
Leaves to others: the retries of a put (`fanout/retries.py`), lanes (`fanout/`), and the end (`conclusion.py`).
"""

import asyncio
from collections.abc import Callable, Sequence

from file.logic.conclusion import Conclusion
from file.logic.fanout.cancellation import despite_cancellation
from file.logic.fanout.fanout import FanOut
from file.logic.fanout.retries import Attempts
from file.logic.parts import SharedPart
from file.logic.ports import StorageAccount
from file.logic.values import Limits, ObjectDescription, Receipt, Stored


async def store_straight(
    shared: SharedPart,
    buckets: Sequence[StorageAccount],
    description: ObjectDescription,
    limits: Limits,
    *,
    needs_all: bool,
    open_lanes: Callable[[Sequence[Attempts]], FanOut],
    conclusion: Conclusion,
) -> Receipt:
    """Stores the file in every account, or at least in the number that the ack needs, or in none.

    `open_lanes` opens lanes for the requests that are under way. Errors and cancellation as in `Conclusion.after`.
    """
    calls = [Attempts(bucket, limits) for bucket in buckets]
    puts = [asyncio.create_task(each.put(description, shared.part)) for each in calls]

    def lanes(part: SharedPart | None) -> FanOut:
        fanout = open_lanes(calls)
        fanout.take_over(puts, part)
        return fanout

    try:
        if needs_all:
            await asyncio.wait(puts)
    except asyncio.CancelledError:
        receipt = await despite_cancellation(conclusion.of_lanes(lanes(shared)))
        if not receipt.acknowledged:
            raise
        return receipt
    if not (needs_all and all(map(_has_stored, puts))):
        fanout = lanes(shared)
        return await conclusion.after(_until_met(fanout), fanout)
    shared.release()
    receipt, held = await conclusion.record([put.result() for put in puts], calls)
    if not held:
        await despite_cancellation(conclusion.lose(receipt, lanes(None)))
    return receipt


async def _until_met(fanout: FanOut) -> None:
    """If the ack cannot be met, each put still runs to its end, for its outcome."""
    await fanout.until(lambda: fanout.met or fanout.ended)
    await fanout.within_grace(lambda lane: lane.stored is not None or lane.ended)


def _has_stored(put: asyncio.Task[Stored]) -> bool:
    return not put.cancelled() and put.exception() is None
