"""Bodies of requests: where they end, and what is not one."""

import pytest

from file.logic.errors import MalformedRequestError
from file.server.body import Chunked, Sized


def taken(body: Sized | Chunked, data: bytes, at_once: int) -> tuple[list[bytes], bytes]:
    """The pieces, and the bytes after the body, when this number of bytes arrives at once."""
    pieces: list[bytes] = []
    unused = b""
    for place in range(0, len(data), at_once):
        unused += data[place : place + at_once]
        start = 0
        while not body.ended:
            piece, start = body.take(unused, start)
            if not piece:
                break
            pieces.append(piece)
        unused = unused[start:]
    return pieces, unused


each_way = pytest.mark.parametrize("at_once", [1, 2, 3, 7, 1000])


@each_way
@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_body_ends_when_its_length_is_reached(length: int, at_once: int) -> None:
    body = Sized(length)
    pieces, unused = taken(body, b"abcdefg", at_once)
    assert body.ended
    assert b"".join(pieces) + unused == b"abcdefg"
    assert len(b"".join(pieces)) == length


@each_way
@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b'00a\r\n0123456789\r\nA;x=y\r\nabcdefghij\r\n1;x="\\" ";y;z\r\nz\r\n0;l\r\n\r\n', b"0123456789abcdefghijz"),
        (b"1\r\na\r\n000\r\ntrailer: b\r\nc:\r\n\r\n", b"a"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
    ],
)
def test_the_content_is_found_when_chunks_are_well_formed(data: bytes, content: bytes, at_once: int) -> None:
    body = Chunked()
    pieces, unused = taken(body, data + b"GET", at_once)
    assert body.ended
    assert (b"".join(pieces), unused) == (content, b"GET")


def test_each_chunk_is_a_piece_when_many_have_arrived() -> None:
    assert taken(Chunked(), b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 1000)[0] == [b"a", b"bc"]


@each_way
@pytest.mark.parametrize(
    "data",
    [
        *[
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"0x1\r\n",
            b"+1\r\n",
            b" 1\r\n",
            b"1 \r\n",
            b"1\n",
            b"\n",
            b";a\r\n",
            b"1_0\r\n",
        ],
        *[
            b"10000000000000000\r\n",
            b"1;\x00\r\n",
            b"1;a\rb\r\n",
            b"1 a\r\n",
            b"1\r\nabc\r\n",
            b"1\r\na\n",
            b"1\r\na\r0\r\n",
        ],
        *[b"0\r\na\r\n", b"0\r\n a: b\r\n", b"0\r\na : b\r\n", b"0\r\na: b\n\r\n", b"0\r\n\n", b"0\r\na: b\x00\r\n"],
        *[b"1;\r\n", b"1;a=\r\n", b'1;a="b\r\n', b"1;\xff\r\n", b"1 ;a\r\n", b"1; a\r\n", b"1;a =b\r\n", b"1;a;;b\r\n"],
        *[b"0\r\ncontent-length: 1\r\n", b"0\r\nTransfer-Encoding: chunked\r\n"],
        *[b"1;" + b"a" * 2000, b"0\r\n" + b"a: b\r\n" * 2000, b"1\r\nab" + b"c" * 2000],
    ],
)
def test_a_body_is_refused_when_its_chunks_are_not_well_formed(data: bytes, at_once: int) -> None:
    with pytest.raises(MalformedRequestError):
        taken(Chunked(), data, at_once)
