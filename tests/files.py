"""Small files for the tests of buckets: parts, digests and descriptions as the flow makes them."""

import hashlib
from typing import Any

from awscrt.checksums import crc64nvme

from file.logic.naming import new_file_id
from file.logic.values import FILE_ID, FILE_NAME, Digests, MiB, ObjectDescription, Part

PART_BYTES = 5 * MiB  # the minimum of S3 for every part except the last


def described(key: str = "k", **changes: Any) -> ObjectDescription:
    """A new file under `key`."""
    file_id = changes.pop("file_id", None) or new_file_id()
    metadata = {"colour": "blue", FILE_ID: file_id, FILE_NAME: "k"}
    description = {"file_id": file_id, "key": key, "content_type": "text/x-test; charset=utf-8", "metadata": metadata}
    return ObjectDescription(**{**description, **changes})


def part_of(body: bytes, number: int = 1) -> Part:
    return Part(number, body, crc64nvme(body))


def digests_of(body: bytes) -> Digests:
    return Digests(len(body), hashlib.sha256(body).digest(), crc64nvme(body))


def bytes_of(size: int, seed: str = "") -> bytes:
    """`size` bytes that look random and are the same every time."""
    return hashlib.shake_256(f"{seed}{size}".encode()).digest(size)


def parts_of(body: bytes, size: int = PART_BYTES) -> list[Part]:
    return [part_of(body[start : start + size], start // size + 1) for start in range(0, len(body), size)]
