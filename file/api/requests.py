"""What the service knows of one request while it answers it, and what the head of a request must be.

The middleware makes one `Request` per request. It is the one thing of ours in the ASGI scope, and the dispatch
(`app.py`) completes it before it calls the endpoint: the principal, and the parameters of the path.
A client for S3 must be told in S3's own form that there is no S3 API here: it cannot read another form.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import Headers
from starlette.types import Scope

from file.api.body import Body
from file.logic.errors import ExpectationRefusedError, KeyRefusedError, MalformedRequestError, S3ApiMissingError
from file.logic.naming import key_from_path

Right = Literal["upload", "read", "list", "erase", "metrics"]

_SCOPE_KEY = "mentum.request"
_FILES = b"/files/"
# What a host and a port are made of (RFC 3986, 3.2.2), an address in brackets included.
_HOST_CHARACTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;=:[]"
_S3_SCHEMES = (b"AWS4-", b"AWS ")
_S3_PARAMETERS = (b"x-amz-", b"awsaccesskeyid=")  # of a presigned address
_S3_HEADER = b"x-amz-"
_CLOUDFRONT_HEADER = b"x-amz-cf-"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sent a request: `name` is the name under which the operator gave out the token."""

    name: str


ANONYMOUS = Principal("")  # of a public route, and of every request before it is authorised


class Request:
    """One request, from its head to its log line.

    `line` has the members of the log line. `status` is that of the answer, 0 before the answer has begun.
    """

    def __init__(self, scope: Scope, request_id: str, body: Body) -> None:
        # No reference to the scope, which refers to this: a cycle would keep a connection until garbage is collected.
        self.id = request_id
        self.body = body
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.query_string: bytes = scope["query_string"]
        self.headers = Headers(scope=scope)
        self.path_params: Mapping[str, str] = {}
        self.principal = ANONYMOUS
        self.line: dict[str, Any] = {"method": self.method, "path": scope["path"][:1024]}
        self.status = 0
        scope[_SCOPE_KEY] = self

    def key(self, *, longest_prefix_bytes: int) -> str:
        """The key in the path `/files/{key}`.

        It is read from the path as it was sent: the decoded path does not tell `%2F` from `/`.
        Raises `KeyRefusedError`.
        """
        if not self.raw_path.startswith(_FILES):
            raise KeyRefusedError(f"The path is percent-encoded in an unusual way: send {self.method} /files/{{key}}.")
        if self.query_string:
            raise KeyRefusedError("The path has a query. Write a question mark that belongs to the key as %3F.")
        return key_from_path(self.raw_path.removeprefix(_FILES), longest_prefix_bytes=longest_prefix_bytes)


def request_of(scope: Scope) -> Request:
    """The request that the middleware made for this scope."""
    request: Request = scope[_SCOPE_KEY]
    return request


def check_head(scope: Scope) -> None:
    """Raises `MalformedRequestError` for a Host that RFC 9112 forbids, `ExpectationRefusedError`, and
    `S3ApiMissingError` for a signature of S3.
    """
    host = None
    is_signed = False
    for name, value in scope["headers"]:
        if name == b"host":
            if host is not None:
                raise MalformedRequestError("The request has more than one header Host.")
            host = value
        elif name == b"authorization":
            is_signed = value.upper().startswith(_S3_SCHEMES)
        elif name == b"expect" and value.lower() != b"100-continue" and scope["http_version"] == "1.1":
            raise ExpectationRefusedError
    if not host and scope["http_version"] == "1.1":
        raise MalformedRequestError("The request has no header Host.")
    if host and host.translate(None, _HOST_CHARACTERS):
        raise MalformedRequestError("The header Host is not a host name or an address, with or without a port.")
    if is_signed or (scope["query_string"] and _has_signed_query(scope["query_string"])):
        raise S3ApiMissingError


def seems_to_be_for_s3(scope: Scope) -> bool:
    """Whether a request without a signature, to a path that does not exist here, comes from a client for S3."""
    names = [name for name, _ in scope["headers"]]
    return any(name.startswith(_S3_HEADER) and not name.startswith(_CLOUDFRONT_HEADER) for name in names)


def _has_signed_query(query: bytes) -> bool:
    return any(parameter.startswith(_S3_PARAMETERS) for parameter in query.lower().split(b"&"))
