"""Answers as bytes: the form of the body, what closes the connection, and what is no answer."""

import re

import pytest

from file.server.head import read_head
from file.server.outgoing import Outgoing


def outgoing(method: str = "GET", version: str = "1.1", *fields: str) -> Outgoing:
    lines = [f"{method} / HTTP/{version}", "host: x", *fields]
    return Outgoing(read_head("\r\n".join(lines).encode() + b"\r\n\r\n"))


def written(answer: Outgoing, status: int, *pieces: bytes, **fields: str) -> bytes:
    answer.start(status, [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()])
    last = len(pieces) - 1
    data = b"".join(b"".join(answer.pieces(piece, more=number < last)) for number, piece in enumerate(pieces))
    return re.sub(rb"\r\ndate: [^\r]+GMT", b"", data, count=1)


@pytest.mark.parametrize(
    ("version", "pieces", "fields", "expected"),
    [
        ("1.1", [b"ab"], {}, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"),
        ("1.1", [b""], {}, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ("1.1", [b"a", b"b"], {"content_length": "2"}, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"),
        (
            *("1.1", [b"a", b"", b"bc", b""], {"x": "y"}),
            b"HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        ),
        ("1.1", [b"a"], {"Content_Length": "1"}, b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"),
        ("1.0", [b"a", b"b"], {}, b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nab"),
        ("1.1", [b""], {"connection": "Close"}, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
    ],
)
def test_the_body_has_the_form_that_its_length_and_the_version_demand(
    version: str, pieces: list[bytes], fields: dict[str, str], expected: bytes
) -> None:
    assert written(outgoing("GET", version), 200, *pieces, **fields) == expected


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_there_is_no_body_when_http_allows_none(method: str, status: int) -> None:
    answer = outgoing(method)
    assert written(answer, status, b"ab", b"c").endswith(b"\r\n\r\n")
    assert answer.ended


def test_the_length_is_told_when_head_asks_for_it() -> None:
    assert b"content-length: 99\r\n" in written(outgoing("HEAD"), 200, b"", content_length="99")


def test_the_connection_is_kept_when_an_old_client_wants_it() -> None:
    answer = outgoing("GET", "1.0", "connection: keep-alive")
    assert b"connection: keep-alive\r\n" in written(answer, 200, b"a")
    assert not answer.closes


@pytest.mark.parametrize("pieces", [[b"abc"], [b"a", b"bc"], [b"a"], [b""]])
def test_it_is_an_error_when_the_body_has_another_length_than_declared(pieces: list[bytes]) -> None:
    answer = outgoing()
    with pytest.raises(RuntimeError, match="than its Content-Length"):
        written(answer, 200, *pieces, content_length="2")
    assert not answer.ended


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb"])
def test_it_is_an_error_when_a_header_has_a_line_break(value: str) -> None:
    with pytest.raises(RuntimeError, match="line break"):
        written(outgoing(), 200, b"", x=value)


def test_it_is_an_error_when_messages_are_out_of_order() -> None:
    answer = outgoing()
    with pytest.raises(RuntimeError):
        answer.pieces(b"", more=False)
    written(answer, 200, b"a")
    for again in (lambda: answer.pieces(b"", more=False), lambda: answer.start(200, ())):
        with pytest.raises(RuntimeError):
            again()
