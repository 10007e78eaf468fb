"""Headers that say what the bytes of a file mean: kept with the file, or refused by name; never ignored.

Kept are Content-Type and `CONTENT_HEADERS`, as in S3. Nothing is decoded: the stored bytes have the Content-Encoding
that was sent. Refused are S3's headers that this service does not implement, and transfer codings (`aws-chunked`),
whose frames would be stored inside the file.
Leaves to others: digests and checksums (`digests.py`), metadata (`put.py`), the form's fields (`form.py`).
"""

import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

from starlette.datastructures import Headers

from file.logic.errors import EncodingRefusedError, HeaderRefusedError, MalformedRequestError
from file.logic.values import CONTENT_HEADERS, MAX_CONTENT_HEADERS_BYTES

DEFAULT_CONTENT_TYPE = "application/octet-stream"
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}(?:[ -~]{0,255})")
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_WORDS = re.compile(rf"{_WORD}(?:, {_WORD})*")
_DISPOSITION = re.compile(rf"{_WORD}[ \t]*(?:;.*)?")

_KEPT = frozenset(name.encode() for name in ("content-type", *CONTENT_HEADERS))
_LISTS = ("content-encoding", "content-language", "cache-control")  # several lines are one list (RFC 9110, 5.3)
_OF_A_PART = ("content-encoding", "content-language")  # of a form's file: the other headers belong to the form

_S3 = b"x-amz-"
_METADATA = b"x-amz-meta-"
_CHECKSUM = b"x-amz-checksum-"
# Without a signature of S3 these say nothing about the file. CloudFront and S3 itself add the last three.
_HARMLESS = frozenset(
    b"x-amz-" + name
    for name in (
        *(b"content-sha256", b"date", b"security-token", b"user-agent", b"sdk-checksum-algorithm"),
        *(b"cf-id", b"request-id", b"id-2"),
    )
)
_PLAIN = "Send the plain body, without the chunked signing of an S3 SDK: its frames would be stored inside the file."
_FRAMED = frozenset((b"x-amz-decoded-content-length", b"x-amz-trailer"))
# The beginning of a name, and why the header is refused.
_WHY_REFUSED = {
    b"x-amz-copy-source": "this service does not copy objects: send the bytes of the file",
    b"x-amz-acl": "this service does not set access rights: the owner of each account does",
    b"x-amz-grant-": "this service does not set access rights: the owner of each account does",
    b"x-amz-server-side-encryption": "the operator sets the encryption per account",
    b"x-amz-storage-class": "the operator sets the storage class per account",
    b"x-amz-tagging": "this service does not store tags: PUT /files/{key} stores x-amz-meta-*",
    b"x-amz-object-lock-": "this service does not lock objects: the owner of each account does",
    b"x-amz-website-redirect-location": "this service does not redirect",
}


def content_type(value: str | None) -> str:
    """The type that is stored with the object. Raises `HeaderRefusedError` if the value is no media type."""
    if not value:
        return DEFAULT_CONTENT_TYPE
    if not _CONTENT_TYPE.fullmatch(value):
        raise HeaderRefusedError(
            "The header Content-Type must be a type, a slash and a subtype in printable ASCII, each of at most 127 "
            "bytes, with at most 255 bytes of parameters."
        )
    return value


def of_put(headers: Headers) -> tuple[str, dict[str, str]]:
    """The type and the content headers to keep. Raises `HeaderRefusedError`, `EncodingRefusedError`."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers.raw:
        if name in _KEPT:
            found.setdefault(name, []).append(value)
        elif name.startswith(_S3):
            _check_of_s3(name, value)
        elif name == b"content-transfer-encoding":
            check_transfer_encoding(value.decode("latin-1"))
    lines = {name.decode(): [value.decode("latin-1") for value in values] for name, values in found.items()}
    kind = content_type(_only("content-type", lines.pop("content-type", ())))
    return kind, _kept(lines, kind) if lines else {}


def check_form(headers: Headers) -> None:
    """Of the request that carries a form. Raises `HeaderRefusedError`, `EncodingRefusedError`."""
    for name, value in headers.raw:
        if name.startswith(_S3):
            if name.startswith(_METADATA):
                raise HeaderRefusedError(f"POST /upload does not store {_shown(name)}: use PUT /files/{{key}}.")
            _check_of_s3(name, value)
        elif name == b"content-encoding" and value.strip():
            raise EncodingRefusedError(
                "A form as a whole must not have a Content-Encoding. Send the form unencoded; if the file is encoded, "
                "send Content-Encoding in the headers of the field `file`."
            )
        elif name == b"content-transfer-encoding":
            check_transfer_encoding(value.decode("latin-1"))
        elif name == b"content-range":
            raise MalformedRequestError("The header Content-Range is not supported: send the whole file.")


def of_part(headers: Iterable[tuple[str, str]], kind: str) -> dict[str, str]:
    """Of the form's file, of type `kind`. Raises `HeaderRefusedError`, `EncodingRefusedError`."""
    lines: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower() in _OF_A_PART:
            lines.setdefault(name.lower(), []).append(value)
    return _kept(lines, kind) if lines else {}


