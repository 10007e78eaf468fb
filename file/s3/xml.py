"""Parses the answers of S3. Pure: bytes in, values out.

XML with a document type is refused, so that there are no entities to expand or to fetch. The size, the number of tags,
and the form and length of every value (`fields.py`) are limited. A listing or a result that cannot be parsed raises
`UnreadableAnswerError`, because an empty list would be wrong. An error body that cannot be parsed (a proxy's page, or
none) has no code; then only the status counts. Stores use different namespaces and root elements: an answer is
recognised by its root, or by elements that only this answer has.
Leaves to others: sending, and what a code means (`errors.py`).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from urllib.parse import unquote_plus
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from file.logic.errors import UploadError
from file.logic.values import KiB, MiB
from file.s3 import fields

MAX_ANSWER_BYTES = 64 * KiB  # of everything but a listing
# A page of 1,000 entries with the longest keys has about 4 MiB percent-encoded, and 7 MiB of `&quot;`.
MAX_LISTING_BYTES = 8 * MiB
_MAX_ENTRIES = 5000  # a page; S3 sends 1,000
_MAX_TAGS, _MAX_LISTING_TAGS = 1000, 64 * KiB  # an entry of S3's has 28 at most
_PIECE_BYTES = 64 * KiB
# A tag, or a text: expat looks at one from its beginning again and again as it comes in pieces.
_TOO_LONG_WITHOUT_A_TAG = re.compile(rb"<[^<]{%d}" % (16 * KiB))
Markers = tuple[tuple[str, str], ...]
_ENDINGS = ("Result", "Output", "Response")
_HEADERS = {  # an account's key -> the headers that are sent because of it
    "checksums": (b"x-amz-checksum-", b"x-amz-sdk-checksum-", b"crc64nvme"),
    "conditional_writes": (b"if-none-match", b"if-match"),
}


class UnreadableAnswerError(UploadError):
    """A 2xx answer is not what S3 sends. `client.py` raises an `AccountError` from it."""


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The content of an error body. Foreign text: only `account_error` decides what may be shown."""

    code: str | None = None
    region: str | None = None
    lacks: str | None = None  # the body names a header: the account's key that switches that header off


@dataclass(frozen=True, slots=True)
class Completed:
    """The answer to CompleteMultipartUpload. With a `code` it failed, for every status."""

    code: str | None = None
    etag: str | None = None
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class Version:
    key: str
    version_id: str | None
    is_delete_marker: bool

    @property
    def texts(self) -> tuple[str, ...]:
        return self.key, self.version_id or ""


@dataclass(frozen=True, slots=True)
class OpenUpload:
    key: str
    upload_id: str
    initiated: datetime | None

    @property
    def texts(self) -> tuple[str, ...]:
        return self.key, self.upload_id


Entry = TypeVar("Entry", bound=Version | OpenUpload | str)


@dataclass(frozen=True, slots=True)
class Page(Generic[Entry]):
    """A page of a listing, in the store's order. `next_markers`: the query of the next page; empty on the last."""

    entries: tuple[Entry, ...]
    next_markers: Markers

    @property
    def texts(self) -> Iterator[str]:
        """All values that the account sent."""
        for entry in self.entries:
            yield from (entry,) if isinstance(entry, str) else entry.texts


def parse_error(body: bytes) -> ErrorAnswer:
    """The content of an error body; empty if it is not one of S3. Never raises."""
    try:
        root = _read(body)
    except UnreadableAnswerError:
        return ErrorAnswer()
    error = _error_in(root)
    if error is None:
        return ErrorAnswer()
    lowered = body.lower()
    lacks = [key for key, headers in _HEADERS.items() if any(header in lowered for header in headers)]
    return ErrorAnswer(_text(error, "Code"), _text(error, "Region"), lacks[0] if len(lacks) == 1 else None)


