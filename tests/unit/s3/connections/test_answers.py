"""The reader of answers: what it accepts it reads like h11, in pieces of any size; it says whether bytes are left."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import h11
import pytest

from file.s3.connections.answers import MAX_HEAD_BYTES, AnswerReader, RawAnswer

MOST = 1000
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Read:
    """What became of all bytes: an answer, and whether the connection may be used again."""

    status: int
    body: bytes
    keeps_open: bool
    is_cut: bool = False


def read(data: bytes, *, to_head: bool = False, step: int | None = None) -> Read | None:
    """None if the answer is not complete. The connection ends after `data`."""
    reader = AnswerReader(to_head=to_head, most=MOST)
    answer: RawAnswer | None = None
    for start in range(0, len(data), step or len(data) or 1):
        if answer is not None:
            return Read(answer.status, answer.body, False, answer.is_cut)  # bytes that nobody asked for
        answer = reader.feed(data[start : start + (step or len(data))])
    if answer is None:
        answer = reader.end()
    return None if answer is None else Read(answer.status, answer.body, reader.keeps_open, answer.is_cut)


WELL_FORMED = {
    "empty": (OK + b"Content-Length: 0\r\n\r\n", Read(200, b"", True)),
    "body": (OK + b"content-length:3\r\nETag: e\r\n\r\nabc", Read(200, b"abc", True)),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", Read(404, b"", True)),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", Read(200, b"a", False)),
    "closing": (OK + b"Connection: Keep-Alive, Close\r\nContent-Length: 1\r\n\r\na", Read(200, b"a", False)),
    "closing in two lines": (
        OK + b"Connection: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\na",
        Read(200, b"a", False),
    ),
    "surplus": (OK + b"Content-Length: 1\r\n\r\nab", Read(200, b"a", False)),
    "a line of surplus": (OK + b"Content-Length: 1\r\n\r\na\r\n", Read(200, b"a", False)),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", Read(204, b"", True)),
    "to the end": (b"HTTP/1.1 500 x\r\n\r\nabc", Read(500, b"abc", False)),
    "chunks": (CHUNKED + b"3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\n", Read(200, b"abc0123456789", True)),
    "trailers": (CHUNKED + b"1\r\na\r\n000\r\nx: y\r\nz:\r\n\r\n", Read(200, b"a", True)),
    "surplus after chunks": (CHUNKED + b"1\r\na\r\n0\r\n\r\nb", Read(200, b"a", False)),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na",
        Read(200, b"a", True),
    ),
    "large": (OK + b"Content-Length: 1001\r\n\r\na", Read(200, b"", False, True)),
    "large to the end": (OK + b"\r\n" + b"a" * 1001, Read(200, b"", False, True)),
    "large chunks": (CHUNKED + b"3e8\r\n" + b"a" * 1000 + b"\r\n1\r\n", Read(200, b"", False, True)),
    "as large as allowed": (OK + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000, Read(200, b"a" * 1000, True)),
}


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize("name", WELL_FORMED)
def test_an_answer_is_read_when_it_is_well_formed(name: str, step: int | None) -> None:
    data, expected = WELL_FORMED[name]
    assert read(data, step=step) == expected


def test_there_is_no_body_when_a_head_was_asked_for() -> None:
    head = OK + b"Content-Length: 5000\r\n\r\n"
    assert read(head, to_head=True) == Read(200, b"", True)
    assert read(head + b"a", to_head=True) == Read(200, b"", False)


@pytest.mark.parametrize(
    "data",
    [
        *[b"", b"HTTP/1.1 200 OK\r\n", OK + b"Content-Length: 2\r\n\r\na"],
        *[CHUNKED, CHUNKED + b"1\r\na", CHUNKED + b"1\r\na\r\n0\r\n", CHUNKED + b"1\r\na\r\n0\r\nx: y\r\n"],
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_there_is_no_answer_when_it_breaks_off(data: bytes) -> None:
    assert read(data) is None


MALFORMED = [
    *[b"220 mail.example ESMTP\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"\r\n" + OK + b"\r\n"],
    *[OK + b"no header\r\n\r\n", OK + b"a b: c\r\n\r\n", OK + b": c\r\n\r\n", OK + b"a : c\r\n\r\n"],
    *[OK + b"a: b\r\n c\r\n\r\n", OK + b"a: b\n\r\n\r\n", OK + b"a: b\rc\r\n\r\n", OK + b"a: \x00\r\n\r\n"],
    *[
        OK + b"Content-Length: %b\r\n\r\n" % length
        for length in (b"", b"-1", b"+1", b"1, 1", b"0x1", b"\xb2", b"9" * 99)
    ],
    OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    *[OK + b"Transfer-Encoding: %b\r\n\r\n" % coding for coding in (b"gzip", b"gzip, chunked", b"xchunked", b"")],
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
    *[CHUNKED + size + b"\r\na\r\n" for size in (b"", b"-1", b"0x1", b"1 1", b"g", b"1" * 9, b"1;\x00", b" 1", b"1\n")],
    *[CHUNKED + b"1\r\nab\r\n", CHUNKED + b"1\r\na\n\r\n", CHUNKED + b"1" * 300, CHUNKED + b"1;" + b"x" * 300],
    *[CHUNKED + b"0\r\nno trailer\r\n\r\n", CHUNKED + b"0\r\n" + b"x" * 300],
    OK + b"a: b\r\n" * 101 + b"\r\n",
    OK + b"a: " + b"b" * MAX_HEAD_BYTES,
    OK + b"a: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n",
]


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: repr(data[:60]))
@pytest.mark.parametrize("step", [None, 997])
def test_it_is_refused_when_it_can_be_understood_in_two_ways_or_not_at_all(data: bytes, step: int | None) -> None:
    with pytest.raises(ValueError, match=r"its? |a chunk|follows the last chunk"):
        read(data, step=step)


def test_the_first_value_counts_when_a_header_is_repeated() -> None:
    reader = AnswerReader(to_head=False, most=MOST)
    answer = reader.feed(OK + b"ETag: \t e \t\r\netag: f\r\nx: \xe9\r\nContent-Length: 0\r\n\r\n")
    assert answer is not None
    assert answer.value_of("etag") == "e"
    assert answer.value_of("none") is None
    with pytest.raises(ValueError, match="x"):
        answer.value_of("x")


# --- against h11


def understood_by_h11(data: bytes) -> Read:
    """Raises `h11.RemoteProtocolError`. Its `keeps_open`: neither side wants to close, and no byte is left."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=10**6)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    status, body, has_ended = 0, b"", False
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            assert not has_ended
            client.receive_data(b"")
            has_ended = True
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            is_kept = client.our_state is h11.DONE and client.their_state is h11.DONE
            return Read(status, body, is_kept and not client.trailing_data[0])


