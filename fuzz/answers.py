"""Parses the bytes that a connection received into answers, and refuses bytes that are not HTTP.

Parses HTTP/1.1 strictly, as a client does that trusts no server. Skips interim answers (100).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9]) [ -~]*")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_EMPTY = (204, 304)
_BEFORE_THE_METHOD = (400, 408, 414, 431, 505)  # the server may send these before it knows that the method is HEAD


class NotHttpError(Exception):
    """The service sent bytes that are not an HTTP answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`is_whole`: no byte is missing."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    is_whole: bool

    @property
    def request_id(self) -> str | None:
        value = self.headers.get(b"x-request-id")
        return value.decode("latin-1") if value is not None else None


def read_answers(received: bytes, methods: Sequence[bytes] | None) -> list[Answer]:
    """All answers that have begun. If the methods are unknown, an answer has no body if the next bytes begin another
    answer. Raises `NotHttpError`.
    """
    answers: list[Answer] = []
    while received:
        head, found, rest = received.partition(b"\r\n\r\n")
        if not found:
            if not b"HTTP/1.".startswith(received[:7]):
                raise NotHttpError(f"an answer begins with {received[:60]!r}")
            break
        status, headers = _read_head(head)
        if status < 200:
            received = rest
            continue
        method = methods[len(answers)] if methods is not None and len(answers) < len(methods) else None
        body, rest, is_whole = _read_body(status, headers, rest, method)
        answers.append(Answer(status, headers, body, is_whole))
        received = rest
    return answers


def _read_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    line, *lines = head.split(b"\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise NotHttpError(f"the status line {line[:60]!r}")
    headers: dict[bytes, bytes] = {}
    for each in lines:
        field = _FIELD.fullmatch(each)
        if field is None:
            raise NotHttpError(f"the header {each[:60]!r}")
        name, value = field.groups()
        if headers.setdefault(name.lower(), value) != value:
            headers[name.lower()] += b", " + value
    return int(match[1]), headers


def _read_body(
    status: int, headers: dict[bytes, bytes], rest: bytes, method: bytes | None
) -> tuple[bytes, bytes, bool]:
    """The body, the bytes after it, and whether it is whole."""
    may_be_head = method is None or (method == b"HEAD" and status in _BEFORE_THE_METHOD)
    if status in _EMPTY or (method == b"HEAD" and not may_be_head):
        return b"", rest, True
    if may_be_head and (rest.startswith(b"HTTP/1.") or (method and not rest)):
        return b"", rest, True
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return _read_chunks(rest)
    if (told := headers.get(b"content-length")) is None:
        return rest, b"", True
    if not told.isdigit():
        raise NotHttpError(f"the Content-Length {told[:60]!r}")
    length = int(told)
    return rest[:length], rest[length:], len(rest) >= length


def _read_chunks(rest: bytes) -> tuple[bytes, bytes, bool]:
    body = bytearray()
    while True:
        line, found, rest = rest.partition(b"\r\n")
        if not found:
            return bytes(body), b"", False
        try:
            size = int(line, 16)
        except ValueError:
            raise NotHttpError(f"the size of a chunk {line[:60]!r}") from None
        if len(rest) < size + 2:
            return bytes(body) + rest[:size], b"", False
        body += rest[:size]
        rest = rest[size + 2 :]
        if not size:
            return bytes(body), rest, True
