"""POST /upload: a form with a file in it, streamed.

Fields: `file`, and `filename`, which wins over the name in the field `file`. The field `filename` may follow the file
until the first byte is sent to the accounts; a later name that differs is an error.
Leaves to others: the headers of a field (`formfields.py`).
"""

import re
from collections.abc import AsyncIterator

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser
from starlette.datastructures import Headers
from starlette.responses import Response

from file.api.headers import contentheaders
from file.api.headers.digests import declared_digests, digests_of_part
from file.api.headers.formfields import ADVICE, Field, field_of, text_codec
from file.api.headers.parameters import read_parameters, unquoted
from file.api.headers.preconditions import check_change
from file.api.requests import Request
from file.api.responses import receipt_response
from file.api.uploads import Uploads, idempotency_key
from file.logic.errors import (
    DigestRefusedError,
    FileMissingError,
    FilenameMissingError,
    FilenameRefusedError,
    MalformedFormError,
    NotMultipartError,
)
from file.logic.hashing import Comparison, hashed
from file.logic.naming import check_name, key_for, new_file_id
from file.logic.values import Identity, IncomingFile

MAX_FIELDS = 100
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, 5.1.1
_MAX_NAME_FIELD_BYTES = 4096
_MAX_HEADERS = 16
_MAX_HEADER_BYTES = 8192


async def upload_form(request: Request, *, uploads: Uploads) -> Response:
    contentheaders.check_form(request.headers)
    boundary, charset = _boundary(request.headers)
    check_change(request.headers, None)  # the file's key is a new one
    form = _Form(request, boundary, charset)
    return receipt_response(await uploads.take(form.file, request))


def _boundary(headers: Headers) -> tuple[str, str]:
    """The boundary, and Python's name for the charset of the form's names.

    Raises `NotMultipartError`, `EncodingRefusedError`.
    """
    types = headers.getlist("content-type")
    if len(types) > 1:
        raise NotMultipartError("The request has more than one header Content-Type.")
    read = read_parameters(types[0], of_content_type=True) if types else ("", {})
    if read is None:
        raise NotMultipartError(f"The header Content-Type cannot be parsed: {ADVICE}")
    kind, parameters = read
    boundary = unquoted(parameters.get("boundary", ""))
    if kind != "multipart/form-data" or not boundary:
        raise NotMultipartError
    if not _BOUNDARY.fullmatch(boundary):
        raise NotMultipartError("The boundary in the header Content-Type is not one that RFC 2046 allows.")
    return boundary, text_codec(parameters, "the form") or "utf-8"


class _Form:
    """One form, read once, from its first field to its last."""

    def __init__(self, request: Request, boundary: str, charset: str) -> None:
        self._body = request.body
        self._who = request.principal.name
        self._idempotency_key = idempotency_key(request.headers)
        declared = declared_digests(request.headers.raw)
        self._whole = Comparison(declared) if declared else None  # of the bytes of the form as it was sent
        self._charset = charset
        self._parser = PushMultipartParser(
            boundary,
            max_segment_count=MAX_FIELDS,
            max_header_size=_MAX_HEADER_BYTES,
            max_header_count=_MAX_HEADERS,
            header_charset="latin-1",  # one letter per byte: each name is decoded by itself
        )
        self._events = self._parse()
        self._file: tuple[Field, MultipartSegment] | None = None
        self._name: str | None = None  # the field `filename`
        self._identity: Identity | None = None

    async def file(self) -> IncomingFile:
        """Read up to the beginning of the file. Raises `RequestError`."""
        self._file = await self._next_file()
        if self._file is None:
            raise FileMissingError
        field, segment = self._file
        content_type = contentheaders.content_type(field.content_type)
        return IncomingFile(
            id=new_file_id(),
            chunks=self._chunks(),
            identify=self._identify,
            at_most=self._body.at_most,
            content_type=content_type,
            content_headers=contentheaders.of_part(segment.headerlist, content_type),
            declared=digests_of_part(segment.headerlist),
            who=self._who,
            idempotency_key=self._idempotency_key,
        )

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The file's bytes; then the rest of the form, which may still name it."""
        async for event in self._events:
            if event is None:
                break
            assert isinstance(event, bytes)
            yield event
        if await self._next_file() is not None:
            raise MalformedFormError("The form has more than one field `file`.")

    async def _next_file(self) -> tuple[Field, MultipartSegment] | None:
        """Read the fields before the next field `file`; None at the end of the form."""
        async for event in self._events:
            if isinstance(event, MultipartSegment):
                field = field_of(event.headerlist, self._charset)
                if field.name == "file":
                    return field, event
                await self._field(field, event)
        return None

    async def _field(self, field: Field, segment: MultipartSegment) -> None:
        if digests_of_part(segment.headerlist):
            raise DigestRefusedError("Only the form as a whole and its field `file` may have a digest, no other field.")
        names_the_file = field.name == "filename"
        charset = field.value_charset if names_the_file else ""
        value = bytearray()
        async for event in self._events:
            if event is None:
                break
            if names_the_file:
                assert isinstance(event, bytes)
                value += event
                if len(value) > _MAX_NAME_FIELD_BYTES:
                    raise FilenameRefusedError(f"The field `filename` is longer than {_MAX_NAME_FIELD_BYTES} bytes.")
        if names_the_file:
            self._take_name(bytes(value), charset)

    def _take_name(self, value: bytes, charset: str) -> None:
        try:
            name = check_name(value.decode(charset))
        except UnicodeDecodeError:
            raise FilenameRefusedError(
                f"The field `filename` is not {'UTF-8' if charset == 'utf-8' else 'in the charset that it declares'}."
            ) from None
        if self._name is not None and name != self._name:
            raise FilenameRefusedError("The form has two fields `filename` with different names.")
        if self._identity is not None and name != self._identity.name:
            raise FilenameRefusedError(
                "The field `filename` arrived too late: the file is being stored under another name already. Send "
                "`filename` before `file`."
            )
        self._name = name

    def _identify(self) -> Identity:
        assert self._file is not None
        field, segment = self._file
        if field.has_empty_filename and segment.complete and not segment.bytes_received:
            raise FileMissingError("The field `file` has no bytes and no name: no file was chosen.")
        name = self._name
        if name is None:
            sent = field.filename()
            if not sent:
                raise FilenameMissingError
            name = check_name(sent, of="The name in the field `file`")
        self._identity = Identity(key_for(name), name)
        return self._identity

    async def _parse(self) -> AsyncIterator[MultipartSegment | bytes | None]:
        try:
            async for chunk in self._body.chunks():
                if self._whole is not None:
                    await hashed(self._whole.update, chunk)
                for event in self._parser.parse(chunk):
                    yield bytes(event) if isinstance(event, bytearray) else event
            self._parser.close()
            if self._whole is not None:
                self._whole.check(
                    of="The bytes of the form (the digest of the file goes into the headers of the field `file`)"
                )
        except ParserLimitReached:
            raise MalformedFormError(
                f"The form has more than {MAX_FIELDS} fields, or a field has more than {_MAX_HEADERS} headers or a "
                f"header (the file's name is in one) of more than {_MAX_HEADER_BYTES} bytes."
            ) from None
        except MultipartError:
            raise MalformedFormError from None
