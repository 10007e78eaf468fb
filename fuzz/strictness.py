"""Why our reader refuses a request that h11 and llhttp both accept: all reasons. Each is stricter on purpose."""

import re
from collections.abc import Callable

from fuzz.judges import Message

Shows = Callable[[Message, bytes], bool]


def _found(pattern: bytes) -> Shows:
    compiled = re.compile(pattern)
    return lambda _, wire: compiled.search(wire) is not None


# Whether the request, as a judge reads it, or the bytes of the whole connection show the reason.
REASONS: dict[str, Shows] = {
    "a version other than 1.0 and 1.1": lambda message, _: message.version not in (b"1.0", b"1.1"),
    "a target that is no path": lambda message, _: not re.match(rb"/|\*\Z|https?://[^@/?]", message.target, re.I),
    "a fragment in the target": lambda message, _: b"#" in message.target,
    "a target of more than 16 KiB": lambda message, _: len(message.target) > 16 * 1024,
    "more than 100 fields": lambda message, _: len(message.fields) > 100,
    "a head of more than 64 KiB": lambda _, wire: len(wire) > 64 * 1024,
    "a coding in HTTP/1.0": lambda message, _: message.version == b"1.0" and bool(message.values(b"transfer-encoding")),
    "a length of more than 18 digits": lambda message, _: any(
        len(value.lstrip(b"0")) > 18 for value in message.values(b"content-length")
    ),
    "more than one empty line before the request": _found(rb"(?:\A|\r\n)\r\n\r\n"),
    "the size of a chunk with more than 15 digits": _found(rb"\r\n[0-9A-Fa-f]{16}"),
    "the line of a chunk of more than 1 KiB": _found(rb"\r\n[0-9A-Fa-f]+[ \t]*;[^\n]{1000}"),
    "trailers of more than 8 KiB": lambda _, wire: len(wire) > 8 * 1024,
}


def reason_of(message: Message, wire: bytes) -> str | None:
    """The first reason that shows; None if the request should have been accepted."""
    return next((reason for reason, shows in REASONS.items() if shows(message, wire)), None)
