"""Chunks as the network gave them become parts as S3 wants them, hashed once on the way.

`PartReader` reserves a whole part (or the smaller rest) before it reads the first byte of it, joins the chunks, and
computes SHA-256 of the file and CRC64NVME of each part. A part of unknown successor is handed on at once: holding it
back until the next byte is seen would hold memory while waiting for more of it.
"""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from awscrt.checksums import combine_crc64nvme, crc64nvme

from file.logic.budget import Budget
from file.logic.errors import DigestMismatchError, FileTooLargeError, SizeMismatchError
from file.logic.values import MAX_FILE_BYTES, MAX_PARTS, Digests, IncomingFile, Limits, MiB, Part

# Below this, the hop into a thread costs more than the hashing.
_HASH_INLINE_BYTES = 256 * 1024
_hashing = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hashing")


def part_size_of(number: int, size: int | None, limits: Limits, largest: int) -> int:
    """Bytes of part `number` (from 1), so that 10,000 parts always suffice.

    A known size gives equal parts. An unknown one doubles them every thousand parts, up to `largest`.
    """
    if size is not None:
        fitting = -(-size // MAX_PARTS)
        return limits.part_size if fitting <= limits.part_size else -(-fitting // MiB) * MiB
    return min(limits.part_size << (number - 1) // 1000, largest)


class SharedPart:
    """A part and how many lanes still need it. The last one to let go gives its memory back."""

    __slots__ = ("_give_back", "_holders", "part")

    def __init__(self, part: Part, give_back: Callable[[], None]) -> None:
        self.part = part
        self._give_back = give_back
        self._holders = 1

    def hold(self, lanes: int) -> None:
        """Hand it on: `lanes` let go of it instead of one."""
        self._holders = lanes

    def let_go(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            self._give_back()


class PartReader:
    """Reads one file. `ended` is true once its last byte was seen."""

    def __init__(self, file: IncomingFile, limits: Limits, budget: Budget) -> None:
        self.ended = False
        self._file = file
        self._limits = limits
        self._budget = budget
        self._chunks = aiter(file.chunks)
        self._rest = b""  # of a chunk that reached over the end of a part
        self._number = 0
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._crc64nvme = 0

    async def next(self) -> SharedPart | None:
        """The next part, or None after the last. An empty file has one empty part.

        Raises `FileTooLargeError`, `BusyError` (first part only) and what the source of the chunks raises.
        """
        if self.ended:
            return None
        self._number += 1
        wanted = self._wanted()
        wait_seconds = self._limits.wait_seconds if self._number == 1 else None
        await self._budget.reserve(wanted, wait_seconds=wait_seconds)
        try:
            body = await self._fill(wanted)
            if not body and self._number > 1:
                self._budget.release(wanted)
                return None
            part = Part(self._number, body, await self._hash(body))
        except BaseException:
            self._budget.release(wanted)
            raise
        return SharedPart(part, lambda: self._budget.release(wanted))

    def digests(self) -> Digests:
        """What arrived, once `ended`. Raises if it is not what the request declared."""
        if self._file.size is not None and self._size != self._file.size:
            raise SizeMismatchError(f"{self._size} bytes arrived; the request declared {self._file.size}.")
        sha256 = self._sha256.digest()
        if self._file.sha256 is not None and sha256 != self._file.sha256:
            raise DigestMismatchError
        return Digests(self._size, sha256, self._crc64nvme)

    def _wanted(self) -> int:
        largest, bound = self._budget.largest_part, self._bound()
        size = part_size_of(self._number, self._file.size, self._limits, largest)
        if size > largest or (bound or 0) > MAX_FILE_BYTES:
            raise FileTooLargeError(f"The file needs parts of {size} bytes; UPLOAD_MEMORY allows {largest}.")
        if self._number > MAX_PARTS:
            raise FileTooLargeError(f"A file of undeclared size may have {self._size} bytes here; declare its size.")
        return size if bound is None else max(0, min(size, bound - self._size))

    async def _fill(self, wanted: int) -> bytes:
        """Up to `wanted` bytes; fewer only at the end of the file."""
        pieces, missing = [], wanted
        chunk = self._rest
        self._rest = b""
        while True:
            if len(chunk) > missing:
                pieces.append(chunk[:missing])
                self._rest = chunk[missing:]
                missing = 0
                if self._end_is_near(wanted):
                    raise SizeMismatchError(f"More bytes arrive than the {self._bound()} that the request declared.")
                break
            if chunk:
                pieces.append(chunk)
                missing -= len(chunk)
            if missing == 0 and not self._end_is_near(wanted):
                break
            try:
                chunk = await anext(self._chunks)
            except StopAsyncIteration:
                self.ended = True
                break
        self._size += wanted - missing
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _end_is_near(self, wanted: int) -> bool:
        """The request's own size says that nothing follows: wait for its end, to know it and to use one put."""
        bound = self._bound()
        return bound is not None and self._size + wanted >= bound

    def _bound(self) -> int | None:
        return self._file.size if self._file.size is not None else self._file.at_most

    async def _hash(self, body: bytes) -> int:
        if len(body) < _HASH_INLINE_BYTES:
            part_crc = self._digest(body)
        else:
            part_crc = await asyncio.get_running_loop().run_in_executor(_hashing, self._digest, body)
        self._crc64nvme = combine_crc64nvme(self._crc64nvme, part_crc, len(body))
        return part_crc

    def _digest(self, body: bytes) -> int:
        self._sha256.update(body)
        return int(crc64nvme(body))
