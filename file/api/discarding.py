"""Reading on after an early answer: the rest of a body is read and discarded, so that the answer arrives.

If a connection is closed with bytes unread, a client that writes everything before it reads gets a reset in place of
its answer. Reading on has four limits, so that clients cannot misuse it: time, silence, a minimum rate, and the number
of bodies at the same time. Above that number, the body that has been read on for the longest time ends. Only the
connection and its read buffer are held: no place of an upload, and no memory for parts.
"""

import asyncio
from dataclasses import dataclass

from file.api.body import Body

# As nginx does (lingering_time, lingering_timeout).
SECONDS = 30.0
SILENCE_SECONDS = 5.0
AT_ONCE = 128
# After the service was told to end.
_LAST_SECONDS = 2.0


@dataclass(eq=False, slots=True)
class _Turn:
    """One body that is read on. `end` is a time of the loop's clock."""

    limit: asyncio.Timeout
    end: float

    def end_by(self, when: float) -> None:
        self.end = min(self.end, when)
        self.wait_until(min(self.end, self.limit.when() or when))

    def wait_until(self, when: float) -> None:
        if not self.limit.expired():
            self.limit.reschedule(min(self.end, when))


class Discarding:
    """The bodies that are being read on. Belongs to one event loop."""

    def __init__(
        self, *, seconds: float = SECONDS, silence_seconds: float = SILENCE_SECONDS, at_once: int = AT_ONCE
    ) -> None:
        self._seconds = seconds
        self._silence_seconds = silence_seconds
        self._at_once = at_once
        self._turns: dict[_Turn, None] = {}
        self._end: float | None = None

    @property
    def under_way(self) -> int:
        return len(self._turns)

    async def read_on(self, body: Body) -> None:
        """Until the body or its connection ends, or a limit is reached: then the caller closes the connection."""
        began = asyncio.get_running_loop().time()
        end = began + self._seconds if self._end is None else min(began + self._seconds, self._end)
        if len(self._turns) >= self._at_once:
            oldest = next(iter(self._turns))
            del self._turns[oldest]
            oldest.end_by(began)
        turn = _Turn(asyncio.timeout_at(end), end)
        self._turns[turn] = None
        try:
            async with turn.limit:
                await self._read_on(body, turn, began)
        except TimeoutError:
            return
        finally:
            self._turns.pop(turn, None)

    def end_soon(self) -> None:
        """The service ends: a last moment for all bodies, also for those that follow."""
        self._end = asyncio.get_running_loop().time() + _LAST_SECONDS
        for turn in self._turns:
            turn.end_by(self._end)

    async def _read_on(self, body: Body, turn: _Turn, began: float) -> None:
        rate, received = body.min_bytes_per_second, 0
        now = asyncio.get_running_loop().time
        while not body.ended and not body.gone:
            until = now() + self._silence_seconds
            if rate:  # bytes pay for the time that has passed, never for time to come
                until = min(until, began + self._silence_seconds + received / rate)
            turn.wait_until(until)
            received += await body.skip()
