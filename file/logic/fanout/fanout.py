"""The lanes of one upload together: how many of them the ack needs, and what is waited for.

Lanes are tasks of their own, because those that the ack does not need may go on after the answer. All together may be
waited for, beyond what the ack needs, for `grace_seconds` and a quarter of the upload's time: so that healthy accounts,
which are never equally fast, give 201 and not 202.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from file.logic.fanout.lane import Lane
from file.logic.parts import SharedPart
from file.logic.ports import StorageAccount
from file.logic.values import Digests, Limits, ObjectDescription

_TOLERANCE = 0.25  # of the time that an upload takes, for accounts that the ack does not need


class Crew:
    """`needed` of the lanes must have the file. `begun` is told of every multipart upload. `behind` tells of which
    accounts it is known that they are: nobody waits for them who need not.
    """

    def __init__(
        self,
        buckets: Sequence[StorageAccount],
        description: ObjectDescription,
        limits: Limits,
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
        self.lanes = [Lane(bucket, description, limits, note=self._changed.set, begun=begun) for bucket in buckets]

    @property
    def living(self) -> list[Lane]:
        return [lane for lane in self.lanes if lane.error is None]

    @property
    def met(self) -> bool:
        """As many accounts have the file as the ack wants."""
        return sum(lane.stored is not None for lane in self.lanes) >= self._needed

    @property
    def lost(self) -> bool:
        """The ack cannot be met any more."""
        return len(self.living) < self._needed

    @property
    def ready(self) -> bool:
        """As many lanes have everything as the ack wants."""
        return sum(lane.ready for lane in self.living) >= self._needed

    @property
    def ended(self) -> bool:
        return all(lane.ended for lane in self.lanes)

    def start(self, work: Callable[[Lane], Coroutine[Any, Any, None]]) -> None:
        for lane in self.lanes:
            lane.start(work(lane))

    def watch(self, task: asyncio.Task[Any]) -> None:
        """Look again when it ends."""
        task.add_done_callback(lambda _: self._changed.set())

    async def until(self, claim: Callable[[], bool]) -> None:
        """Wait until it holds."""
        while not claim():
            self._changed.clear()
            await self._changed.wait()

    async def graciously(self, claim: Callable[[Lane], bool]) -> None:
        """Wait until it holds for every living lane that is not known to be behind, for what is left of the grace.

        That grows with the upload: accounts that are a little slower than the others do not slow it by much.
        """

        def holds() -> bool:
            return all(claim(lane) or self._behind(lane.account) for lane in self.living)

        left = self._grace_seconds + (time.monotonic() - self._began) * _TOLERANCE - self._waited_seconds
        left = min(left, self._grace_seconds)  # never longer at a time
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
        """Give the part to every living lane. One that has no room, and that the ack does not need, is let go."""
        try:
            await self.until(lambda: self.lost or sum(lane.has_room for lane in self.living) >= self._needed)
            await self.graciously(lambda lane: lane.has_room)
        except BaseException:
            part.let_go()
            raise
        takers = [] if self.lost else [lane for lane in self.living if lane.has_room]
        for lane in self.living if takers else ():
            if lane not in takers:
                lane.let_go()
                self._waited_seconds = 0.0  # it was for this one
        part.hold(1 + len(takers))
        for lane in takers:
            lane.take(part)
        part.let_go()

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()

    def publish(self, digests: Digests) -> None:
        for lane in self.lanes:
            lane.publish(digests)

    async def give_up(self) -> None:
        """Publish nothing; what is in flight is waited for: S3 may keep a part that outlives its upload's abort."""
        for lane in self.lanes:
            lane.give_up()
        await self.until(lambda: self.ended)

    async def end(self) -> None:
        """Cut off what is in flight, and wait for its end."""
        await asyncio.gather(*(lane.end() for lane in self.lanes))
