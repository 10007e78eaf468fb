"""File names and keys: what is accepted, and how a key is made from a name.

The name is what a person calls the file; it is stored in the metadata and returned. The key is where the object is.
`POST /upload` makes the key from the time, random characters, and the name; `PUT /files/{key}` takes it from the path.
"""

import os
import re
import time
import unicodedata
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

from file.logic.errors import FilenameRefusedError, KeyRefusedError, MetadataRefusedError
from file.logic.values import MAX_KEY_BYTES, MAX_METADATA_BYTES, RESERVED_METADATA

MAX_NAME_BYTES = 255  # the limit of most file systems
_SLUG_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # 32: each five bits are a letter
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_BESIDE_A_DOT = re.compile(r"-*\.[-.]*")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_METADATA_NAME = re.compile(r"[A-Za-z0-9!#$&'*+.^_`|~-]+")
# XML 1.0, in which S3 lists keys, cannot represent these, not even as references.
_NOT_IN_XML = {"\ufffe", "\uffff"}


def new_file_id() -> str:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then random, so that ids sort by time."""
    milliseconds = time.time_ns() // 1_000_000
    chance = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | (chance >> 68) << 64
    text = f"{value | 0b10 << 62 | chance & (1 << 62) - 1:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def begun_at(file_id: str) -> datetime | None:
    """When the file with this id began to arrive; None if `new_file_id` cannot have made the id."""
    try:
        found = uuid.UUID(file_id)
        if str(found) != file_id or found.version != 7:
            return None
        return datetime.fromtimestamp((found.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError):
        return None


def check_name(name: str, *, of: str = "The field `filename`") -> str:
    """The name as it is stored (Unicode NFC). `of`: where it was sent, for messages. Raises `FilenameRefusedError`."""
    name = unicodedata.normalize("NFC", name)
    if not name.strip():
        raise FilenameRefusedError(f"{of} is empty.")
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise FilenameRefusedError(f"{of} is longer than {MAX_NAME_BYTES} bytes in UTF-8.")
    if _has_unprintable(name):
        raise FilenameRefusedError(
            f"{of} has a control character, such as a line break (%0A or %0D of a form), or is not Unicode text."
        )
    if "/" in name or "\\" in name or name in (".", ".."):
        raise FilenameRefusedError(f"{of} is a path. Send only the last segment.")
    return name


def key_for(name: str) -> str:
    """`<seconds>-<slug>-<cleaned name>`, for example `1795334400-k3v9q2-report.pdf`."""
    slug = "".join([_SLUG_LETTERS[byte & 31] for byte in os.urandom(6)])
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    short = (_cleaned(stem)[:80].strip("-.") or "file") + dot + _cleaned(suffix)[:19]
    return f"{int(time.time())}-{slug}-{short.rstrip('-.')}"


def _cleaned(text: str) -> str:
    """The name in ASCII letters, digits, `.`, `_`, and `-`. Others become one `-`, not at an end or beside a dot."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _BESIDE_A_DOT.sub(".", _UNSAFE.sub("-", ascii_text)).strip("-.")


def key_from_path(raw: bytes, *, longest_prefix_bytes: int) -> str:
    """Decodes the percent-encoded path after `/files/`. Raises `KeyRefusedError`.

    Decoding is strict, because lenient decoding gives two invalid UTF-8 paths the same key.
    """
    if _BAD_PERCENT.search(raw):
        raise KeyRefusedError("The key has a `%` that is not followed by two hexadecimal digits.")
    encoded = unquote_to_bytes(raw)
    try:
        key = encoded.decode("utf-8")
    except UnicodeDecodeError:
        raise KeyRefusedError("The percent-decoded key is not UTF-8.") from None
    if not key:
        raise KeyRefusedError("The key is empty: send PUT /files/{key}.")
    longest = MAX_KEY_BYTES - longest_prefix_bytes
    if len(encoded) > longest:
        raise KeyRefusedError(f"The key is longer than {longest} bytes in UTF-8.")
    if _has_unprintable(key):
        raise KeyRefusedError("The key has a control character.")
    if any(segment in (".", "..") for segment in key.split("/")):
        raise KeyRefusedError("The key has a segment `.` or `..`.")
    if key.endswith("/"):
        raise KeyRefusedError("The key ends in `/`. Some stores treat it as a folder and drop the bytes of the file.")
    return key


def name_of(key: str) -> str:
    """The last segment of a key, cut to the length of a name: the name of a file that came by `PUT`."""
    last = key.rsplit("/", 1)[-1]
    return last.encode()[:MAX_NAME_BYTES].decode("utf-8", "ignore")


def can_be_ours(key: str) -> bool:
    """Whether a file may have this key (an object's key without the prefix). Other keys are never requested, because
    `a/../b` would become `b` on the way.
    """
    try:
        return key_from_path(quote(key, errors="surrogatepass").encode(), longest_prefix_bytes=0) == key
    except KeyRefusedError:
        return False


def encode_name(name: str) -> str:
    """The name as metadata: percent-encoded UTF-8, also spaces: headers lose them at the ends, signatures inside."""
    return quote(name, safe="!#$&'()+,;=@[]^`{}~")


def check_metadata(metadata: Mapping[str, str], *, ours: Mapping[str, str]) -> None:
    """Checks the limit of S3, which counts names and values, including ours. Raises `MetadataRefusedError`."""
    for name, value in metadata.items():
        if not _METADATA_NAME.fullmatch(name):
            raise MetadataRefusedError("The name of a header x-amz-meta-* is not an HTTP token.")
        if name.lower().startswith(RESERVED_METADATA):
            raise MetadataRefusedError(f"The header x-amz-meta-{name} is reserved for this service.")
        if not value.isascii() or not value.isprintable():
            raise MetadataRefusedError(f"The header x-amz-meta-{name} is not printable ASCII: percent-encode it.")
    total = sum(len(name) + len(value) for entries in (metadata, ours) for name, value in entries.items())
    if total > MAX_METADATA_BYTES:
        room = MAX_METADATA_BYTES - sum(len(name) + len(value) for name, value in ours.items())
        raise MetadataRefusedError(f"The headers x-amz-meta-* have more than {room} bytes, names and values together.")


def _has_unprintable(text: str) -> bool:
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(c) in ("Cc", "Cs") or c in _NOT_IN_XML for c in text)