def upload_id(body: bytes) -> str:
    """The id of the new upload. Raises UnreadableAnswerError."""
    root = _read(body)
    # Whatever the root is called, nothing else has this element; some stores wrap the result once more.
    if _error_in(root) is None and (found := root.findtext(".//{*}UploadId")):
        return _fitting(found, fields.UPLOAD_ID, "UploadId")
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
    """The body of a 200, which may contain an error. Raises UnreadableAnswerError."""
    root = _read(body)
    if (error := _error_in(root)) is not None:
        return Completed(code=_needed(error, "Code"))
    _know(root, ("CompleteMultipartUpload",), ("ETag",))
    etag, checksum = _text(root, "ETag"), _text(root, "ChecksumCRC64NVME")
    return Completed(
        etag=None if etag is None else _fitting(etag, fields.ETAG, "ETag"),
        checksum=None if checksum is None else _fitting(checksum, fields.CHECKSUM, "ChecksumCRC64NVME"),
    )


def versions(body: bytes) -> Page[Version]:
    """A page of ListObjectVersions: versions and delete markers. Raises UnreadableAnswerError."""
    root = _read_listing(body)
    _know(root, ("ListVersions", "ListObjectVersions"), ("Version", "DeleteMarker", "VersionIdMarker"))
    decoded = _decoder(root)
    found = []
    for entry in _entries(root, "Version", "DeleteMarker"):
        texts = _texts(entry)
        version_id = texts.get("VersionId")
        found.append(
            Version(
                key=_key(texts, decoded),
                version_id=None if version_id is None else _fitting(version_id, fields.VERSION_ID, "VersionId"),
                is_delete_marker=_name(entry) == "DeleteMarker",
            )
        )
    markers = _next_markers(root, found, decoded, "NextVersionIdMarker", "version-id-marker", fields.VERSION_ID)
    return Page(tuple(found), markers)


def uploads(body: bytes) -> Page[OpenUpload]:
    """A page of ListMultipartUploads. Raises UnreadableAnswerError."""
    root = _read_listing(body)
    _know(root, ("ListMultipartUploads",), ("Upload", "UploadIdMarker"))
    decoded = _decoder(root)
    found = tuple(
        OpenUpload(
            key=_key(texts, decoded),
            upload_id=_fitting(_asked_for(texts, "UploadId"), fields.UPLOAD_ID, "UploadId"),
            initiated=fields.moment_of_listing(texts.get("Initiated")),
        )
        for texts in map(_texts, _entries(root, "Upload"))
    )
    markers = _next_markers(root, found, decoded, "NextUploadIdMarker", "upload-id-marker", fields.UPLOAD_ID)
    return Page(found, markers)


def objects(body: bytes) -> Page[str]:
    """A page of ListObjectsV2. Raises UnreadableAnswerError."""
    root = _read_listing(body)
    _know(root, ("ListBucket", "ListObjects", "ListObjectsV2"), ("Contents", "KeyCount"))
    decoded = _decoder(root)
    found = tuple(_key(_texts(entry), decoded) for entry in _entries(root, "Contents"))
    if _text(root, "IsTruncated") != "true":
        return Page(found, ())
    token = _needed(root, "NextContinuationToken")
    if not fields.is_key(token):  # some stores take the last key for it
        raise UnreadableAnswerError("the answer's NextContinuationToken is too long")
    return Page(found, (("continuation-token", token),))


def _next_markers(
    root: ElementTree.Element,
    found: Sequence[Version] | Sequence[OpenUpload],
    decoded: Callable[[str], str],
    second: str,
    parameter: str,
    pattern: re.Pattern[str],
) -> Markers:
    if _text(root, "IsTruncated") != "true":
        return ()
    # Without a marker the rest could not be asked for, and taking this page for all would lose it.
    key, value = _text(root, "NextKeyMarker"), _text(root, second)
    if key is not None:
        key = decoded(key)
    elif value is not None and found:
        key = found[-1].key  # what it always is; a store leaves it out
    else:
        raise UnreadableAnswerError("the answer has no NextKeyMarker")
    if not fields.is_key(key):
        raise UnreadableAnswerError("the answer's NextKeyMarker is too long")
    by_key = (("key-marker", key),)
    return by_key if value is None else (*by_key, (parameter, _fitting(value, pattern, second)))


def _read_listing(body: bytes) -> ElementTree.Element:
    if len(body) > MAX_ANSWER_BYTES and _TOO_LONG_WITHOUT_A_TAG.search(body) is not None:
        raise UnreadableAnswerError("the answer has a tag or a text that is too long")
    return _read(body, MAX_LISTING_BYTES, _MAX_LISTING_TAGS)


