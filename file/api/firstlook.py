"""The first look at a request, at its head alone: is it HTTP as RFC 9112 wants it, and does it speak our API.

A client for S3 must be told in S3's own form that there is no S3 API here: it cannot read any other.
"""

from starlette.types import Scope

from file.logic.errors import MalformedRequestError, S3ApiMissingError

# What a host and a port are made of (RFC 3986, 3.2.2), an address in brackets included.
_OF_A_HOST = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+,;=:[]"
_SCHEMES = (b"AWS4-", b"AWS ")
_PARAMETERS = (b"x-amz-", b"awsaccesskeyid=")  # of an address that was signed before
_HEADER = b"x-amz-"
_OF_CLOUDFRONT = b"x-amz-cf-"


def look_at(scope: Scope) -> None:
    """Raises `MalformedRequestError` for a Host that is none, `S3ApiMissingError` for what is signed as for S3."""
    host = None
    is_signed = False
    for name, value in scope["headers"]:
        if name == b"host":
            if host is not None:
                raise MalformedRequestError("The request has more than one header Host.")
            host = value
        elif name == b"authorization":
            is_signed = value.upper().startswith(_SCHEMES)
    if not host and scope["http_version"] == "1.1":  # the server below adds an empty one where there is none
        raise MalformedRequestError("The request has no header Host.")
    if host and host.translate(None, _OF_A_HOST):
        raise MalformedRequestError("The header Host is not a host name or an address, with a port or without one.")
    if is_signed or (scope["query_string"] and _has_signed_query(scope["query_string"])):
        raise S3ApiMissingError


def seems_to_speak_s3(scope: Scope) -> bool:
    """Of a request without a signature, to a path that is not ours."""
    return any(name.startswith(_HEADER) and not name.startswith(_OF_CLOUDFRONT) for name, _ in scope["headers"])


def _has_signed_query(query: bytes) -> bool:
    return any(parameter.startswith(_PARAMETERS) for parameter in query.lower().split(b"&"))
