"""The head of a request: request line and header fields, by a strict grammar (RFC 9112, RFC 9110).

One regular expression accepts a whole head, or nothing. It has only possessive repetitions, so that it takes linear
time. Refused are: a line that ends with a bare LF, a folded line, a space before a colon, a control character, another
version; a Host that is missing (HTTP/1.1) or repeated; a Content-Length that is repeated or no number, also when the
values are equal; a Transfer-Encoding that is not exactly `chunked`, or that stands beside a Content-Length or in a
request of HTTP/1.0. So the end of a request cannot be understood in two ways.

Leaves to others: the meaning of all other fields, and what may be in a Host (`file/api/requests.py`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from file.logic.errors import (
    HeadTooLargeError,
    MalformedRequestError,
    RequestError,
    TargetTooLongError,
    VersionRefusedError,
)

MAX_HEAD_BYTES = 64 * 1024
END = b"\r\n\r\n"
_MAX_TARGET_BYTES = 16 * 1024
_MAX_LINE_BYTES = _MAX_TARGET_BYTES + 64  # with a method and a version
_MAX_FIELDS = 100
_MAX_LENGTH_DIGITS = 19

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
FIELD = TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n"
# Visible ASCII, and UTF-8 that some clients do not percent-encode. Without `#`: a fragment is not sent.
_TARGET = rb"[!\"\x24-\x7e\x80-\xff]++"
_HEAD = re.compile(rb"(" + TOKEN + rb"{1,32}+) (" + _TARGET + rb") HTTP/1\.([01])\r\n((?:" + FIELD + rb")*+)\r\n")
_FIELD = re.compile(rb"([^:]++):([^\r]*+)\r\n")  # for fields that `_HEAD` has accepted
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([\w\-.~%!$&'()*+,;=:\[\]]++)((?:[/?].*+)?)")
# How every head begins: whoever speaks another protocol is refused at once.
_BEGIN = re.compile(TOKEN + rb"{1,32}+(?: |\Z)")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_OTHER_VERSION = re.compile(rb"[^ \r\n]++ [^ \r\n]++ HTTP/(?!1\.[01]\r)\d\.\d\r\n")
_OURS = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"))

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)  # a frozen one takes twice the time to make
class Head:
    """The names of `headers` are in lower case. `length` is that of the body; None if the body is chunked.

    `keeps_alive`: the connection may have another request. `expects_continue`: the client waits before its body.
    """

    method: str
    raw_path: bytes
    query_string: bytes
    version: str  # "1.0" or "1.1"
    headers: Headers
    length: int | None
    keeps_alive: bool
    expects_continue: bool


def read_head(data: bytes) -> Head:
    """The head in `data`, which ends with the first empty line. Raises `RequestError`."""
    found = _HEAD.fullmatch(data)
    if found is None:
        raise _fault(data)
    method, target, minor, lines = found.groups()
    headers = [(name.lower(), value.strip(b" \t")) for name, value in _FIELD.findall(lines)]
    if len(headers) > _MAX_FIELDS:
        raise HeadTooLargeError(f"The request has more than {_MAX_FIELDS} header fields.")
    if len(target) > _MAX_TARGET_BYTES:
        raise TargetTooLongError(f"The request target is longer than {_MAX_TARGET_BYTES} bytes.")
    told: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _OURS:
            told.setdefault(name, []).append(value)
    is_old = minor == b"0"
    hosts = told.get(b"host", ())
    if len(hosts) != 1 and (hosts or not is_old):
        raise MalformedRequestError("The request must have one header Host.")
    if method == b"CONNECT":  # a proxy may take the bytes behind it for a tunnel
        raise MalformedRequestError("The service is no proxy.")
    path, _, query = _origin_form(target, headers).partition(b"?")
    expectations = told.get(b"expect", ())
    return Head(
        method=str(method, "ascii"),
        raw_path=path,
        query_string=query,
        version="1.0" if is_old else "1.1",
        headers=headers,
        length=_length(told.get(b"content-length", ()), told.get(b"transfer-encoding", ()), is_old=is_old),
        keeps_alive=_keeps_alive(told.get(b"connection", ()), is_old=is_old),
        expects_continue=not is_old and [each.lower() for each in expectations] == [b"100-continue"],
    )


def check_begin(data: bytes, searched: int) -> None:
    """Refuses the begin of a head that can never become one. Its first `searched` bytes were checked before."""
    if len(data) > _MAX_LINE_BYTES and data.find(b"\n", 0, _MAX_LINE_BYTES) < 0:
        raise TargetTooLongError
    if len(data) > MAX_HEAD_BYTES:
        raise HeadTooLargeError(f"The head of the request is larger than {MAX_HEAD_BYTES} bytes.")
    if not _BEGIN.match(data) or _BARE_LF.search(data, searched):
        raise _fault(data)


def _length(lengths: Sequence[bytes], codings: Sequence[bytes], *, is_old: bool) -> int | None:
    if codings:
        if lengths or is_old or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise MalformedRequestError(
                "The header Transfer-Encoding must be chunked, once, in HTTP/1.1, and without Content-Length."
            )
        return None
    if not lengths:
        return 0
    digits = lengths[0].lstrip(b"0") or b"0"
    if len(lengths) > 1 or not lengths[0].isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
        raise MalformedRequestError("The header Content-Length must be one whole number.")
    return int(digits)


def _keeps_alive(options: Sequence[bytes], *, is_old: bool) -> bool:
    named = {each.strip(b" \t").lower() for option in options for each in option.split(b",")}
    return b"close" not in named and (not is_old or b"keep-alive" in named)


def _origin_form(target: bytes, headers: Headers) -> bytes:
    """The target as a path. Its host, if it has one, replaces the header Host (RFC 9112, 3.2.2)."""
    if target.startswith(b"/") or target == b"*":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise MalformedRequestError("The request target must be a path.")
    host, rest = absolute.groups()
    headers[:] = [(name, host if name == b"host" else value) for name, value in headers]
    return rest if rest.startswith(b"/") else b"/" + rest


def _fault(data: bytes) -> RequestError:
    if _OTHER_VERSION.match(data):
        return VersionRefusedError()
    return MalformedRequestError("These bytes are not the head of an HTTP/1.1 request.")
