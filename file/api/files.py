"""PUT /files/{key}: the raw body is the file, the path is its key."""

import base64
import binascii
import re
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from file.api import contentheaders
from file.api.body import Body
from file.api.paths import key_of
from file.api.responses import receipt_response
from file.api.uploads import Uploads, idempotency_key
from file.logic.errors import DigestRefusedError, MalformedRequestError
from file.logic.naming import name_of, new_file_id
from file.logic.values import Identity, IncomingFile

_METADATA = "x-amz-meta-"
# A member of a dictionary of structured fields (RFC 9651), as RFC 9530 uses it.
_SHA256 = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]*):\s*(?=,|$)", re.IGNORECASE)


async def put_file(request: Request) -> Response:
    """The endpoint of `PUT /files/{key}`."""
    uploads: Uploads = request.app.uploads
    request.scope["mentum.line"]["who"] = who = uploads.access.name_of(request)
    body: Body = request.scope["mentum.body"]
    key = key_of(request, longest_prefix_bytes=uploads.longest_prefix_bytes)
    if "content-range" in request.headers:
        raise MalformedRequestError("The header Content-Range has no meaning here (RFC 9110, 14.5).")
    content_type, content_headers = contentheaders.of_put(request.headers)
    identity = Identity(key, name_of(key), key_is_chosen=True)
    file = IncomingFile(
        id=new_file_id(),
        chunks=body.chunks(),
        identify=lambda: identity,
        size=body.declared,
        at_most=body.at_most,
        content_type=content_type,
        content_headers=content_headers,
        metadata=_metadata(request.headers),
        sha256=_declared_sha256(request.headers),
        who=who,
        idempotency_key=idempotency_key(request.headers),
    )

    async def arrived() -> IncomingFile:
        return file

    receipt = await uploads.take(arrived, request)
    # The same file again, without a header that asks for the first answer: it is there already.
    again = HTTPStatus.CREATED if "idempotency-key" in request.headers else HTTPStatus.OK
    return receipt_response(receipt, repeated_status=again)


def _metadata(headers: Headers) -> dict[str, str]:
    """An entry that is sent more than once is one with all its values, as in S3."""
    found: dict[str, list[str]] = {}
    for name, value in headers.items():
        if name.startswith(_METADATA):
            found.setdefault(name.removeprefix(_METADATA), []).append(value.strip())
    return {name: ",".join(values) for name, values in found.items()}


def _declared_sha256(headers: Headers) -> bytes | None:
    """From Content-Digest or Repr-Digest; the two are the same here, since no content coding is undone."""
    declared = set()
    for name in ("content-digest", "repr-digest"):
        value = ", ".join(headers.getlist(name))
        if "sha-256" not in value.lower():
            continue  # another algorithm: RFC 9530 lets us ignore it
        match = _SHA256.search(value)
        try:
            digest = base64.b64decode(match[1], validate=True) if match else b""
        except binascii.Error:
            digest = b""
        if len(digest) != 32:
            raise DigestRefusedError
        declared.add(digest)
    if len(declared) > 1:
        raise DigestRefusedError("Content-Digest and Repr-Digest declare different SHA-256.")
    return declared.pop() if declared else None
