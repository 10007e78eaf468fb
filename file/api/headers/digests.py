"""The digests that a client declares in headers, of a request or of a form's file: parsed, or refused by name.

Content-Digest and Repr-Digest (RFC 9530), Content-MD5, Digest (RFC 3230), and S3's x-amz-checksum-* and
x-amz-content-sha256. A returned digest is compared with the bytes. A digest that cannot be compared is refused, so that
a success never means that a digest was ignored. Nothing is decoded on the way in, so content and representation are the
same bytes here. Leaves to others: the computing (`logic/hashing.py`).
"""

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Sequence

import http_sf

from file.logic.errors import DigestRefusedError
from file.logic.hashing import ALGORITHMS
from file.logic.values import DeclaredDigest

Found = dict[bytes, list[bytes]]

_S3 = b"x-amz-checksum-"
_S3_ALGORITHMS = {
    "crc32": "crc32",
    "crc32c": "crc32c",
    "crc64nvme": "crc64nvme",
    "md5": "md5",
    "sha1": "sha-1",
    "sha256": "sha-256",
    "sha512": "sha-512",
}
_S3_CHOICES = ", ".join(f"x-amz-checksum-{name}" for name in _S3_ALGORITHMS)
# Other names of `ALGORITHMS` that the older headers have.
_FIELD_ALGORITHMS = {"sha-256": "sha-256", "sha-512": "sha-512", "md5": "md5", "sha": "sha-1", "crc32c": "crc32c"}
_FIELD_CHOICES = ", ".join(_FIELD_ALGORITHMS)
_CRC_IN_HEX = re.compile(rb"[0-9A-Fa-f]{1,8}")
_SHA256_IN_HEX = re.compile(rb"[0-9A-Fa-f]{64}")
_SHOWN = {b"content-md5": "Content-MD5"}  # the other names are title-cased
_ANNOUNCING = (b"x-amz-sdk-checksum-algorithm", b"x-amz-checksum-algorithm")
_STRUCTURED = (b"content-digest", b"repr-digest")
_TRAILERS = (b"trailer", b"x-amz-trailer")
_NAMES = frozenset((*_STRUCTURED, *_ANNOUNCING, *_TRAILERS, b"content-md5", b"digest", b"x-amz-content-sha256"))


def declared_digests(headers: Iterable[tuple[bytes, bytes]]) -> tuple[DeclaredDigest, ...]:
    """One digest per algorithm. The names of the headers are in lower case. Raises `DigestRefusedError`."""
    found: Found = {}
    for name, value in headers:
        if name in _NAMES or name.startswith(_S3):
            found.setdefault(name, []).append(value)
    if not found:
        return ()
    agreed: dict[str, DeclaredDigest] = {}
    for each in _read(found):
        other = agreed.setdefault(each.algorithm, each)
        if other.digest != each.digest:
            raise DigestRefusedError(f"The {each.algorithm.upper()} in {other.by} and in {each.by} are not the same.")
    return tuple(agreed.values())


def digests_of_part(headers: Iterable[tuple[str, str]]) -> tuple[DeclaredDigest, ...]:
    return declared_digests((name.lower().encode(), value.encode()) for name, value in headers)


def _read(found: Found) -> Iterator[DeclaredDigest]:
    for name, values in found.items():
        if name in _STRUCTURED:
            yield from _structured(name, values)
        elif name in _TRAILERS:
            _check_trailer(name, values)
        elif name in _ANNOUNCING:
            _check_announced(name, _only(name, values), found)
        elif name == b"content-md5":
            yield _declared(name, "md5", _from_base64(_only(name, values)), "the base64 of an MD5")
        elif name == b"digest":
            yield from _instance(name, values)
        elif name == b"x-amz-content-sha256":
            yield from _payload(name, _only(name, values))
        else:
            yield from _s3_checksum(name, _only(name, values))


def _structured(name: bytes, values: Sequence[bytes]) -> Iterator[DeclaredDigest]:
    """All lines are one dictionary (RFC 9651, 3.2). Of two members with the same name the last counts."""
    try:
        members = http_sf.parse(b", ".join(values), tltype="dictionary")
    except http_sf.StructuredFieldError as error:
        where = f" at byte {error.position}" if error.position is not None else ""
        raise _refused(
            name, f"is not well-formed{where}: send it as sha-256=:<base64>:, with names in lower case (RFC 9530)"
        ) from None
    assert isinstance(members, dict)
    for key, member in members.items():
        value = member[0] if isinstance(member, tuple) else None  # the rest are parameters
        algorithm = _FIELD_ALGORITHMS.get(key)
        if algorithm is None:
            raise _refused(name, f"has a digest that this service cannot check; use {_FIELD_CHOICES}")
        yield _declared(name, algorithm, value if isinstance(value, bytes) else None, f"{key}=:<base64>:")


