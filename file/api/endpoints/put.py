"""PUT /files/{key}: the raw body is the file, the path is its key."""

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import Response

from file.api.endpoints.get import Records
from file.api.headers import contentheaders
from file.api.headers.digests import declared_digests
from file.api.headers.preconditions import stored_under_conditions
from file.api.requests import Request
from file.api.responses import receipt_response
from file.api.uploads import Uploads, idempotency_key
from file.logic.errors import MalformedRequestError
from file.logic.naming import name_of, new_file_id
from file.logic.values import Identity, IncomingFile

_METADATA = "x-amz-meta-"


async def put_file(request: Request, *, uploads: Uploads, records: Records) -> Response:
    key = request.key(longest_prefix_bytes=uploads.longest_prefix_bytes)
    if "content-range" in request.headers:
        raise MalformedRequestError("The header Content-Range is not supported: send the whole file.")
    content_type, content_headers = contentheaders.of_put(request.headers)
    identity = Identity(key, name_of(key), key_is_chosen=True)
    file = IncomingFile(
        id=new_file_id(),
        chunks=request.body.chunks(),
        read_into=request.body.read_into,
        identify=lambda: identity,
        size=request.body.declared,
        at_most=request.body.at_most,
        content_type=content_type,
        content_headers=content_headers,
        metadata=_metadata(request.headers),
        declared=declared_digests(request.headers.raw),
        who=request.principal.name,
        idempotency_key=idempotency_key(request.headers),
    )

    receipt = await stored_under_conditions(
        file, key, lambda arriving: uploads.take(arriving, request), request.headers, records.file
    )
    # The same file again, without the header that asks for the first answer: it is there already.
    again = HTTPStatus.CREATED if "idempotency-key" in request.headers else HTTPStatus.OK
    return receipt_response(receipt, repeated_status=again)


def _metadata(headers: Headers) -> dict[str, str]:
    """An entry that was sent more than once is one entry with all values, as in S3."""
    found: dict[str, list[str]] = {}
    for name, value in headers.items():
        if name.startswith(_METADATA):
            found.setdefault(name.removeprefix(_METADATA), []).append(value.strip())
    return {name: ",".join(values) for name, values in found.items()}
