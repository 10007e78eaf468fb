"""Heads of requests: what is understood, and what is refused."""

import pytest

from file.logic.errors import (
    HeadTooLargeError,
    MalformedRequestError,
    RequestError,
    TargetTooLongError,
    VersionRefusedError,
)
from file.server.head import MAX_HEAD_BYTES, Head, check_begin, read_head

HOST = b"host: x"


def read(*lines: bytes) -> Head:
    return read_head(b"\r\n".join(lines) + b"\r\n\r\n")


def test_all_parts_are_there_when_a_head_is_whole() -> None:
    head = read(b"PUT /files/a%20b?c=d?e HTTP/1.1", b"Host:x", b"X-Empty:", b"X-Name: \t a:  b\xff \t", b"x-name: c")
    assert (head.method, head.raw_path, head.query_string, head.version) == ("PUT", b"/files/a%20b", b"c=d?e", "1.1")
    assert head.headers == [(b"host", b"x"), (b"x-empty", b""), (b"x-name", b"a:  b\xff"), (b"x-name", b"c")]
    assert (head.length, head.keeps_alive, head.expects_continue) == (0, True, False)


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"*", b"*", b"x"),
        (b"/", b"/", b"x"),
        (b"//a", b"//a", b"x"),
        ("/ü".encode(), "/ü".encode(), b"x"),
        (b"http://a:80/b", b"/b", b"a:80"),
        (b"HTTPS://a", b"/", b"a"),
        (b"http://a?b", b"/", b"a"),
    ],
)
def test_the_path_is_found_when_the_target_has_a_form_of_http(target: bytes, path: bytes, host: bytes) -> None:
    head = read(b"GET " + target + b" HTTP/1.1", HOST)
    assert (head.raw_path, head.headers) == (path, [(b"host", host)])


@pytest.mark.parametrize(
    ("version", "fields", "length"),
    [
        (b"1.1", [], 0),
        (b"1.1", [b"content-length: 0"], 0),
        (b"1.1", [b"content-length: 12 "], 12),
        (b"1.1", [b"content-length: " + b"0" * 5000 + b"3"], 3),
        (b"1.1", [b"content-length: 9223372036854775807"], 2**63 - 1),
        (b"1.1", [b"transfer-encoding: Chunked"], None),
        (b"1.0", [b"content-length: 12"], 12),
    ],
)
def test_the_length_of_the_body_is_known_when_it_can_be_read_in_one_way(
    version: bytes, fields: list[bytes], length: int | None
) -> None:
    assert read(b"PUT / HTTP/" + version, HOST, *fields).length == length


@pytest.mark.parametrize(
    ("version", "options", "keeps_alive"),
    [
        (b"1.1", [], True),
        (b"1.1", [b"Close"], False),
        (b"1.1", [b"upgrade , close"], False),
        (b"1.1", [b"a", b"close"], False),
        (b"1.1", [b"closed"], True),
        (b"1.0", [], False),
        (b"1.0", [b"Keep-Alive"], True),
        (b"1.0", [b"close, keep-alive"], False),
        (b"1.1", [b"keep-alive,\tclose\t"], False),
        (b"1.0", [b"keep-al\tive"], False),
    ],
)
def test_the_connection_is_kept_when_the_client_wants_it(
    version: bytes, options: list[bytes], keeps_alive: bool
) -> None:
    fields = [b"connection: " + option for option in options]
    assert read(b"GET / HTTP/" + version, HOST, *fields).keeps_alive is keeps_alive


@pytest.mark.parametrize(
    ("version", "expected", "waits"),
    [(b"1.1", [b"100-Continue"], True), (b"1.0", [b"100-continue"], False), (b"1.1", [b"a-miracle"], False)],
)
def test_a_client_waits_when_it_expects_100(version: bytes, expected: list[bytes], waits: bool) -> None:
    fields = [b"expect: " + each for each in expected]
    assert read(b"PUT / HTTP/" + version, HOST, *fields).expects_continue is waits