def _instance(name: bytes, values: Sequence[bytes]) -> Iterator[DeclaredDigest]:
    for member in b",".join(values).split(b","):
        key, _, value = member.strip().partition(b"=")
        if not member.strip():
            continue  # an empty list member does not count (RFC 9110, 5.6.1)
        algorithm = _FIELD_ALGORITHMS.get(key.decode("latin-1").lower())
        if algorithm is None:
            raise _refused(name, f"has a digest that this service cannot check; use {_FIELD_CHOICES}")
        if algorithm == "crc32c":  # the one that RFC 3230's registry writes in hexadecimal
            digest = int(value, 16).to_bytes(4, "big") if _CRC_IN_HEX.fullmatch(value) else None
        else:
            digest = _from_base64(value)
        how = "<hexadecimal>" if algorithm == "crc32c" else "<base64>"
        yield _declared(name, algorithm, digest, f"{algorithm}={how}")


def _payload(name: bytes, value: bytes) -> Iterator[DeclaredDigest]:
    if value == b"UNSIGNED-PAYLOAD":
        return
    if not _SHA256_IN_HEX.fullmatch(value):
        raise _refused(name, "must be the SHA-256 of the body in hexadecimal, or UNSIGNED-PAYLOAD")
    yield _declared(name, "sha-256", bytes.fromhex(value.decode()), "a SHA-256 in hexadecimal")


def _s3_checksum(name: bytes, value: bytes) -> Iterator[DeclaredDigest]:
    suffix = name.removeprefix(_S3).decode("latin-1")
    if suffix == "type":
        if value.upper() != b"FULL_OBJECT":
            raise _refused(name, "must be FULL_OBJECT: this service cannot check a checksum of checksums")
        return
    algorithm = _S3_ALGORITHMS.get(suffix)
    if algorithm is None:
        raise _refused(name, f"is not one that this service can check; use {_S3_CHOICES}")
    yield _declared(name, algorithm, _from_base64(value), f"the base64 of {ALGORITHMS[algorithm]} bytes")


def _check_announced(name: bytes, value: bytes, found: Found) -> None:
    """The header names the checksum that the request has. S3, too, refuses it without that checksum."""
    suffix = value.decode("latin-1").lower()
    if suffix not in _S3_ALGORITHMS:
        choices = ", ".join(_S3_ALGORITHMS).upper()
        raise _refused(name, f"names an algorithm that this service cannot check; use {choices}")
    if _S3 + suffix.encode() not in found:
        raise _refused(name, f"names a checksum that was not sent: send x-amz-checksum-{suffix} as well")


def _check_trailer(name: bytes, values: Sequence[bytes]) -> None:
    """Trailers are not read. Fields there that are no digests may be ignored (RFC 9110, 6.5.1)."""
    for value in b",".join(values).split(b","):
        field = value.strip().lower()
        if field in _NAMES or field.startswith(_S3):
            raise _refused(name, "announces a digest after the body, where it is not read: send it before the body")


def _declared(name: bytes, algorithm: str, digest: bytes | None, form: str) -> DeclaredDigest:
    if digest is None or len(digest) != ALGORITHMS[algorithm]:
        raise _refused(name, f"cannot be decoded: send {form} ({ALGORITHMS[algorithm]} bytes before encoding)")
    return DeclaredDigest(algorithm, digest, f"the header {_shown(name)}")


def _only(name: bytes, values: Sequence[bytes]) -> bytes:
    """The one value of a header. The header may be repeated with the same value."""
    found = {value.strip() for value in values}
    if len(found) > 1:
        raise _refused(name, "was sent more than once, with different values")
    return found.pop()


def _from_base64(text: bytes) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _refused(name: bytes, why: str) -> DigestRefusedError:
    return DigestRefusedError(f"The header {_shown(name)} {why}.")


def _shown(name: bytes) -> str:
    if name.startswith(b"x-amz-"):
        return name[:64].decode("latin-1")
    return _SHOWN.get(name) or name.decode("latin-1").title()
