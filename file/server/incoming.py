"""What a client has sent and nobody has used yet: the next head, or bytes of a body. Reading pauses at a limit.

So a client is slowed down to the speed of the application, and a connection holds little memory.
"""

import asyncio

from file.logic.values import KiB
from file.server.head import END, MAX_HEAD_BYTES, Head, check_begin, read_head

_UNREAD_BYTES = 256 * KiB


class Incoming:
    """The bytes of `data` before `start` are used. `target`: if set, the next bytes go there and not into `data`.

    `has_ended`: the client sends nothing more.
    """

    __slots__ = ("_is_paused", "_searched", "_transport", "data", "has_ended", "start", "target")

    def __init__(self) -> None:
        self.data = b""
        self.start = 0
        self.target: memoryview | None = None
        self.has_ended = False
        self._is_paused = False
        self._searched = 0  # unused bytes that were searched for the end of a head
        self._transport: asyncio.Transport | None = None

    def open(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    @property
    def is_used(self) -> bool:
        return self.start == len(self.data)

    def add(self, arrived: bytes) -> None:
        self.data, self.start = arrived if self.is_used else self.data[self.start :] + arrived, 0
        if len(self.data) >= _UNREAD_BYTES:
            self.pause()

    def next_head(self) -> Head | None:
        """Uses the next head if all of it has arrived. Raises `RequestError` as soon as it can become none."""
        data, begin = self.data, self.start
        if data.startswith(b"\r\n", begin):  # RFC 9112, 2.2: old clients send it after a body
            begin += 2
        end = data.find(END, max(begin, self.start + self._searched - len(END) + 1)) + len(END)
        if end < len(END) or end - begin > MAX_HEAD_BYTES:
            if data[begin:] not in (b"", b"\r"):
                check_begin(data[begin:], max(0, self.start + self._searched - begin - 1))
            self._searched = len(data) - self.start
            return None
        head = read_head(data[begin:end])
        self.start, self._searched = end, 0
        self.go_on()
        return head

    def clear(self) -> None:
        self.data, self.start = b"", 0

    def pause(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Bytes were used, or more are needed."""
        if self.is_used:
            self.clear()
        if self._is_paused and self._transport is not None and len(self.data) - self.start < _UNREAD_BYTES:
            self._is_paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """The connection is lost."""
        self._transport = None
        self.clear()
