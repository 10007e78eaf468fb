"""Reads one answer of HTTP/1.1, strictly. Pure: bytes in, an answer out.

Every way to read an answer in two ways is refused: two lengths, a length beside chunks, another coding than chunks,
folded or malformed lines, bare line ends. So it is always known where an answer ends, and whether bytes follow that
belong to none. Head, body, and the number of interim answers are limited.
Leaves to others: what the values mean (`file/s3/fields.py`), and the connection (`connection.py`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from file.logic.values import KiB

MAX_HEAD_BYTES = 128 * KiB
_MAX_HEADERS = 100
_MAX_INTERIM = 8  # answers of 1xx before the real one
_MAX_CHUNK_LINE = 256

_TOKEN, _TEXT = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++", rb"[\t\x20-\x7e\x80-\xff]*+"
_HEAD = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: %b)?(\r\n(?:%b:%b\r\n)*+)\r\n" % (_TEXT, _TOKEN, _TEXT))
_TRAILERS = re.compile(rb"(?:%b:%b\r\n)*\r\n" % (_TOKEN, _TEXT))
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[\t ]*|;%b)" % _TEXT)
_LENGTH = re.compile(r"[0-9]{1,16}")
_BODILESS = (204, 304)


class RawHeaders:
    """The lines of a head, from the line end before the first to that of the last. Each byte is one character.

    The lines are searched for the few that are wanted, because separating all of them takes twice as long.
    """

    __slots__ = ("_lines", "_lower")

    def __init__(self, lines: bytes = b"\r\n") -> None:
        self._lines = lines.decode("latin-1")
        self._lower = lines.lower().decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        """The names, in lower case."""
        return (line.partition(":")[0] for line in self._lower[2:-2].split("\r\n"))

    def all(self, name: str) -> list[str]:
        """The values of each line with this name."""
        values = []
        mark = f"\r\n{name}:"
        at = self._lower.find(mark)
        while at >= 0:
            end = self._lines.index("\r\n", at + 2)
            values.append(self._lines[at + len(mark) : end].strip(" \t"))
            at = self._lower.find(mark, end)
        return values


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """`is_cut`: the body is larger than the limit, and `body` is empty."""

    status: int
    headers: RawHeaders = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    is_cut: bool = False

    def value_of(self, name: str) -> str | None:
        """The first value. Raises `ValueError` if it is not ASCII."""
        values = self.headers.all(name)
        if not values:
            return None
        if not values[0].isascii():
            raise ValueError(name)
        return values[0]


class AnswerReader:
    """Reads the answer to one request. `to_head`: the request was a HEAD. `most`: bytes of the body."""

    __slots__ = (
        *("_body", "_buffer", "_chunk", "_headers", "_interim", "_is_chunked", "_is_last_chunk", "_left", "_most"),
        *("_searched", "_status", "_to_head", "keeps_open"),
    )

    def __init__(self, *, to_head: bool, most: int) -> None:
        # After the answer: the connection stays open, and no byte followed the answer.
        self.keeps_open = False
        self._to_head = to_head
        self._most = most
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer in which the head does not end
        self._interim = 0
        self._status = 0  # until the head is complete
        self._headers = RawHeaders()
        self._left: int | None = None  # bytes of the body; None: until the connection ends
        self._is_chunked = self._is_last_chunk = False
        self._chunk: int | None = None  # bytes of the current chunk; None before its line is complete
        self._body = bytearray()

    def feed(self, data: bytes | memoryview) -> RawAnswer | None:
        """The answer, once it is complete, or too large. Raises `ValueError` if the bytes are
        not an answer of HTTP/1.1, or not one that can be read in only one way.
        """
        self._buffer += data
        while not self._status:
            end = self._buffer.find(b"\r\n\r\n", self._searched)
            if max(end, len(self._buffer) if end < 0 else 0) > MAX_HEAD_BYTES:
                raise ValueError("its head is too large")
            if end < 0:
                self._searched = max(0, len(self._buffer) - 3)
                return None
            self._read_head(end + 4)
        if self._is_chunked:
            return self._chunks()
        return self._plain_body()

    def end(self) -> RawAnswer | None:
        """The answer if it was complete when the connection ended; None otherwise."""
        ends_here = self._status and not self._is_chunked and self._left is None
        return RawAnswer(self._status, self._headers, bytes(self._buffer)) if ends_here else None

    def _read_head(self, end: int) -> None:
        """The first `end` bytes of the buffer. Leaves `_status` 0 after an interim answer."""
        found = _HEAD.fullmatch(self._buffer, 0, end)
        if found is None:
            raise ValueError("its head is not well-formed")
        minor, status, lines = found[1], int(found[2]), bytes(found[3])
        del found  # it holds the buffer
        del self._buffer[:end]
        self._searched = 0
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > _MAX_INTERIM:
                raise ValueError("it switches protocols, or has no end of interim answers")
            return
        if lines.count(b"\r\n") > _MAX_HEADERS + 1:
            raise ValueError("it has too many headers")
        self._status, self._headers = status, RawHeaders(lines)
        self._frame(is_old=minor == b"0")

    def _frame(self, *, is_old: bool) -> None:
        """How the body ends."""
        headers = self._headers
        lengths, codings = headers.all("content-length"), headers.all("transfer-encoding")
        if len(lengths) + len(codings) > 1:
            raise ValueError("its end can be understood in two ways")
        if lengths and not _LENGTH.fullmatch(lengths[0]):
            raise ValueError("its length is not a number")
        if codings and (is_old or codings[0].lower() != "chunked"):
            raise ValueError("its coding is not known")
        words = ",".join(headers.all("connection")).lower().split(",")
        self.keeps_open = not is_old and "close" not in [word.strip(" \t") for word in words]
        if self._to_head or self._status in _BODILESS:
            self._left = 0
        elif codings:
            self._is_chunked = True
        elif lengths:
            self._left = int(lengths[0])
        else:
            self.keeps_open = False

    def _plain_body(self) -> RawAnswer | None:
        if (len(self._buffer) if self._left is None else self._left) > self._most:
            return self._cut()
        if self._left is None or len(self._buffer) < self._left:
            return None
        return self._whole(bytes(self._buffer[: self._left]), surplus=len(self._buffer) - self._left)

    def _chunks(self) -> RawAnswer | None:
        buffer = self._buffer
        while not self._is_last_chunk:
            if self._chunk is None:
                end = buffer.find(b"\r\n", 0, _MAX_CHUNK_LINE)
                if end < 0:
                    if len(buffer) >= _MAX_CHUNK_LINE:
                        raise ValueError("a chunk's size has too many characters")
                    return None
                found = _CHUNK_LINE.fullmatch(buffer, 0, end)
                if found is None:
                    raise ValueError("a chunk's size is not a number")
                self._chunk = int(found[1], 16)
                del found  # it holds the buffer
                del buffer[: end + 2]
                self._is_last_chunk = self._chunk == 0
            elif len(self._body) + self._chunk > self._most:
                return self._cut()
            elif len(buffer) < self._chunk + 2:
                return None
            elif buffer[self._chunk : self._chunk + 2] != b"\r\n":
                raise ValueError("a chunk does not end where it says")
            else:
                self._body += buffer[: self._chunk]
                del buffer[: self._chunk + 2]
                self._chunk = None
        if (trailers := _TRAILERS.match(buffer)) is not None:
            return self._whole(bytes(self._body), surplus=len(buffer) - trailers.end())
        if len(buffer) > _MAX_CHUNK_LINE or b"\r\n\r\n" in buffer:
            raise ValueError("what follows the last chunk is not well-formed, or too large")
        return None

    def _whole(self, body: bytes, *, surplus: int) -> RawAnswer:
        if surplus:
            self.keeps_open = False
        return RawAnswer(self._status, self._headers, body)

    def _cut(self) -> RawAnswer:
        self.keeps_open = False
        return RawAnswer(self._status, self._headers, is_cut=True)