@pytest.mark.parametrize(
    "line",
    [
        *[b"", b"GET", b"GET /", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b" GET / HTTP/1.1", b"GET / HTTP/1.1 "],
        *[
            b"GET /\tHTTP/1.1",
            b"GET / a HTTP/1.1",
            b"GET / http/1.1",
            b"GET / HTTP/1.10",
            b"GET / HTTP/1",
            b"GET / 1.1",
        ],
        *[
            b"G(T / HTTP/1.1",
            b"G\xffT / HTTP/1.1",
            b"G" * 33 + b" / HTTP/1.1",
            b"GET /\x00 HTTP/1.1",
            b"GET /#a HTTP/1.1",
            b'GET http://"a/ HTTP/1.1',
            b"CONNECT a:80 HTTP/1.1",
            b"CONNECT / HTTP/1.1",
        ],
        *[b"GET /\x7f HTTP/1.1", b"GET /\r HTTP/1.1", b"GET /\n HTTP/1.1", b"GET x:80 HTTP/1.1", b"GET a HTTP/1.1"],
        *[b"GET ftp://a/ HTTP/1.1", b"GET http:///a HTTP/1.1", b"GET http://u@a/ HTTP/1.1", b"GET ?a HTTP/1.1"],
    ],
)
def test_a_head_is_refused_when_its_first_line_is_not_one_of_a_request(line: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        read(line, HOST)


@pytest.mark.parametrize(
    "field",
    [
        *[
            b"a b: c",
            b"a : b",
            b" a: b",
            b": b",
            b"a",
            b"\ta: b",
            b"a:b\r",
            b"a\x00: b",
            b"a: \x00",
            b"a: \x1f",
            b"a: \x7f",
        ],
        *[
            b"a: b\n c: d",
            b"a: b\r\n c",
            b"a: b\r\n\tc",
            b"a: b\nc: d",
            b"a: b\rc: d",
            b"(a): b",
            b"\xff: b",
            b"a: \x0bb",
        ],
    ],
)
def test_a_head_is_refused_when_a_field_is_not_one_of_http(field: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        read(b"GET / HTTP/1.1", HOST, field, b"b: c")


@pytest.mark.parametrize(
    "fields",
    [
        *[[b"content-length: 5"] * 2, [b"content-length: 5, 5"], [b"content-length:"], [b"content-length: +5"]],
        *[[b"content-length: -5"], [b"content-length: 0x5"], [b"content-length: 5_0"], [b"content-length: 5 5"]],
        *[[b"content-length: " + b"9" * 20], [b"content-length: \xb2"], [b"content-length: 5.0"]],
        *[[b"content-length: 5", b"transfer-encoding: chunked"], [b"transfer-encoding: chunked", b"content-length: 0"]],
        *[[b"transfer-encoding: chunked"] * 2, [b"transfer-encoding: gzip, chunked"], [b"transfer-encoding: identity"]],
        *[[b"transfer-encoding:"], [b"transfer-encoding: ,chunked"], [b"transfer-encoding: chunked;a"]],
        *[[b"transfer-encoding: xchunked"], [HOST], [b"Host: y"]],
    ],
)
def test_a_head_is_refused_when_it_can_be_read_in_two_ways(fields: list[bytes]) -> None:
    with pytest.raises(MalformedRequestError):
        read(b"PUT / HTTP/1.1", HOST, *fields)


def test_chunks_are_refused_when_the_version_has_none() -> None:
    with pytest.raises(MalformedRequestError):
        read(b"PUT / HTTP/1.0", HOST, b"transfer-encoding: chunked")


def test_a_host_is_missed_when_the_version_demands_it() -> None:
    assert read(b"GET / HTTP/1.0", b"a: b").keeps_alive is False
    with pytest.raises(MalformedRequestError, match="Host"):
        read(b"GET / HTTP/1.1", b"a: b")


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ([b"GET / HTTP/2.0", HOST], VersionRefusedError),
        ([b"GET / HTTP/0.9", HOST], VersionRefusedError),
        ([b"GET /" + b"a" * 16_384 + b" HTTP/1.1", HOST], TargetTooLongError),
        ([b"GET / HTTP/1.1", HOST, *[b"a: b"] * 100], HeadTooLargeError),
    ],
)
def test_the_reason_is_told_when_a_head_is_refused(lines: list[bytes], kind: type[RequestError]) -> None:
    with pytest.raises(kind):
        read(*lines)


@pytest.mark.parametrize("begin", [b"G", b"GET", b"GET ", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nhost: x\r\n"])
def test_more_is_awaited_when_a_head_has_begun(begin: bytes) -> None:
    check_begin(begin, 0)


@pytest.mark.parametrize(
    "begin", [b"\x16\x03\x01", b" GET", b"G" * 33, b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\na: b\n"]
)
def test_it_is_refused_at_once_when_it_can_become_no_head(begin: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        check_begin(begin, 0)


@pytest.mark.parametrize(
    ("begin", "kind"),
    [
        (b"GET /" + b"a" * 17_000, TargetTooLongError),
        (b"GET / HTTP/1.1\r\na: " + b"a" * MAX_HEAD_BYTES, HeadTooLargeError),
    ],
)
def test_it_is_refused_at_once_when_a_head_is_too_large(begin: bytes, kind: type[RequestError]) -> None:
    with pytest.raises(kind):
        check_begin(begin, 0)