def _kept(lines: dict[str, list[str]], kind: str) -> dict[str, str]:
    kept = {}
    for name in CONTENT_HEADERS:
        if value := _only(name, lines.get(name, ())):
            _check(name, value)
            kept[name] = value
    sizes = {name: len(name) + len(value) for name, value in kept.items()}
    if len("content-type") + len(kind) + sum(sizes.values()) > MAX_CONTENT_HEADERS_BYTES:
        longest = max(sizes, key=lambda name: sizes[name])
        raise HeaderRefusedError(
            f"The header {longest.title()} is too long: Content-Type, {', '.join(map(str.title, CONTENT_HEADERS))} may "
            f"have {MAX_CONTENT_HEADERS_BYTES} bytes in all, names and values together."
        )
    return kept


def _only(name: str, values: Iterable[str]) -> str:
    """All lines of a header as one value; empty if the header was not sent."""
    found = [value.strip() for value in values if value.strip()]
    if name in ("content-encoding", "content-language"):
        found = [each.strip() for value in found for each in value.split(",") if each.strip()]
    if len(found) > 1 and name not in _LISTS:
        raise HeaderRefusedError(f"The header {name.title()} was sent more than once.")
    return ", ".join(found)


def _check(name: str, value: str) -> None:
    if not value.isascii() or not value.isprintable():
        how = "; send the name as filename* (RFC 8187)" if name == "content-disposition" else ""
        raise HeaderRefusedError(f"The header {name.title()} must be printable ASCII{how}.")
    if name == "content-encoding" and "aws-chunked" in value.lower().split(", "):
        raise EncodingRefusedError(f"The header Content-Encoding has the value aws-chunked. {_PLAIN}")
    if name in ("content-encoding", "content-language") and not _WORDS.fullmatch(value):
        raise HeaderRefusedError(f"The header {name.title()} must be a list of words, separated by commas.")
    if name == "content-disposition" and not _DISPOSITION.fullmatch(value):
        raise HeaderRefusedError(
            "The header Content-Disposition must begin with attachment or inline, and a semicolon before parameters."
        )
    if name == "expires" and not _is_date(value):
        raise HeaderRefusedError("The header Expires must be a date of the form `Fri, 02 Jan 2026 03:04:05 GMT`.")


def _check_of_s3(name: bytes, value: bytes) -> None:
    if name.startswith((_METADATA, _CHECKSUM)):
        return  # checked elsewhere
    if name in _FRAMED or (name == b"x-amz-content-sha256" and value.strip().upper().startswith(b"STREAMING-")):
        raise EncodingRefusedError(f"The header {_shown(name)} says that the body is in signed chunks. {_PLAIN}")
    if name in _HARMLESS:
        return
    why = next((why for begin, why in _WHY_REFUSED.items() if name.startswith(begin)), "this service does not know it")
    raise HeaderRefusedError(f"The header {_shown(name)} is not accepted: {why}. Do not send this header.")


def check_transfer_encoding(value: str) -> None:
    """A header of mail: the encoded bytes would be stored. Raises `EncodingRefusedError`."""
    if value.strip().lower() not in ("7bit", "8bit", "binary"):
        raise EncodingRefusedError(
            "The header Content-Transfer-Encoding must be binary, 8bit or 7bit: send the bytes of the file."
        )


def _is_date(value: str) -> bool:
    try:
        parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return False
    return True


def _shown(name: bytes) -> str:
    return name[:64].decode("latin-1")
