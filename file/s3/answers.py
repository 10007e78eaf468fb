"""What S3 answers, made into values. Pure: bytes in, values out.

XML is read without document types, so there are no entities to expand or to fetch, and only up to a size. A listing or
a result that cannot be read raises `UnreadableAnswerError`, for an empty list would be a lie; an error body that
cannot be read (a proxy's page, none at all) has no code, and the status has to do. Stores differ in namespaces and in
the root element's name: an answer is known by its root, or by elements that no other answer has.
Leaves to others: sending, and what a code means (`refusals`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from file.logic.values import KiB, MiB

_MAX_ERROR_BYTES = 64 * KiB
_ENDINGS = ("Result", "Output", "Response")
_HEADERS = {  # an account's key -> the headers that are sent because of it
    "checksums": (b"x-amz-checksum-", b"x-amz-sdk-checksum-", b"crc64nvme"),
    "conditional_writes": (b"if-none-match", b"if-match"),
}
_MAX_ANSWER_BYTES = 8 * MiB  # a page of 1,000 entries with the longest keys, percent-encoded, has about 4 MiB


class UnreadableAnswerError(ValueError):
    """A 2xx answer that is not what S3 sends. `account_error(account, operation, 200, None)` says so to people."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What an error body said. Foreign text: only `account_error` decides what of it may be shown."""

    code: str | None = None
    region: str | None = None
    lacks: str | None = None  # the body names a header: the account's key that switches that header off


@dataclass(frozen=True, slots=True)
class Completed:
    """CompleteMultipartUpload's answer. With a `code` it failed, whatever the status said."""

    code: str | None = None
    etag: str | None = None
    checksum: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    key: str
    version_id: str | None
    is_latest: bool = False
    etag: str | None = None
    last_modified: datetime | None = None
    is_delete_marker: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenUpload:
    key: str
    upload_id: str
    initiated: datetime | None = None


@dataclass(frozen=True, slots=True)
class VersionPage:
    """In S3's order. `next_markers` are the query's pairs for the next page; empty on the last."""

    versions: tuple[Version, ...]
    next_markers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class UploadPage:
    """In S3's order. `next_markers` are the query's pairs for the next page; empty on the last."""

    uploads: tuple[OpenUpload, ...]
    next_markers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """Whole keys, in the store's order. `next_markers` are the query's pairs for the next page; empty on the last."""

    keys: tuple[str, ...]
    next_markers: tuple[tuple[str, str], ...]


def parse_error(body: bytes) -> ErrorAnswer:
    """What an error body says; nothing if it is no error body of S3's. Never raises."""
    try:
        root = _read(body, _MAX_ERROR_BYTES)
    except UnreadableAnswerError:
        return ErrorAnswer()
    error = _error_in(root)
    if error is None:
        return ErrorAnswer()
    lowered = body.lower()
    lacks = [key for key, headers in _HEADERS.items() if any(header in lowered for header in headers)]
    return ErrorAnswer(_text(error, "Code"), _text(error, "Region"), lacks[0] if len(lacks) == 1 else None)


def upload_id(body: bytes) -> str:
    """The id that CreateMultipartUpload gave. Raises UnreadableAnswerError."""
    root = _read(body, _MAX_ANSWER_BYTES)
    # Whatever the root is called, nothing else has this element; some stores wrap the result once more.
    if _error_in(root) is None and (found := root.findtext(".//{*}UploadId")):
        return found
    raise UnreadableAnswerError("the answer has no UploadId")


def complete_request(parts: Sequence[tuple[int, str, str | None]]) -> bytes:
    """The body of CompleteMultipartUpload, from number, ETag and CRC64NVME of each part; S3 wants them in order."""
    lines = []
    for number, etag, checksum in sorted(parts, key=lambda part: part[0]):
        check = "" if checksum is None else f"<ChecksumCRC64NVME>{escape(checksum)}</ChecksumCRC64NVME>"
        lines.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>{check}</Part>")
    return (
        '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{''.join(lines)}</CompleteMultipartUpload>"
    ).encode()


def complete_answer(body: bytes) -> Completed:
    """CompleteMultipartUpload's answer to a 200, which may be an error. Raises UnreadableAnswerError."""
    root = _read(body, _MAX_ANSWER_BYTES)
    if (error := _error_in(root)) is not None:
        return Completed(code=_needed(error, "Code"))
    _know(root, ("CompleteMultipartUpload",), ("ETag",))
    return Completed(etag=_text(root, "ETag"), checksum=_text(root, "ChecksumCRC64NVME"))


