"""Digests: those that a request declares of its bytes, compared as they come in; and those of an object that is read.

Promises: of what a request declares nothing else is computed, and nothing long runs on the event loop.
Leaves to others: how a digest is written in a header (`file/api/headers/digests.py`).
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

# Below this, the hop into a thread costs more than the hashing.
_INLINE_BYTES = 256 * KiB
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hashing")


class _Hash(Protocol):
    def update(self, body: Body, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    """As hashlib's objects are. S3 and RFC 9530 write a CRC as its bytes, big-endian."""

    def __init__(self, step: Callable[[Body, int], int], size: int) -> None:
        self._value = 0
        self._step = step
        self._size = size

    def update(self, body: Body, /) -> None:
        self._value = self._step(body, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


_NEW: Mapping[str, Callable[[], _Hash]] = {
    "md5": partial(hashlib.md5, usedforsecurity=False),  # of damage on the way, not of malice
    "sha-1": partial(hashlib.sha1, usedforsecurity=False),
    "sha-256": hashlib.sha256,
    "sha-512": hashlib.sha512,
    "crc32": partial(_Crc, crc32, 4),
    "crc32c": partial(_Crc, crc32c, 4),
    "crc64nvme": partial(_Crc, crc64nvme, 8),
}
# Name to bytes of a digest.
ALGORITHMS: Mapping[str, int] = {name: len(new().digest()) for name, new in _NEW.items()}


class Comparison:
    """Of the bytes that arrive with what was declared of them. `known` are computed by others, and given at the end."""

    def __init__(self, declared: Sequence[DeclaredDigest], *, known: Collection[str] = ()) -> None:
        self._declared = declared
        self._hashes = {each.algorithm: _NEW[each.algorithm]() for each in declared if each.algorithm not in known}

    def update(self, body: Body) -> None:
        for each in self._hashes.values():
            each.update(body)

    def check(self, known: Mapping[str, bytes] | None = None, *, of: str = "The bytes that arrived") -> None:
        """At the end of the bytes. Raises `DigestMismatchError`, which names who declared it."""
        for each in self._declared:
            computed = self._hashes.get(each.algorithm)
            digest = computed.digest() if computed is not None else (known or {})[each.algorithm]
            if digest != each.digest:
                raise DigestMismatchError(f"{of} do not have the {each.algorithm.upper()} that {each.by} declares.")


async def digests_of(pieces: AsyncIterable[bytes]) -> Digests:
    """Size, SHA-256 and CRC64NVME of an object that is read in small pieces."""
    size, sha256, checksum = 0, hashlib.sha256(), 0
    async for piece in pieces:
        size += len(piece)
        sha256.update(piece)
        checksum = crc64nvme(piece, checksum)
    return Digests(size, sha256.digest(), checksum)


async def hashed(work: Callable[[Body], T], body: Body) -> T:
    """What `work` makes of the body, in a thread if that takes long."""
    if len(body) < _INLINE_BYTES:
        return work(body)
    return await asyncio.get_running_loop().run_in_executor(_threads, work, body)
