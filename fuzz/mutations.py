"""Mutations of requests: in their structure, or in any of their bytes.

Every mutation is a function that draws from the generator of the case, so that the same seed gives the same case.
"""

import random
import re
from collections.abc import Callable, Sequence

from fuzz import oddities
from fuzz.requests import Request, in_chunks

Structural = Callable[[random.Random, Request], None]
OfBytes = Callable[[random.Random, bytes], bytes]


# Bytes that HTTP allows in a header: with others the server refuses the request before the service sees it.
_LET_IN = re.compile(rb"[\x20-\x7e\x80-\xff]{0,9000}")
_VALUES = (oddities.NUMBERS, oddities.TEXTS, oddities.TEXTS, oddities.SEGMENTS)
_LET_IN_VALUES = [[value for value in values if _LET_IN.fullmatch(value)] for values in _VALUES]
_PRINTABLE_SEGMENTS = [
    value for value in oddities.SEGMENTS if value.isascii() and b" " not in value and b"\x00" not in value
]


def _any_value(chance: random.Random) -> bytes:
    """A value that mostly reaches the service."""
    values: Sequence[Sequence[bytes]] = _LET_IN_VALUES if chance.random() < 0.75 else _VALUES
    return chance.choice(chance.choice(values))


# --- fields


def odd_value(chance: random.Random, request: Request) -> None:
    place = chance.randrange(len(request.fields))
    request.fields[place] = request.fields[place][0], _any_value(chance)


def odd_header(chance: random.Random, request: Request) -> None:
    for _ in range(chance.choice((1, 1, 2, 4))):
        request.fields.append((chance.choice(oddities.HEADERS), _any_value(chance)))


def twice(chance: random.Random, request: Request) -> None:
    name, value = chance.choice(request.fields)
    request.fields.insert(chance.randrange(len(request.fields) + 1), (name, chance.choice((value, _any_value(chance)))))


def left_out(chance: random.Random, request: Request) -> None:
    del request.fields[chance.randrange(len(request.fields))]


def odd_name(chance: random.Random, request: Request) -> None:
    place = chance.randrange(len(request.fields))
    name, value = request.fields[place]
    spelt = chance.choice(
        (name + b" ", b" " + name, name + b"\t", name.upper(), name + b"\x00", name + b"\xff", b"", name * 300)
    )
    request.fields[place] = spelt, value


def folded(chance: random.Random, request: Request) -> None:
    place = chance.randrange(len(request.fields))
    name, value = request.fields[place]
    at = chance.randrange(len(value) + 1)
    request.fields[place] = name, value[:at] + chance.choice((b"\r\n ", b"\r\n\t", b"\n ", b"\r ")) + value[at:]


def spaced(chance: random.Random, request: Request) -> None:
    place = chance.randrange(len(request.fields))
    name, value = request.fields[place]
    space = chance.choice((b" ", b"\t", b" \t ", b"\x0b", b"\xa0", b" " * 9_000))
    request.fields[place] = name, space + value + chance.choice((b"", space))


def many_headers(chance: random.Random, request: Request) -> None:
    count = chance.choice((50, 90, 99, 101, 1_000))
    request.fields += [(b"x-h%d" % n, b"v") for n in range(count)]


def huge_header(chance: random.Random, request: Request) -> None:
    request.fields.append((b"x-huge", b"v" * chance.choice((8_000, 65_000, 262_000, 400_000))))


# --- line


def odd_method(chance: random.Random, request: Request) -> None:
    known = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS")
    request.method = chance.choice((*known, *oddities.METHODS))


def odd_target(chance: random.Random, request: Request) -> None:
    target = request.target
    odd = chance.choice(_PRINTABLE_SEGMENTS if chance.random() < 0.7 else (*oddities.SEGMENTS, *oddities.TEXTS))
    at = chance.randrange(len(target) + 1)
    request.target = chance.choice(
        (
            target[:at] + odd + target[at:],
            target + odd,
            odd,
            b"http://x" + target,
            b"/" + target,
            target[1:],
            target * 200,
        )
    )


def odd_version(chance: random.Random, request: Request) -> None:
    request.version = chance.choice(oddities.VERSIONS)