def versions(body: bytes) -> VersionPage:
    """A page of ListObjectVersions: versions and delete markers. Raises UnreadableAnswerError."""
    root = _read(body, _MAX_ANSWER_BYTES)
    _know(root, ("ListVersions", "ListObjectVersions"), ("Version", "DeleteMarker", "VersionIdMarker"))
    decoded = _decoder(root)
    found = tuple(
        Version(
            key=decoded(_needed(entry, "Key")),
            version_id=_text(entry, "VersionId"),
            is_latest=_text(entry, "IsLatest") == "true",
            etag=_text(entry, "ETag"),
            last_modified=_moment(entry, "LastModified"),
            is_delete_marker=_name(entry) == "DeleteMarker",
        )
        for entry in root
        if _name(entry) in ("Version", "DeleteMarker")
    )
    return VersionPage(
        found,
        _next_markers(root, found[-1].key if found else None, decoded, "NextVersionIdMarker", "version-id-marker"),
    )


def uploads(body: bytes) -> UploadPage:
    """A page of ListMultipartUploads. Raises UnreadableAnswerError."""
    root = _read(body, _MAX_ANSWER_BYTES)
    _know(root, ("ListMultipartUploads",), ("Upload", "UploadIdMarker"))
    decoded = _decoder(root)
    found = tuple(
        OpenUpload(
            key=decoded(_needed(entry, "Key")),
            upload_id=_needed(entry, "UploadId"),
            initiated=_moment(entry, "Initiated"),
        )
        for entry in root.iterfind("{*}Upload")
    )
    return UploadPage(
        found, _next_markers(root, found[-1].key if found else None, decoded, "NextUploadIdMarker", "upload-id-marker")
    )


def objects(body: bytes) -> ObjectPage:
    """A page of ListObjectsV2. Raises UnreadableAnswerError."""
    root = _read(body, _MAX_ANSWER_BYTES)
    _know(root, ("ListBucket", "ListObjects", "ListObjectsV2"), ("Contents", "KeyCount"))
    decoded = _decoder(root)
    found = tuple(decoded(_needed(entry, "Key")) for entry in root.iterfind("{*}Contents"))
    if _text(root, "IsTruncated") != "true":
        return ObjectPage(found, ())
    return ObjectPage(found, (("continuation-token", _needed(root, "NextContinuationToken")),))


def _next_markers(
    root: ElementTree.Element, last_key: str | None, decoded: Callable[[str], str], second: str, parameter: str
) -> tuple[tuple[str, str], ...]:
    if _text(root, "IsTruncated") != "true":
        return ()
    # Without a marker the rest could not be asked for, and taking this page for all would lose it.
    key, value = _text(root, "NextKeyMarker"), _text(root, second)
    if key is not None:
        key = decoded(key)
    elif value is not None and last_key is not None:
        key = last_key  # what it always is; a store leaves it out
    else:
        raise UnreadableAnswerError("the answer has no NextKeyMarker")
    return (("key-marker", key),) if value is None else (("key-marker", key), (parameter, value))


def _read(body: bytes, limit: int) -> ElementTree.Element:
    if len(body) > limit:
        raise UnreadableAnswerError("the answer is too large")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableAnswerError("the answer is not UTF-8") from None
    # Any document type is refused: what it declares could be expanded without end. Nor can it hide in another
    # encoding: a declared one does not count for text, and UTF-16, which expat finds out by itself, has NULs.
    if "<!DOCTYPE" in text or "\x00" in text:
        raise UnreadableAnswerError("the answer has a document type, or is no text")
    try:
        # While a long request runs, S3 sends white space to keep the connection open.
        root = ElementTree.fromstring(text.strip())  # noqa: S314 - without document types there is nothing to attack
    except ElementTree.ParseError:
        raise UnreadableAnswerError("the answer is not well-formed XML") from None
    return root


def _error_in(root: ElementTree.Element) -> ElementTree.Element | None:
    """The error, where the answer is one. Some stores wrap it as AWS's older interfaces do."""
    if _name(root) == "Error":
        return root
    return root.find("{*}Error") if _name(root) == "ErrorResponse" else None


def _know(root: ElementTree.Element, names: Sequence[str], signs: Sequence[str]) -> None:
    """Raises UnreadableAnswerError for another answer than that of these `names`, which stores end in several ways.

    Under any other name it needs one of the `signs`, the elements that only this answer has: a store that does not
    know the question answers another one, in which nothing would be found.
    """
    name = _name(root)
    if any(name == known + ending for known in names for ending in _ENDINGS):
        return
    if name not in ("Error", "ErrorResponse") and any(root.find(f"{{*}}{sign}") is not None for sign in signs):
        return
    raise UnreadableAnswerError(f"the answer is not {names[0]}Result")


def _name(element: ElementTree.Element) -> str:
    """Without the namespace: stores differ in it."""
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str | None:
    """A child's text; None if there is none, or an empty one."""
    return element.findtext(f"{{*}}{name}") or None


def _needed(element: ElementTree.Element, name: str) -> str:
    text = _text(element, name)
    if text is None:
        raise UnreadableAnswerError(f"the answer has no {name}")
    return text


def _moment(element: ElementTree.Element, name: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(element, name) or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _decoder(root: ElementTree.Element) -> Callable[[str], str]:
    """Keys are encoded only where the answer says so: a store may not know `encoding-type=url`."""
    return unquote_plus if (_text(root, "EncodingType") or "").lower() == "url" else str
