"""Reading on after an early answer: what is left of a body is read and thrown away, so that the answer arrives.

A client that writes everything before it reads meets a reset in place of its answer, if the connection is closed with
bytes unread. Reading on has four bounds, so that it is no way to wear us out: time, silence, a least rate, and how many
bodies are read on at once. Beyond that number the body that has been read on for the longest gives way. Only the
connection and its read buffer are held: no upload's place, and no memory of parts.
"""

import asyncio
from dataclasses import dataclass

from file.api.body import Body

# As long as nginx lingers (lingering_time, lingering_timeout).
SECONDS = 30.0
SILENCE_SECONDS = 5.0
AT_ONCE = 128
# Once the service is told to end.
_LAST_SECONDS = 2.0


@dataclass(eq=False, slots=True)
class _Turn:
    """One body's reading on. `end` is on the loop's clock."""

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
        """Until the body or its connection ends, or a bound is met: then the caller lets the connection go."""
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
        """The service ends: a last moment for all, those that are still to come included."""
        self._end = asyncio.get_running_loop().time() + _LAST_SECONDS
        for turn in self._turns:
            turn.end_by(self._end)

    async def _read_on(self, body: Body, turn: _Turn, began: float) -> None:
        rate, received = body.min_bytes_per_second, 0
        now = asyncio.get_running_loop().time
        while not body.ended and not body.gone:
            patience = now() + self._silence_seconds
            if rate:  # bytes pay for what has passed, never for a silence to come
                patience = min(patience, began + self._silence_seconds + received / rate)
            turn.wait_until(patience)
            received += await body.skip()
