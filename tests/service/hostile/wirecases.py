"""What clients send that try to deceive a server, byte by byte, and what the server must answer.

Behind the bytes of each case follows an upload. After a refusal it must not be read as a request: a proxy in front may
have taken the same bytes for a part of the refused request. After a request that is allowed, it must be stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.unit.api.rawhttp import CHUNKED, head

BEHIND = head("PUT", "/files/behind", "content-length: 1") + b"y"
_CHUNKED = head("PUT", "/files/k", CHUNKED)
_GET = b"GET /_/health HTTP/1.1\r\nhost: x\r\n"
_CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
_TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(256)) * 2
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")

# Invalid values have `~` between them, which none of them has.
# Lengths of `abc` that are none.
_LENGTHS = (
    *(
        b"+3~-3~-0~3 3~3,3~3, 3~3,~0x3~3_0~3.0~3e0~3;~'3'~\"3\"~\xd9\xa3~\xb3~3\x0b~\x0b3~18446744073709551616~"
        b"9999999999999999999999999999999999999999~NaN~three"
    ).split(b"~"),
    b"",
    b"9" * 4_400,
)
# Codings other than `chunked`.
_CODINGS = (
    *(
        b"identity~xchunked~chunkedx~chunked, chunked~chunked,~,chunked~gzip~gzip, chunked~chunked, gzip~"
        b'identity, chunked~chunked, identity~\x0bchunked~chunked\x0b~\x0cchunked~chunked;q=1~"chunked"~'
        b"chun\x00ked~chunked\x00~chunk\xe9d~\xa0chunked~chunked\r\n chunked"
    ).split(b"~"),
    b"",
)
# Sizes of the chunk `abc` that are none.
_SIZES = (
    *(
        b"-3~+3~0x3~0X3~g~3g~ 3~\t3~3 ~3\t~\x003~3\x00~\xd9\xa3~3_0~ffffffffffffffff~fffffffffffffffff~"
        b"10000000000000000~8000000000000000~7fffffffffffffff~3,3~3.0~3;a\x00b~3;a\x01b~3;\x7f~3\n~\n3~3\r~\r\n3"
    ).split(b"~"),
    b"",
    b"f" * 4_400,
    b"0" * 2_000 + b"3",
    b"3;" + b"e" * 70_000,
)
# Lines that do not begin a request.
_LINES = (
    b"GET  /_/health HTTP/1.1~GET /_/health  HTTP/1.1~ GET /_/health HTTP/1.1~GET /_/health HTTP/1.1 ~"
    b"GET\t/_/health HTTP/1.1~GET /_/health\tHTTP/1.1~GET /_/health HTTP/1.1\t~GET\x0b/_/health HTTP/1.1~"
    b"GET /_/health~GET~GET ~/_/health HTTP/1.1~GET HTTP/1.1~ /_/health HTTP/1.1~ ~GET /_/health HTTP/1.1\r~"
    b"GET /_/hea\rlth HTTP/1.1~GET /_/hea\nlth HTTP/1.1~GET /_/h\x00 HTTP/1.1~G\x00T /_/health HTTP/1.1~"
    b"G\xc3\x89T /_/health HTTP/1.1~G(T /_/health HTTP/1.1~GET: /_/health HTTP/1.1~GET /_/h\x7f HTTP/1.1~"
    b"GET /_/h\x01 HTTP/1.1~GET /_/a b HTTP/1.1~GET _/health HTTP/1.1~GET /_/health http/1.1~"
    b"GET /_/health HTTP/1~GET /_/health HTTP/1.~GET /_/health HTTP/.1~GET /_/health HTTP/1.10~"
    b"GET /_/health HTTP/11.1~GET /_/health HTTP/01.1~GET /_/health HTTP/1,1~GET /_/health HTTPS/1.1~"
    b"GET /_/health HTTP /1.1~GET /_/health HTTP/1.1\x00~GET /_/health HTTP/+1.1~GET /_/health ICY~"
    b"GET /_/health HTTP/a.b~GET /_/health HTTP/1.\xb9"
).split(b"~")
# Fields that are none.
_FIELDS = (
    b"x : y~x\t: y~ x: y~\tx: y~: y~:~x~x y~x y: z~x\x00: y~x: \x00~x: y\x00z~x: y\r\n z~x: y\r\n\tz~x: y\n z~"
    b"x: y\nz: a~x: y\rz: a~x: y\r~x\r: y~x\n: y~x\x0b: y~x: \x01~x: a\x08b~x: \x0b~x: \x0c~x: \x1f~x: \x7f~"
    b'\xc3\xa9: y~x(: y~x@: y~"x": y~x/y: z~x=y~{x}: y~[x]: y~x\\: y~x;: y~x,: y~x<: y~x?: y~\x7fx: y~'
    b"\x01: y"
).split(b"~")


@dataclass(frozen=True)
class Sent:
    """`statuses`: those of all answers, without the one to `BEHIND`. `goes_on`: the connection is kept, and `BEHIND` is
    answered. `body`: what is stored as `k`; None if nothing may be stored.
    """

    wire: bytes
    statuses: tuple[int, ...] = (400,)
    goes_on: bool = False
    body: bytes | None = None


def _allowed(wire: bytes, *statuses: int, body: bytes | None = None) -> Sent:
    return Sent(wire, statuses, goes_on=True, body=body)


def _with(*fields: bytes, line: bytes = b"PUT /files/k HTTP/1.1") -> bytes:
    """A head with these fields, each with the end of its line."""
    return line + head("", "", host="x").partition(b"HTTP/1.1")[2][:-2] + b"".join(fields) + b"\r\n"


def _lengths() -> Iterator[tuple[str, Sent]]:
    yield "one length", _allowed(_with(b"content-length: 3\r\n") + b"abc", 201, body=b"abc")
    yield "a length in upper case", _allowed(_with(b"CONTENT-LENGTH: 3\r\n") + b"abc", 201, body=b"abc")
    yield "spaces around a length", _allowed(_with(b"content-length: \t 3 \t\r\n") + b"abc", 201, body=b"abc")
    for value in _LENGTHS:
        yield f"the length {value[:24]!r}", Sent(_with(b"content-length: " + value + b"\r\n") + b"abc")
    for first, second in (b"33", b"35", b"53", b"03", b"30"):
        pair = b"content-length: %c\r\n" % first, b"Content-Length: %c\r\n" % second
        yield f"the lengths {first:c} and {second:c}", Sent(_with(*pair) + b"abc")


def _codings() -> Iterator[tuple[str, Sent]]:
    for value in (b"chunked", b"Chunked", b"CHUNKED", b"\tchunked \t"):
        wire = _with(b"Transfer-Encoding:" + value + b"\r\n")
        yield f"the coding {value!r}", _allowed(wire + _CHUNKS, 201, body=b"abc")
    for value in _CODINGS:
        coding = b"transfer-encoding: " + value + b"\r\n"
        yield f"the coding {value!r}", Sent(_with(coding) + _CHUNKS)
        for name, pair in ("before", (coding, b"content-length: 5\r\n")), ("after", (b"content-length: 5\r\n", coding)):
            yield f"the coding {value!r} {name} a length", Sent(_with(*pair) + b"0\r\n\r\n")
    chunked, length = b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n"
    yield "a coding before a length", Sent(_with(chunked, length) + b"0\r\n\r\n")
    yield "a length before a coding", Sent(_with(length, chunked) + b"0\r\n\r\n")
    yield "a coding and the length 0", Sent(_with(chunked, b"content-length: 0\r\n") + b"0\r\n\r\n")
    yield "a coding and an invalid length", Sent(_with(chunked, b"content-length: x\r\n") + b"0\r\n\r\n")
    yield "a coding and a length of GET", Sent(_with(length, chunked, line=b"GET /_/health HTTP/1.1") + b"0\r\n\r\n")
    yield "the coding twice", Sent(_with(chunked, chunked) + _CHUNKS)
    yield "two codings", Sent(_with(b"transfer-encoding: gzip\r\n", chunked) + _CHUNKS)
    yield "the coding, then identity", Sent(_with(chunked, b"transfer-encoding: identity\r\n") + _CHUNKS)
    yield "the coding, then nothing", Sent(_with(chunked, b"transfer-encoding:\r\n") + _CHUNKS)
    yield "the coding in HTTP/1.0", Sent(_with(chunked, line=b"PUT /files/k HTTP/1.0") + _CHUNKS)
    yield "the coding hidden by a fold", Sent(_with(b"x: y\r\n transfer-encoding: chunked\r\n", length) + b"0\r\n\r\n")
    yield "the coding behind a bare LF", Sent(_with(b"x: y\ntransfer-encoding: chunked\r\n", length) + b"0\r\n\r\n")
    yield "the coding behind a bare CR", Sent(_with(b"x: y\rtransfer-encoding: chunked\r\n", length) + b"0\r\n\r\n")


def _chunks() -> Iterator[tuple[str, Sent]]:
    for name, body in (
        *(("chunks", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"), ("chunks with zeros", b"0003\r\nabc\r\n00\r\n\r\n")),
        *(("a trailer", b"3\r\nabc\r\n0\r\na: b\r\n\r\n"), ("two trailers", b"3\r\nabc\r\n0\r\na: b\r\nc:\r\n\r\n")),
        *(("an extension", b"3;a=b\r\nabc\r\n0;c\r\n\r\n"), ("a quoted one", b'3;a="b c"\r\nabc\r\n0\r\n\r\n')),
    ):
        yield name, _allowed(_CHUNKED + body, 201, body=b"abc")
    for size in _SIZES:
        yield f"a chunk of the size {size[:24]!r}", Sent(_CHUNKED + size + b"\r\nabc\r\n0\r\n\r\n")


def _broken_chunks() -> Iterator[tuple[str, Sent]]:
    for name, body in (
        *(("a chunk's size ends with LF", b"3\nabc\r\n0\r\n\r\n"), ("with CR", b"3\rabc\r\n0\r\n\r\n")),
        *(("a chunk ends with LF", b"3\r\nabc\n0\r\n\r\n"), ("a chunk without an end", b"3\r\nabc0\r\n\r\n")),
        *(("a chunk ends with CR", b"3\r\nabc\r0\r\n\r\n"), ("a chunk is longer", b"3\r\nabcd\r\n0\r\n\r\n")),
        *(("an extension ends with LF", b"3;a\nabc\r\n0\r\n\r\n"), ("a chunk is shorter", b"4\r\nabc\r\n0\r\n\r\n")),
        *(("the last line is LF", b"3\r\nabc\r\n0\r\n\n"), ("the last size ends with LF", b"3\r\nabc\r\n0\n\r\n")),
        *(("the last line is no line", b"3\r\nabc\r\n0\r\n\rx"), ("no last line", b"3\r\nabc\r\n0\r\nx\r\n\r\n")),
        *(
            ("a trailer without a name", b"3\r\nabc\r\n0\r\n: b\r\n\r\n"),
            ("with a space", b"3\r\nabc\r\n0\r\na : b\r\n\r\n"),
        ),
        *(
            ("a folded trailer", b"3\r\nabc\r\n0\r\na: b\r\n c\r\n\r\n"),
            ("a trailer with NUL", b"3\r\nabc\r\n0\r\na: \0\r\n\r\n"),
        ),
        *(
            ("a trailer with LF", b"3\r\nabc\r\n0\r\na: b\nc: d\r\n\r\n"),
            ("with CR", b"3\r\nabc\r\n0\r\na: b\rc\r\n\r\n"),
        ),
        *(
            ("a large trailer", b"0\r\na: " + b"b" * 70_000 + b"\r\n\r\n"),
            ("many", b"0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n"),
        ),
    ):
        yield f"in chunks: {name}", Sent(_CHUNKED + body)


def _lines() -> Iterator[tuple[str, Sent]]:
    yield "an empty line before a request", _allowed(b"\r\n" + _GET + b"\r\n", 200)
    yield "two empty lines before a request", Sent(b"\r\n\r\n" + _GET + b"\r\n")
    yield "lines that end with LF", Sent((_GET + b"\r\n").replace(b"\r\n", b"\n"))
    yield "lines that end with CR", Sent((_GET + b"\r\n").replace(b"\r\n", b"\r"))
    yield "a head that ends with LF", Sent(_GET + b"\n")
    yield "a head that ends with LF and CRLF", Sent(_GET[:-2] + b"\n\r\n")
    yield "a head that ends with CR", Sent(_GET + b"\r\r\n\r\n")
    yield "an end of the head with a space", Sent(_GET + b" \r\n\r\n")
    for line in _LINES:
        yield f"the line {line!r}", Sent(_with(line=line))
    for version in (b"0.9", b"1.2", b"1.9", b"2.0", b"3.0", b"9.9"):
        yield f"the version {version.decode()}", Sent(_with(line=b"GET /_/health HTTP/" + version), (505,))
    yield "HTTP/0.9", Sent(b"GET /_/health\r\n")
    yield "the beginning of HTTP/2", Sent(_HTTP2, (505,))
    yield "the beginning of TLS", Sent(_TLS_HELLO)
    yield "the beginning of SOCKS", Sent(b"\x05\x01\x00\r\n\r\n")
    yield "the protocol of a proxy", Sent(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + _GET + b"\r\n")


def _fields() -> Iterator[tuple[str, Sent]]:
    for field in (
        b"x:",
        b"x: ",
        b"x:\t",
        b"x:a\tb",
        b"x: \xc3\xa9\xff",
        b"!#$%&'*+-.^_`|~09: x",
        b"x:::",
        b"x: " + b"y" * 8_000,
    ):
        yield f"the field {field[:24]!r}", _allowed(_GET + field + b"\r\n\r\n", 200)
    for field in _FIELDS:
        yield f"the field {field!r}", Sent(_GET + field + b"\r\n\r\n")
    yield "the first field is folded", Sent(b"GET /_/health HTTP/1.1\r\n host: x\r\n\r\n")


def _sizes() -> Iterator[tuple[str, Sent]]:
    yield "a long target", Sent(_with(line=b"GET /files/" + b"a" * 20_000 + b" HTTP/1.1"), (414,))
    yield "a target that fills a head", Sent(_with(line=b"GET /files/" + b"a" * 70_000 + b" HTTP/1.1"), (414,))
    yield "a target without an end", Sent(b"GET /files/" + b"a" * 300_000, (414,))
    yield "a long method", Sent(b"G" * 40 + b" / HTTP/1.1\r\nhost: x\r\n\r\n")
    yield "a method without an end", Sent(b"G" * 40)
    yield "a large field", Sent(_GET + b"x: " + b"y" * 300_000 + b"\r\n\r\n", (431,))
    yield "a field without an end", Sent(_GET + b"x: " + b"y" * 300_000, (431,))
    yield "a long name", Sent(_GET + b"x" * 300_000 + b": y\r\n\r\n", (431,))
    yield "many fields", Sent(_GET + b"x: y\r\n" * 5_000 + b"\r\n", (431,))
    yield "many fields without an end", Sent(_GET + b"x: y\r\n" * 60_000, (431,))


def _targets() -> Iterator[tuple[str, Sent]]:
    yield "the absolute form", _allowed(_with(line=b"GET http://x/_/health HTTP/1.1"), 200)
    yield (
        "the absolute form of an upload",
        _allowed(_with(b"content-length: 3\r\n", line=b"PUT http://x/files/k HTTP/1.1") + b"abc", 201, body=b"abc"),
    )
    yield "the asterisk form", _allowed(_with(line=b"OPTIONS * HTTP/1.1"), 204)
    yield "the asterisk form of GET", _allowed(_with(line=b"GET * HTTP/1.1"), 400)
    yield "the authority form", Sent(_with(line=b"CONNECT x:80 HTTP/1.1"))
    yield "the authority form of GET", Sent(_with(line=b"GET x:80 HTTP/1.1"))


def _connections() -> Iterator[tuple[str, Sent]]:
    close, keep = b"connection: close\r\n", b"connection: keep-alive\r\n"
    old = b"GET /_/health HTTP/1.0"
    yield "close", Sent(_with(close, line=b"GET /_/health HTTP/1.1"), (200,))
    yield "close in upper case", Sent(_with(b"CONNECTION: x, CLOSE\r\n", line=b"GET /_/health HTTP/1.1"), (200,))
    yield "close and keep-alive", Sent(_with(keep, close, line=b"GET /_/health HTTP/1.1"), (200,))
    yield "HTTP/1.0", Sent(_with(line=old), (200,))
    yield "HTTP/1.0 with keep-alive", _allowed(_with(keep, line=old), 200)
    yield "HTTP/1.0 with close and keep-alive", Sent(_with(close, keep, line=old), (200,))
    yield (
        "HTTP/1.0 with a body",
        Sent(_with(b"content-length: 3\r\n", line=b"PUT /files/k HTTP/1.0") + b"abc", (201,), body=b"abc"),
    )
    yield "an upgrade", _allowed(_GET + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n", 200)
    yield (
        "an upgrade to HTTP/2",
        _allowed(
            _GET + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n\r\n", 200
        ),
    )
    yield "a request behind a refused one", Sent(_GET + b"\r\n" + _GET + b"x : y\r\n\r\n", (200, 400))
    yield "three requests", _allowed((_GET + b"\r\n") * 3, 200, 200, 200)


def _expectations() -> Iterator[tuple[str, Sent]]:
    length = b"content-length: 3\r\n"
    for value in (b"100-continue", b"100-Continue"):
        sent = _with(length, b"expect: " + value + b"\r\n") + b"abc"  # without waiting
        yield f"the expectation {value!r}", _allowed(sent, 201, body=b"abc")
    yield (
        "an expectation of HTTP/1.0",
        Sent(_with(length, b"expect: 100-continue\r\n", line=b"PUT /files/k HTTP/1.0") + b"abc", (201,), body=b"abc"),
    )
    yield "an expectation without a body", _allowed(_GET + b"expect: 100-continue\r\n\r\n", 200)
    yield "an unknown expectation", Sent(_with(length, b"expect: 200-ok\r\n") + b"abc", (417,))


CASES = {
    name: sent
    for each in (
        _lengths,
        _codings,
        _chunks,
        _broken_chunks,
        _lines,
        _fields,
        _sizes,
        _targets,
        _connections,
        _expectations,
    )
    for name, sent in each()
}
