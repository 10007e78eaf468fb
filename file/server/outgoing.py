"""The answer to one request, as bytes: its head, and its body in the form that the request and the length demand.

A body with a Content-Length is written as it is, another one in chunks (HTTP/1.1), or until the connection is closed
(HTTP/1.0). The answer to HEAD has no body, nor has one with the status 204 or 304. Leaves to others: when bytes are
written, and what becomes of the connection.
"""

import time
from collections.abc import Iterable

from file.server.head import Head
from file.server.responses import date_line, status_line

_WITHOUT_BODY = (204, 304)
_FRAMING = (b"connection", b"transfer-encoding", b"date")


class Outgoing:
    """`begun`: its head was made. `ended`: its last byte, too. `closes`: the connection must be closed after it."""

    __slots__ = ("_fields", "_has_body", "_head", "_is_chunked", "_left", "_status", "begun", "closes", "ended")

    def __init__(self, head: Head) -> None:
        self.begun = self.ended = False
        self.closes = not head.keeps_alive
        self._head = head
        self._status = 0
        self._fields: Iterable[tuple[bytes, bytes]] = ()
        self._left: int | None = None  # of the declared length
        self._is_chunked = False
        self._has_body = True

    @property
    def shows_its_end(self) -> bool:
        """Whether the client can see that a body is not complete. It cannot if the end of the connection is its end."""
        return self._left is not None or self._is_chunked

    def start(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """The head is made with the first piece of the body. Raises `RuntimeError` if there is one already."""
        if self._status:
            raise RuntimeError("an answer was started twice")
        self._status, self._fields = status, fields

    def pieces(self, body: bytes, *, more: bool) -> list[bytes]:
        """What is to be written for this piece of the body. Raises `RuntimeError` for more bytes than were declared."""
        if not self._status or self.ended:
            raise RuntimeError("a piece of a body outside of an answer")
        written = []
        if not self.begun:
            written.append(self._made_head(None if more else len(body)))
            self.begun = True
        if body and self._has_body:
            if self._left is not None:
                self._left -= len(body)
                if self._left < 0:
                    raise RuntimeError("an answer has more bytes than its Content-Length")
            written += [b"%x\r\n" % len(body), body, b"\r\n"] if self._is_chunked else [body]
        if not more:
            if self._left and self._has_body:
                raise RuntimeError("an answer has fewer bytes than its Content-Length")
            if self._is_chunked:
                written.append(b"0\r\n\r\n")
            self.ended = True
        return written

    def _made_head(self, length: int | None) -> bytes:
        """`length`: that of the whole body, if it is known."""
        lines = [status_line(self._status), date_line(int(time.time()))]
        for given, value in self._fields:
            name = given.lower()  # ASGI demands it, and Django does not do it
            if name in _FRAMING:
                self.closes = self.closes or (name == b"connection" and b"close" in value.lower())
                continue
            if name == b"content-length":
                self._left = int(value)
            lines.append(b"%b: %b\r\n" % (name, value))
        self._has_body = self._head.method != "HEAD" and self._status not in _WITHOUT_BODY
        if self._left is None and self._has_body:
            if length is not None:
                self._left = length
                lines.append(b"content-length: %d\r\n" % length)
            elif self._head.version == "1.1":
                self._is_chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self.closes = True
        if self.closes:
            lines.append(b"connection: close\r\n")
        elif self._head.version == "1.0":
            lines.append(b"connection: keep-alive\r\n")
        lines.append(b"\r\n")
        made = b"".join(lines)
        if made.count(b"\n") != len(lines) or made.count(b"\r") != len(lines):
            raise RuntimeError("a header of an answer has a line break")
        return made