def _read(body: bytes, limit: int = MAX_ANSWER_BYTES, tags: int = _MAX_TAGS) -> ElementTree.Element:
    """Parses in pieces, so that other threads run meanwhile."""
    if len(body) > limit or body.count(b"<") > tags:
        raise UnreadableAnswerError("the answer is too large")
    # Any document type is refused: what it declares could be expanded without end. Nor can it hide in another
    # encoding: a declared one does not count, and UTF-16, which expat finds out by itself, has NULs.
    if b"<!DOCTYPE" in body or b"\x00" in body:
        raise UnreadableAnswerError("the answer has a document type, or is no text")
    parser = ElementTree.XMLParser(target=_WithoutAttributes(), encoding="utf-8")  # noqa: S314 - see above
    # While a long request runs, S3 sends white space to keep the connection open.
    text = memoryview(body.removeprefix(b"\xef\xbb\xbf").strip())
    try:
        for start in range(0, len(text), _PIECE_BYTES):
            parser.feed(text[start : start + _PIECE_BYTES])
        root: ElementTree.Element = parser.close()
    except ElementTree.ParseError:
        raise UnreadableAnswerError("the answer is not well-formed XML in UTF-8") from None
    return root


class _WithoutAttributes(ElementTree.TreeBuilder):
    """S3 uses no attributes."""

    def start(self, tag: str, attributes: dict[str, str], /) -> ElementTree.Element:
        return super().start(tag, {})


def _entries(root: ElementTree.Element, *names: str) -> list[ElementTree.Element]:
    found = [entry for entry in root if _name(entry) in names]
    if len(found) > _MAX_ENTRIES:
        raise UnreadableAnswerError(f"the answer has more than {_MAX_ENTRIES} entries")
    return found


def _texts(entry: ElementTree.Element) -> Mapping[str, str]:
    """Name to text of an entry's elements, except empty ones; the first of repeated ones."""
    return {_name(element): element.text for element in reversed(entry) if element.text}


def _asked_for(texts: Mapping[str, str], name: str) -> str:
    if name not in texts:
        raise UnreadableAnswerError(f"the answer has no {name}")
    return texts[name]


def _key(texts: Mapping[str, str], decoded: Callable[[str], str]) -> str:
    key = decoded(_asked_for(texts, "Key"))
    if not fields.is_key(key):
        raise UnreadableAnswerError("the answer has a Key that is too long")
    return key


def _fitting(text: str, pattern: re.Pattern[str], name: str) -> str:
    if pattern.fullmatch(text) is None:
        raise UnreadableAnswerError(f"the answer's {name} is not what S3 sends")
    return text


def _error_in(root: ElementTree.Element) -> ElementTree.Element | None:
    """The error, if the answer is one. Some stores wrap it like AWS's older interfaces."""
    if _name(root) == "Error":
        return root
    return root.find("{*}Error") if _name(root) == "ErrorResponse" else None


def _know(root: ElementTree.Element, names: Sequence[str], signs: Sequence[str]) -> None:
    """Raises UnreadableAnswerError unless the root has one of `names`, with any of the endings that stores use.

    A root with any other name needs one of `signs`, the elements that only this answer has. A store that does not know
    the request answers another one, and its answer has none of our entries.
    """
    name = _name(root)
    if any(name == known + ending for known in names for ending in _ENDINGS):
        return
    if name not in ("Error", "ErrorResponse") and any(root.find(f"{{*}}{sign}") is not None for sign in signs):
        return
    raise UnreadableAnswerError(f"the answer is not {names[0]}Result")


def _name(element: ElementTree.Element) -> str:
    """Without the namespace, which differs."""
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str | None:
    """The text of a child; None if it is absent or empty."""
    return element.findtext(f"{{*}}{name}") or None


def _needed(element: ElementTree.Element, name: str) -> str:
    text = _text(element, name)
    if text is None:
        raise UnreadableAnswerError(f"the answer has no {name}")
    return text


def _decoder(root: ElementTree.Element) -> Callable[[str], str]:
    """Decodes only if the answer says so: a store may not know `encoding-type=url`."""
    return unquote_plus if (_text(root, "EncodingType") or "").lower() == "url" else str
