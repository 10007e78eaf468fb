"""What was written and the client has not taken: the application waits for it, and a client that stops is found.

`size` counts what is in our memory and what the kernel has not had acknowledged; on macOS only the former.
"""

import asyncio
import fcntl
import termios
from contextlib import suppress

from file.logic.values import KiB

# What is kept of an answer in our memory before the application waits.
_UNTAKEN_BYTES = 256 * KiB


class Untaken:
    """Of one connection. `is_full`: nothing should be written now."""

    __slots__ = ("_size", "_transport", "_waiter", "is_full", "stuck_ticks")

    def __init__(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(_UNTAKEN_BYTES)
        self.is_full = False
        self._transport = transport
        self._waiter: asyncio.Future[None] | None = None
        self.forget()

    @property
    def size(self) -> int:
        size = self._transport.get_write_buffer_size()
        with suppress(OSError):
            waiting = fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
            size += int.from_bytes(waiting, "little")
        return size

    async def until_less(self) -> None:
        if self.is_full:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def go_on(self) -> None:
        self.is_full = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def forget(self) -> None:
        """The next tick is the first one after something was written."""
        self._size: int | None = None  # at the last tick
        self.stuck_ticks = 0

    def tick(self, least_bytes: float) -> bool:
        """Whether there is something. `stuck_ticks` in a row, the client took less than this."""
        if self._size != 0:  # otherwise everything was taken, and nothing was written since
            before, self._size = self._size, self.size
            is_stuck = self._size and before is not None and before - self._size < least_bytes
            self.stuck_ticks = self.stuck_ticks + 1 if is_stuck else 0
        return self._size != 0
