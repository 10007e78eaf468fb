"""The bytes of connections for readers of HTTP: small requests, odd in their framing, then changed byte by byte.

Half of them are the cases of the whole run (`cases.py`), which know the API; the other half know only HTTP. The bytes
depend on the seed and the number, so that one case can be drawn again without the others.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from fuzz import oddities
from fuzz.cases import Cases
from fuzz.requests import Field, Request

_OF_THE_API = 0.5
_METHODS = (b"GET", b"GET", b"PUT", b"PUT", b"POST", b"HEAD", b"DELETE", b"OPTIONS")
_TARGETS = (b"/", b"/files/a", b"/files/a%20b?c=d", b"/upload", b"*", b"http://a.example/files/k", b"a.example:80")
_VERSIONS = (b"HTTP/1.1",) * 6 + (b"HTTP/1.0",)
_FIELDS: tuple[Field, ...] = (
    *(
        (b"accept", b"*/*"),
        (b"x-empty", b""),
        (b"x-tab", b"a\tb"),
        (b"x-text", b"\xc3\xa9 \xff"),
        (b"Cookie", b"a=b; c"),
    ),
    *((b"connection", b"close"), (b"connection", b"keep-alive"), (b"Connection", b"TE, Close"), (b"connection", b"x")),
    *((b"expect", b"100-continue"), (b"Expect", b"100-Continue"), (b"expect", b"200"), (b"upgrade", b"h2c")),
    *(
        (b"connection", b"upgrade"),
        (b"content-type", b"text/plain"),
        (b"!#$%&'*+-.^_`|~0Az", b"x"),
        (b"te", b"chunked"),
    ),
)
_LENGTHS = (
    b"%d",
    b"%d",
    b"%d",
    b"0%d",
    b"+%d",
    b"-%d",
    b" %d",
    b"%d ",
    b"%d, %d",
    b"0x%d",
    b"%d_0",
    b"%d.0",
    b"%d;",
    b"%d\t",
)
_NAMES_OF_LENGTH = (b"content-length", b"Content-Length", b"CONTENT-LENGTH", b"content_length", b"content-length ")
_NAMES_OF_CODING = (b"transfer-encoding", b"Transfer-Encoding", b"transfer-encoding\t", b"transfer_encoding")
_EXTENSIONS = (
    b";a",
    b";a=b",
    b';a="b;c"',
    b" ;a",
    b";",
    b";a=\x00",
    b";\xff",
    b";a\n",
    b';a="\r\n"',
    b";" + b"e" * 5_000,
)
_SIZES = (
    b"%x",
    b"%x",
    b"%x",
    b"%X",
    b"0%x",
    b"000000000000000000000%x",
    b"0x%x",
    b"+%x",
    b"-%x",
    b" %x",
    b"%x ",
    b"%x\t",
    b"%xg",
)
_TRAILERS = (
    b"a: b\r\n",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b" a: b\r\n",
    b"a : b\r\n",
    b"a: b\n",
    b"a\r\n",
)
# What each parser looks for, and what some take for it.
_MARKS = (
    *(
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\r",
        b"\r\n\r\n",
        b"\n\n",
        b"\r\r\n",
        b"\r\n ",
        b"\r\n\t",
        b" ",
        b"  ",
        b"\t",
        b":",
        b": ",
        b";",
    ),
    *(
        b"\x00",
        b"\x01",
        b"\x0b",
        b"\x0c",
        b"\x1f",
        b"\x7f",
        b"\x80",
        b"\x85",
        b"\xa0",
        b"\xff",
        b"0",
        b"1",
        b"5",
        b"f",
        b"a",
    ),
    *(b",", b"+", b"-", b"_", b"x", b'"', b"0\r\n\r\n", b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n"),
)


class Wires:
    """Draws the bytes of a connection, and the places where they are cut into segments."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._cases = Cases(seed, ())

    def wire(self, number: int) -> bytes:
        chance = random.Random(f"{self._seed} wire {number}")
        if chance.random() < _OF_THE_API:
            return self._cases.case(number).wire
        wire = b"".join(_request(chance).wire() for _ in range(chance.choice((1, 1, 2, 3))))
        for _ in range(chance.choice((0, 0, 0, 1, 1, 3))):
            wire = _marked(chance, wire)
        return wire

    def segments(self, number: int, wire: bytes) -> list[bytes]:
        """The bytes in pieces: single bytes, a few pieces, or many."""
        chance = random.Random(f"{self._seed} cut {number}")
        if len(wire) <= chance.choice((60, 400)):
            places: Sequence[int] = range(1, len(wire))
        else:
            # Mostly in the heads, where each byte has a meaning.
            within = [len(wire), min(len(wire), 600)]
            places = sorted({chance.randrange(chance.choice(within)) for _ in range(chance.choice((1, 2, 5, 40)))})
        return [wire[first:last] for first, last in pairwise((0, *places, len(wire))) if last > first]


