"""Where our reader and the judges differ on purpose: all reasons.

It is stricter: `REASONS`. It is more lenient in a few points that do not change where a request ends: `LENIENCIES`. The
bytes of these are replaced before the judges read them, so that everything else is compared.
"""

import re
from collections.abc import Callable

from fuzz.judges import Message

Shows = Callable[[Message, bytes], bool]
# A path, an asterisk, or an absolute target without a user.
_PLACE = re.compile(rb"/|\*\Z|https?://[^@/?]+(?:[/?]|\Z)", re.IGNORECASE)
# The size of a chunk with its extensions; of the last chunk with the trailers.
_BETWEEN_CHUNKS = re.compile(rb"\r\n(?:0+(?:;[^\r\n]*)?\r\n(?:[^\r\n]+\r\n)+|[0-9A-Fa-f]+;[^\r\n]*)")

_MUCH_SPACE = b" " * 1_000  # around a value, of which a judge says nothing


def _head_size(message: Message) -> int:
    return len(message.target) + sum(len(name) + len(value) + 4 for name, value in message.fields)


def _found(pattern: bytes) -> Shows:
    compiled = re.compile(pattern)
    return lambda _, wire: compiled.search(wire) is not None


# Whether the request, as a judge reads it, or the bytes of the whole connection show the reason.
REASONS: dict[str, Shows] = {
    "a version other than 1.0 and 1.1": lambda message, _: message.version not in (b"1.0", b"1.1"),
    "the method CONNECT": lambda message, _: message.method == b"CONNECT",
    "a target that is no path": lambda message, _: not _PLACE.match(message.target),
    "a fragment in the target": lambda message, _: b"#" in message.target,
    "a target of more than 16 KiB": lambda message, _: len(message.target) > 16 * 1024,
    "more than 100 fields": lambda message, _: len(message.fields) > 100,
    "a head of more than 64 KiB": lambda message, wire: _head_size(message) > 40_000 or _MUCH_SPACE in wire,
    "a coding in HTTP/1.0": lambda message, _: message.version == b"1.0" and bool(message.values(b"transfer-encoding")),
    "a length of more than 19 digits": lambda message, _: any(
        len(value.lstrip(b"0")) > 19 for value in message.values(b"content-length")
    ),
    "an extension of a chunk with = and no value": _found(rb"\r\n[0-9A-Fa-f]+;[^\r\n]*=[;\r]"),
    "the size of a chunk with more than 15 digits": _found(rb"\r\n[0-9A-Fa-f]{16}"),
    "a line between chunks, or of a trailer, of more than 1 KiB": lambda _, wire: any(
        len(line) > 1_000 for lines in _BETWEEN_CHUNKS.findall(wire) for line in lines.split(b"\n")
    ),
    "trailers of more than 8 KiB": lambda _, wire: any(len(lines) > 8_000 for lines in _BETWEEN_CHUNKS.findall(wire)),
}


def reason_of(message: Message, wire: bytes) -> str | None:
    """The first reason that shows; None if the request should have been accepted."""
    return next((reason for reason, shows in REASONS.items() if shows(message, wire)), None)


# Of each length a method that llhttp knows: a method of the same length moves no other byte.
_METHODS = (b"PUT", b"POST", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"PROPPATCH", b"MKCALENDAR")
_KNOWN = frozenset((*_METHODS, b"GET", b"HEAD", b"TRACE"))
_BY_LENGTH = {len(method): method for method in _METHODS}
_UTF_8 = re.compile(rb"[\x80-\xff]+")
_UPGRADE = re.compile(rb"upgrade:", re.IGNORECASE)
_SPACE = re.compile(rb"chunked[ \t]+(?=\r\n)", re.IGNORECASE)
_H11_DIGITS = 20


def _with_known_method(message: Message, wire: bytes) -> bytes:
    known = _BY_LENGTH.get(len(message.method))
    if known is None or message.method in _KNOWN:
        return wire
    return re.sub(rb"(?<![^\s])" + re.escape(message.method) + rb"(?= )", known, wire)


def _without_upgrade(message: Message, wire: bytes) -> bytes:
    return _UPGRADE.sub(b"x-grade:", wire) if message.values(b"upgrade") else wire


def _without_space(message: Message, wire: bytes) -> bytes:
    return _SPACE.sub(b"chunked", wire) if message.values(b"transfer-encoding") else wire


def _with_ascii_target(message: Message, wire: bytes) -> bytes:
    for found in _UTF_8.findall(message.target):
        wire = wire.replace(found, b"a" * len(found))
    return wire


def _without_zeros(message: Message, wire: bytes) -> bytes:
    for length in message.values(b"content-length"):
        if len(length) > _H11_DIGITS:
            wire = wire.replace(length, length.lstrip(b"0") or b"0")
    return wire


# What our reader accepts and a judge does not, and what is replaced by what in the bytes.
LENIENCIES: dict[str, Callable[[Message, bytes], bytes]] = {
    "a method that llhttp does not know": _with_known_method,
    "an upgrade, which is ignored": _without_upgrade,  # httptools reads no body then
    "space behind a coding": _without_space,  # llhttp refuses a tab
    "UTF-8 in a target, as curl sends it": _with_ascii_target,  # both judges refuse it
    "more than 20 digits of a length, with zeros": _without_zeros,  # h11 refuses it
}


def can_be_judged(message: Message) -> bool:
    """Not if its method could not be replaced."""
    return message.method in _KNOWN
