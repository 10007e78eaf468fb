"""What the server itself says: refusals of heads, `100 Continue`, and the lines that every answer begins with.

Promises: a refusal is `application/problem+json` like every other error of the service (docs/errors.md), and closes the
connection. It has no `X-Request-Id`, and the log has no line about it: the application never saw the request.
"""

import json
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any

from file.logic import errors

# The statuses of errors in a head. `file/api/responses.py` has those of all other errors.
STATUSES: Mapping[type[errors.UploadError], HTTPStatus] = {
    errors.MalformedRequestError: HTTPStatus.BAD_REQUEST,
    errors.ClientTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
    errors.TargetTooLongError: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.HeadTooLargeError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.VersionRefusedError: HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def refusal(error: errors.RequestError) -> bytes:
    """The whole answer to a head that is refused."""
    return _problem(STATUSES[type(error)], error.code, error.detail, retryable=error.retryable)


def failure() -> bytes:
    """The whole answer when the application gave none."""
    detail = "The service failed because of a mistake in it."
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail, retryable=False)


@cache
def status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:  # a status without a name
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


@lru_cache(maxsize=2)
def date_line(second: int) -> bytes:
    """Made once per second: `second` is the time of the clock."""
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode()


def problem_members(status: HTTPStatus, code: str, detail: str, *, retryable: bool) -> dict[str, Any]:
    """What every problem has (RFC 9457). Retryable: the same request may succeed later."""
    return {
        "type": f"urn:mentum:problem:{code}",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        "retryable": retryable,
    }


def _problem(status: HTTPStatus, code: str, detail: str, *, retryable: bool) -> bytes:
    body = json.dumps(problem_members(status, code, detail, retryable=retryable)).encode() + b"\n"
    fields = b"content-type: application/problem+json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return status_line(status) + date_line(int(time.time())) + fields + body