def odd_lines(chance: random.Random, request: Request) -> None:
    request.line_end = chance.choice((b"\n", b"\r", b"\r\r\n", b"\n\r"))
    request.separator = chance.choice((b": ", b":", b" : ", b"", b"::", b"="))


# --- body and frames


def odd_length(chance: random.Random, request: Request) -> None:
    length = len(request.body)
    told = (b"%d" % (length + 1), b"%d" % (length * 2 + 100), b"%d" % max(0, length - 1), b" %d " % length, b"0")
    request.set(b"content-length", chance.choice((*told, *oddities.NUMBERS)))


def two_lengths(chance: random.Random, request: Request) -> None:
    length = b"%d" % len(request.body)
    other = chance.choice((length, b"0", b"%d" % (len(request.body) + 5), *oddities.NUMBERS))
    request.fields += [(b"content-length", length), (b"Content-Length", other)]


def length_and_chunks(chance: random.Random, request: Request) -> None:
    """Framing that a proxy in front might read differently."""
    smuggled = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    framed = in_chunks(request.content, [chance.randrange(1, 100)]) + b"\r\n"
    request.body = chance.choice((framed, framed + smuggled, b"0\r\n\r\n" + smuggled))
    length = chance.choice((len(request.body), 4, 5, 0, len(request.content)))
    pair = [(b"content-length", b"%d" % length), (b"transfer-encoding", chance.choice((b"chunked", *oddities.CODINGS)))]
    chance.shuffle(pair)
    request.remove(b"content-length")
    request.remove(b"transfer-encoding")
    request.fields += pair


def odd_coding(chance: random.Random, request: Request) -> None:
    request.remove(b"content-length")
    request.set(
        chance.choice((b"transfer-encoding", b"Transfer-Encoding", b"transfer_encoding")),
        chance.choice(oddities.CODINGS),
    )


def odd_chunks(chance: random.Random, request: Request) -> None:
    request.content = request.content or b"some bytes of a body"
    request.send_in_chunks([chance.randrange(1, 50) for _ in range(4)])
    size, end = chance.choice(oddities.CHUNK_SIZES), chance.choice((b"\r\n", b"\r\n", b"\n", b"\r", b""))
    frame = size + end + b"x" + chance.choice((b"\r\n", b"\n", b""))
    request.body = chance.choice(
        (frame + request.body, request.body[:-5] + frame + b"0\r\n\r\n", request.body[:-2] + frame)
    )


def odd_trailer(chance: random.Random, request: Request) -> None:
    value = _any_value(chance)
    trailers = (
        b"content-length: 4\r\n",
        b"a: " + value + b"\r\n",
        b"a: b\r\n" * chance.choice((10, 3_000)),
        b"content-digest: sha-256=:AAAA:\r\n",
        value,
    )
    request.send_in_chunks([], chance.choice(trailers))


def one_byte_chunks(chance: random.Random, request: Request) -> None:
    request.content = (request.content or b"one byte after the other")[:3_000]
    request.send_in_chunks([1] * len(request.content))


def with_body(chance: random.Random, request: Request) -> None:
    """A body, also for a method without one."""
    request.content = chance.randbytes(chance.choice((1, 100, 5_000, 300_000)))
    if chance.random() < 0.5:
        request.send_by_length()
    else:
        request.send_in_chunks([chance.randrange(1, 3_000) for _ in range(5)])
    if chance.random() < 0.3:
        request.body = request.body[: chance.randrange(len(request.body))]


def short_body(chance: random.Random, request: Request) -> None:
    if request.body:
        request.body = request.body[: chance.randrange(len(request.body))]
    else:
        request.set(b"content-length", b"%d" % chance.choice((1, 10, 9_999_999_999)))


