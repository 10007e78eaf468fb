"""Digests: those that a request declares, compared as the bytes arrive; and those of an object that is read.

Promises: only declared digests are computed, and no long computation runs on the event loop.
Leaves to others: how a header contains a digest (`file/api/headers/digests.py`).
"""

import asyncio
import hashlib
from collections.abc import AsyncIterable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from awscrt.checksums import crc32, crc32c, crc64nvme

from file.logic.errors import DigestMismatchError
from file.logic.values import Body, DeclaredDigest, Digests, KiB

T = TypeVar("T")

# Below this size, switching to a thread costs more than hashing.
_INLINE_BYTES = 256 * KiB
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hashing")


class _Hash(Protocol):
    def update(self, body: Body, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """A CRC with the interface of hashlib's objects. S3 and RFC 9530 write a CRC as bytes, big-endian."""

    def __init__(self, step: Callable[[Body, int], int], size: int) -> None:
        self._value = 0
        self._step = step
        self._size = size

    def update(self, body: Body, /) -> None:
        self._value = self._step(body, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


_NEW: Mapping[str, Callable[[], _Hash]] = {
    "md5": partial(hashlib.md5, usedforsecurity=False),  # against damage in transit, not against attackers
    "sha-1": partial(hashlib.sha1, usedforsecurity=False),
    "sha-256": hashlib.sha256,
    "sha-512": hashlib.sha512,
    "crc32": partial(_Crc, crc32, 4),
    "crc32c": partial(_Crc, crc32c, 4),
    "crc64nvme": partial(_Crc, crc64nvme, 8),
}
# The name of an algorithm, and the length of its digest in bytes.
ALGORITHMS: Mapping[str, int] = {name: len(new().digest()) for name, new in _NEW.items()}


class Comparison:
    """Compares the arriving bytes with the declared digests. `known`: algorithms whose digests the caller computes."""

    def __init__(self, declared: Sequence[DeclaredDigest], *, known: Collection[str] = ()) -> None:
        self._declared = declared
        self._hashes = {each.algorithm: _NEW[each.algorithm]() for each in declared if each.algorithm not in known}

    def update(self, body: Body) -> None:
        for each in self._hashes.values():
            each.update(body)

    def check(self, known: Mapping[str, bytes] | None = None, *, of: str = "The bytes that arrived") -> None:
        """Compares after the last byte. Raises `DigestMismatchError`, which names the header."""
        for each in self._declared:
            computed = self._hashes.get(each.algorithm)
            digest = computed.digest() if computed is not None else (known or {})[each.algorithm]
            if digest != each.digest:
                raise DigestMismatchError(f"{of} do not have the {each.algorithm.upper()} that {each.by} declares.")


async def digests_of(pieces: AsyncIterable[bytes]) -> Digests:
    """Size, SHA-256, and CRC64NVME of an object that is read in small pieces."""
    size, sha256, checksum = 0, hashlib.sha256(), 0
    async for piece in pieces:
        size += len(piece)
        sha256.update(piece)
        checksum = crc64nvme(piece, checksum)
    return Digests(size, sha256.digest(), checksum)


async def hashed(work: Callable[[Body], T], body: Body) -> T:
    """The result of `work` for the body, computed in a thread if it is large."""
    if len(body) < _INLINE_BYTES:
        return work(body)
    return await asyncio.get_running_loop().run_in_executor(_threads, work, body)