def _request(chance: random.Random) -> Request:
    method, target, version = chance.choice(_METHODS), chance.choice(_TARGETS), chance.choice(_VERSIONS)
    if chance.random() < 0.04:
        method = chance.choice(oddities.METHODS)
    if chance.random() < 0.04:
        version = chance.choice(oddities.VERSIONS)
    fields = [(b"host", b"x"), *chance.choices(_FIELDS, k=chance.choice((0, 1, 2, 4)))]
    request = Request(method, target, fields, version=version)
    request.content = chance.randbytes(chance.choice((0, 1, 5, 16, 300))) if chance.random() < 0.7 else b""
    _framing(chance)(chance, request)
    chance.shuffle(request.fields)
    return request


def _framing(chance: random.Random) -> Callable[[random.Random, Request], None]:
    return chance.choices((_none, _by_length, _by_lengths, _in_chunks, _by_both), (2, 5, 1, 6, 1))[0]


def _none(_: random.Random, request: Request) -> None:
    """No body: what follows is the next request."""
    request.content = b""


def _by_length(chance: random.Random, request: Request) -> None:
    request.body = request.content
    value = _mostly_first(chance, _LENGTHS)
    request.fields.append((_mostly_first(chance, _NAMES_OF_LENGTH), value.replace(b"%d", b"%d" % len(request.body))))


def _by_lengths(chance: random.Random, request: Request) -> None:
    for _ in range(2):
        _by_length(chance, request)
    if chance.random() < 0.5:
        request.body = chance.choice((b"", request.body[:-1], request.body + b"x"))


def _in_chunks(chance: random.Random, request: Request) -> None:
    coding = chance.choice(oddities.CODINGS) if chance.random() < 0.15 else chance.choice((b"chunked", b"Chunked"))
    request.fields.append((_mostly_first(chance, _NAMES_OF_CODING), coding))
    if chance.random() < 0.05:
        request.fields.append((b"transfer-encoding", chance.choice(oddities.CODINGS)))
    request.body = b"".join(_chunks(chance, request.content))


def _by_both(chance: random.Random, request: Request) -> None:
    _in_chunks(chance, request)
    request.fields.append((b"content-length", b"%d" % chance.choice((0, 5, len(request.body), len(request.content)))))


def _chunks(chance: random.Random, content: bytes) -> Iterator[bytes]:
    while content:
        size = chance.choice((1, 2, len(content)))
        yield _chunk_line(chance, size)
        yield content[:size] + _line_end(chance)
        content = content[size:]
    yield _chunk_line(chance, 0)
    if chance.random() < 0.15:
        yield chance.choice(_TRAILERS) * chance.choice((1, 1, 3))
    yield _line_end(chance)


def _chunk_line(chance: random.Random, size: int) -> bytes:
    written = _mostly_first(chance, _SIZES).replace(b"%x", b"%x" % size).replace(b"%X", b"%X" % size)
    if chance.random() < 0.02:
        written = chance.choice(oddities.CHUNK_SIZES)
    extension = chance.choice(_EXTENSIONS) if chance.random() < 0.06 else b""
    return written + extension + _line_end(chance)


def _line_end(chance: random.Random) -> bytes:
    return chance.choice((b"\n", b"\r", b"", b"\r\n\r\n", b" \r\n")) if chance.random() < 0.02 else b"\r\n"


def _mostly_first(chance: random.Random, values: Sequence[bytes]) -> bytes:
    return chance.choice(values) if chance.random() < 0.12 else values[0]


def _marked(chance: random.Random, wire: bytes) -> bytes:
    """With one place changed: a mark put in, written over, or a byte left out."""
    place = chance.randrange(len(wire) + 1)
    mark = chance.choice(_MARKS)
    way = chance.random()
    if way < 0.5:
        return wire[:place] + mark + wire[place:]
    if way < 0.8:
        return wire[:place] + mark + wire[place + len(mark) :]
    return wire[:place] + wire[place + 1 :]