def long_body(chance: random.Random, request: Request) -> None:
    request.body += chance.choice((b"x", b"\r\n", b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n", b"\x00" * 70_000))


def other_protocol(chance: random.Random, request: Request) -> None:
    request.fields += chance.choice(
        (
            [
                (b"connection", b"Upgrade"),
                (b"upgrade", b"websocket"),
                (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
                (b"sec-websocket-version", b"13"),
            ],
            [
                (b"connection", b"Upgrade, HTTP2-Settings"),
                (b"upgrade", b"h2c"),
                (b"http2-settings", b"AAMAAABkAAQAAP__"),
            ],
            [(b"connection", b"content-length, authorization, host")],
            [(b"expect", b"100-continue"), (b"expect", b"200-ok")],
            [(b"te", b"trailers, chunked"), (b"connection", b"te")],
        )
    )


# --- bytes


def _slice(chance: random.Random, wire: bytes) -> tuple[int, int]:
    """A random slice, mostly inside the head, where each byte has a meaning."""
    within = min(len(wire), 600) if chance.random() < 0.7 else len(wire)
    first = chance.randrange(within + 1)
    return first, min(len(wire), first + chance.choice((1, 1, 2, 4, 16, 100, 1_000)))


def cut_off(chance: random.Random, wire: bytes) -> bytes:
    return wire[: _slice(chance, wire)[0]]


def taken_out(chance: random.Random, wire: bytes) -> bytes:
    first, last = _slice(chance, wire)
    return wire[:first] + wire[last:]


def repeated(chance: random.Random, wire: bytes) -> bytes:
    first, last = _slice(chance, wire)
    return wire[:last] + wire[first:last] * chance.choice((1, 1, 2, 50, 500)) + wire[last:]


def moved(chance: random.Random, wire: bytes) -> bytes:
    first, last = _slice(chance, wire)
    rest = wire[:first] + wire[last:]
    at = chance.randrange(min(len(rest), 600) + 1)
    return rest[:at] + wire[first:last] + rest[at:]


def flipped(chance: random.Random, wire: bytes) -> bytes:
    changed = bytearray(wire)
    for _ in range(chance.choice((1, 1, 2, 8, 40))):
        if changed:
            changed[_slice(chance, wire)[0] % len(changed)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def written_over(chance: random.Random, wire: bytes) -> bytes:
    first, last = _slice(chance, wire)
    return wire[:first] + chance.randbytes(last - first) + wire[last:]


def put_in(chance: random.Random, wire: bytes) -> bytes:
    first, _ = _slice(chance, wire)
    odd = chance.choice(
        (_any_value(chance), b"\x00", b"\r\n", b"\r\n\r\n", b"\n\n", b"\r", b" ", b":", b"%", b"\xff" * 9)
    )
    return wire[:first] + odd + wire[first:]


def other_line_ends(chance: random.Random, wire: bytes) -> bytes:
    return wire.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\n\r\n", b"\r\n ")), chance.choice((1, 2, -1)))


def not_http(chance: random.Random, wire: bytes) -> bytes:
    return chance.choice(
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + wire,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(300),  # TLS
            b"\x05\x01\x00",  # SOCKS
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + wire,
            chance.randbytes(chance.choice((1, 50, 5_000))),
            b"\r\n" * chance.choice((1, 5, 5_000)) + wire,
            b"",
        )
    )


OF_BYTES: tuple[OfBytes, ...] = (
    *(cut_off, cut_off, taken_out, taken_out, repeated, moved, flipped, flipped, written_over, put_in, put_in),
    *(other_line_ends, not_http),
)


def changed_content(chance: random.Random, request: Request) -> None:
    """Changes bytes of the body in valid framing; in a form they have a meaning."""
    request.content = chance.choice(OF_BYTES)(chance, request.content)[:300_000]
    request.send_by_length()


# The first lines mostly reach the service; the server mostly refuses the last ones.
STRUCTURAL: tuple[Structural, ...] = (
    *(
        odd_value,
        odd_value,
        odd_value,
        odd_header,
        odd_header,
        odd_header,
        twice,
        twice,
        left_out,
        odd_target,
        odd_target,
    ),
    *(changed_content, changed_content, changed_content, with_body, with_body, short_body, long_body),
    *(odd_trailer, one_byte_chunks, odd_chunks, odd_chunks, odd_length, odd_length, length_and_chunks, other_protocol),
    *(two_lengths, odd_coding, odd_method, odd_name, folded, spaced, many_headers, huge_header, odd_version, odd_lines),
)
