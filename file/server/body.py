"""Where the body of a request ends, and which bytes of the connection are its content (RFC 9112, 6 and 7).

`Sized` has the length of its Content-Length, `Chunked` reads chunks. Both take the content out of the bytes that have
arrived, piece by piece: a chunk is a piece, so that the limit of small pieces (`file/api/body.py`) holds for chunks.
Strict: chunk lines and trailers end with CRLF, are short, and have no control characters. Trailers are thrown away.
"""

import re

from file.logic.errors import MalformedRequestError
from file.server.head import FIELD, TOKEN

_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e]|\\[\t\x20-\x7e])*+"'
_EXTENSION = rb";" + TOKEN + rb"++(?:=(?:" + TOKEN + rb"++|" + _QUOTED + rb"))?+"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15}+)(?:" + _EXTENSION + rb")*+\r\n")
_END = re.compile(rb"\r\n")  # after the content of a chunk
# Some readers would take the length of another message from a trailer.
_TRAILER = re.compile(rb"(?!content-length:|transfer-encoding:)" + FIELD + rb"|\r\n", re.IGNORECASE)
_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8 * 1024


class Sized:
    """A body of `left` more bytes."""

    __slots__ = ("left",)

    def __init__(self, length: int) -> None:
        self.left = length

    @property
    def ended(self) -> bool:
        return not self.left

    def take(self, data: bytes, start: int) -> tuple[bytes, int]:
        """The next piece in `data` from `start` on, and where the rest begins. No piece: more bytes are needed."""
        piece = data[start : start + self.left]
        self.left -= len(piece)
        return piece, start + len(piece)


class Chunked:
    """A body in chunks."""

    __slots__ = ("_expected", "_left", "_trailer_bytes", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._expected = _SIZE  # the next line
        self._left = 0  # of the chunk
        self._trailer_bytes = 0

    def take(self, data: bytes, start: int) -> tuple[bytes, int]:
        """As `Sized.take`. Raises `MalformedRequestError`."""
        while not self.ended:
            if self._left:
                piece = data[start : start + self._left]
                self._left -= len(piece)
                return piece, start + len(piece)
            end = data.find(b"\n", start, start + _MAX_LINE_BYTES) + 1
            if not end:
                if len(data) - start >= _MAX_LINE_BYTES:
                    raise MalformedRequestError("A line between the chunks of the body is too long.")
                break
            self._read(data[start:end])
            start = end
        return b"", start

    def _read(self, line: bytes) -> None:
        found = self._expected.fullmatch(line)
        if found is None:
            raise MalformedRequestError("The chunks of the body are not well-formed.")
        if self._expected is _SIZE:
            self._left = int(found[1], 16)
            self._expected = _END if self._left else _TRAILER
        elif self._expected is _END:
            self._expected = _SIZE
        else:
            self._trailer_bytes += len(line)
            if self._trailer_bytes > _MAX_TRAILER_BYTES:
                raise MalformedRequestError("The trailers of the body are too long.")
            self.ended = line == b"\r\n"