SEEDS = [data for data, expected in WELL_FORMED.values() if not expected.is_cut]
PIECES = [
    *[b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"1", b"5", b"chunked", b"close", b"\x00", b"\xff", b"0\r\n\r\n"],
    *[b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"HTTP/1.1 100 x\r\n\r\n"],
]


def changed(rolled: random.Random) -> bytes:
    data = bytearray(rolled.choice(SEEDS))
    for _ in range(rolled.randint(1, 3)):
        at = rolled.randrange(len(data) + 1)
        data[at : at + rolled.choice((0, 0, 1, 2, 8))] = rolled.choice((b"", *PIECES))
    return bytes(data)


def accepted(answers: int) -> Iterator[tuple[bytes, Read]]:
    rolled = random.Random(15)  # noqa: S311 - the same answers every time
    for _ in range(answers):
        data = changed(rolled)
        try:
            found = read(data, step=rolled.choice((None, 1, 5)))
        except ValueError:
            continue
        if found is not None and not found.is_cut:
            yield data, found


def test_h11_reads_the_same_when_an_answer_is_accepted() -> None:
    compared = 0
    for data, found in accepted(4000):
        theirs = understood_by_h11(data)
        assert (theirs.status, theirs.body) == (found.status, found.body), data
        assert theirs.keeps_open or not found.keeps_open, data
        compared += 1
    assert compared > 500
