"""The lanes of one upload: how many of them the ack needs, and how long the upload waits for the others.

Each lane is a separate task, because a lane that the ack does not need may go on after the answer. The flow waits for
such lanes for `grace_seconds` and a quarter of the upload's time in total: healthy accounts are never equally fast, and
should give 201 and not 202.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from file.logic.fanout.lane import Lane
from file.logic.fanout.retries import Attempts
from file.logic.parts import SharedPart
from file.logic.ports import StorageAccount
from file.logic.values import Digests, Limits, ObjectDescription, Stored

_TOLERANCE = 0.25  # the share of the upload's time to wait for accounts that the ack does not need


class FanOut:
    """`needed` lanes must have the file. `begun` is called for every multipart upload. `behind` says whether an account
    is known to be behind: the flow does not wait for it beyond the ack. `calls`: those of requests that are under way.
    """

    def __init__(
        self,
        buckets: Sequence[StorageAccount],
        description: ObjectDescription,
        limits: Limits,
        calls: Sequence[Attempts] | None = None,
        *,
        needed: int,
        begun: Callable[[str, str | None], object],
        behind: Callable[[str], bool] = lambda account: False,
    ) -> None:
        self._behind = behind
        self._changed = asyncio.Event()
        self._needed = needed
        self._grace_seconds = limits.grace_seconds
        self._began = time.monotonic()
        self._waited_seconds = 0.0
        self.lanes = [
            Lane(bucket, description, limits, each, note=self._changed.set, begun=begun)
            for bucket, each in zip(buckets, calls or [Attempts(bucket, limits) for bucket in buckets], strict=True)
        ]

    @property
    def living(self) -> list[Lane]:
        return [lane for lane in self.lanes if lane.error is None]

    @property
    def met(self) -> bool:
        """Enough accounts have the file for the ack."""
        return sum(lane.stored is not None for lane in self.lanes) >= self._needed

    @property
    def lost(self) -> bool:
        """The ack can no longer be met."""
        return len(self.living) < self._needed

    @property
    def ready(self) -> bool:
        """Enough lanes have sent every part for the ack."""
        return sum(lane.ready for lane in self.living) >= self._needed

    @property
    def ended(self) -> bool:
        return all(lane.ended for lane in self.lanes)

    def start(self) -> None:
        for lane in self.lanes:
            lane.start()

    def take_over(self, puts: Sequence[asyncio.Task[Stored]], shared: SharedPart | None) -> None:
        """Each lane takes over the put of its account, by its `calls`, and will release the part."""
        if shared is not None:  # it is not released yet
            shared.hold(len(self.lanes))
        for lane, put in zip(self.lanes, puts, strict=True):
            lane.take_over(put, shared)

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Checks the conditions again when the task ends."""
        task.add_done_callback(lambda _: self._changed.set())

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def within_grace(self, condition: Callable[[Lane], bool]) -> None:
        """Waits for the rest of the grace until the condition is true for every living lane that is not known to be
        behind. The grace grows with the upload, so that slightly slower accounts do not lengthen it by much.
        """

        def holds() -> bool:
            return all(condition(lane) or self._behind(lane.account) for lane in self.living)

        left = self._grace_seconds + (time.monotonic() - self._began) * _TOLERANCE - self._waited_seconds
        left = min(left, self._grace_seconds)  # never longer in one wait
        if holds() or left <= 0:
            return
        began = time.monotonic()
        try:
            async with asyncio.timeout(left):
                await self.until(holds)
        except TimeoutError:
            return
        finally:
            self._waited_seconds += time.monotonic() - began

    async def offer(self, part: SharedPart) -> None:
        """Gives the part to every living lane. A lane without room that the ack does not need is dropped."""
        try:
            await self.until(lambda: self.lost or sum(lane.parts.has_room for lane in self.living) >= self._needed)
            await self.within_grace(lambda lane: lane.parts.has_room)
        except BaseException:
            part.release()
            raise
        takers = [] if self.lost else [lane for lane in self.living if lane.parts.has_room]
        for lane in self.living if takers else ():
            if lane not in takers:
                lane.drop()
                self._waited_seconds = 0.0  # the wait was for this lane
        part.hold(1 + len(takers))
        for lane in takers:
            lane.parts.take(part)
        part.release()

    def close(self) -> None:
        for lane in self.lanes:
            lane.parts.close()

    def publish(self, digests: Digests) -> None:
        for lane in self.lanes:
            lane.publish(digests)

    async def give_up(self) -> None:
        """Publishes nothing, and waits for the requests in flight: S3 may keep a part that ends after the abort."""
        for lane in self.lanes:
            lane.give_up()
        await self.until(lambda: self.ended)

    async def end(self) -> None:
        """Cancels the requests in flight, and waits for their end."""
        await asyncio.gather(*(lane.end() for lane in self.lanes))
