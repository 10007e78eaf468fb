"""Turns chunks from the network into parts for S3, and hashes them once.

`PartReader` claims memory for a whole part (or the smaller rest) before it reads the first byte. It joins the chunks,
and computes the SHA-256 of the file, the CRC64NVME of each part, and the digests that the request declared. A part
whose successor is unknown is passed on at once: a part that waits for the next byte would hold memory while the reader
waits for more memory.
"""

import hashlib
from collections.abc import Callable

from awscrt.checksums import combine_crc64nvme, crc64nvme

from file.logic.errors import FileTooLargeError, SizeMismatchError
from file.logic.hashing import Comparison, hashed
from file.logic.memory.budget import Budget, Claim, Share
from file.logic.memory.buffers import STEP_BYTES, Buffer, buffer_bytes
from file.logic.values import MAX_FILE_BYTES, MAX_PARTS, Body, Digests, IncomingFile, Limits, MiB, Part

# A file that is larger than one part by at most this fraction is one put: this saves two requests and a tiny part. The
# bytes of a form's framing are below it, so that a file of exactly one part is one put in a form, too.
_STRETCH = 128
_COMPUTED_ANYWAY = ("sha-256", "crc64nvme")


def part_size_of(number: int, size: int | None, limits: Limits, largest: int) -> int:
    """The size of part `number` (from 1), so that 10,000 parts always suffice.

    With a known size all parts are equal. With an unknown size they double every thousand parts, up to `largest`.
    """
    if size is not None:
        fitting = -(-size // MAX_PARTS)
        return limits.part_size if fitting <= limits.part_size else -(-fitting // MiB) * MiB
    return min(limits.part_size << (number - 1) // 1000, largest)


class SharedPart:
    """A part, the memory that it has `taken`, and the number of lanes that still need it. The last `release` gives the
    memory back and drops the bytes: a remaining reference to this object does not keep them.
    """

    __slots__ = ("_claim", "_give_back", "_holders", "_part", "taken")

    def __init__(self, part: Part, claim: Claim, give_back: Callable[[Body], None]) -> None:
        self.taken = claim.held
        self._claim = claim
        self._part: Part | None = part
        self._give_back = give_back
        self._holders = 1

    @property
    def part(self) -> Part:
        assert self._part is not None  # not released by all yet
        return self._part

    def hold(self, lanes: int) -> None:
        """Passes it on: `lanes` holders will release it instead of one."""
        self._holders = lanes

    def release(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            body, self._part = self.part.body, None
            self._claim.release()
            self._give_back(body)


class PartReader:
    """Reads one file. `ended`: its last byte was read. `checked`: the digests, after they were compared."""

    def __init__(self, file: IncomingFile, limits: Limits, budget: Budget | Share) -> None:
        self.ended = False
        self.checked: Digests | None = None
        self._file = file
        self._limits = limits
        self._budget = budget
        self._chunks = aiter(file.chunks)
        self._rest = b""  # the rest of a chunk that crosses the end of a part
        self._number = 0
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._crc64nvme = 0
        self._comparison = Comparison(file.declared, known=_COMPUTED_ANYWAY)

    async def next(self) -> SharedPart | None:
        """The next part, or None after the last. An empty file has one empty part.

        Raises `FileTooLargeError`, `BusyError` (first part only), and the errors of the source of the chunks.
        """
        if self.ended:
            return None
        self._number += 1
        wanted = self._wanted()
        wait_seconds = self._limits.wait_seconds if self._number == 1 else None
        claim = await self._budget.claim(buffer_bytes(wanted), who=self._file.who, wait_seconds=wait_seconds)
        buffer = claim.buffer = Buffer(wanted, self._budget.buffers, grows=claim.held < claim.most)
        try:
            await self._fill(buffer, wanted, claim, wait_seconds)
            claim.settle(buffer.taken)  # a body of unknown size may be much smaller than the claim
            if not buffer.filled and self._number > 1:
                return None
            part = Part(self._number, buffer.body(), await self._hash(buffer.body()))
        except BaseException:
            buffer.drop()  # otherwise the frames of the error hold the bytes
            claim.release()
            raise
        return SharedPart(part, claim, self._budget.buffers.give_back)

    def digests(self) -> Digests:
        """The digests of the whole body, after `ended`. Raises if they differ from what the request declared."""
        if self._file.size is not None and self._size != self._file.size:
            raise SizeMismatchError(f"{self._size} bytes arrived, and the request declared {self._file.size}.")
        sha256 = self._sha256.digest()
        self._comparison.check({"sha-256": sha256, "crc64nvme": self._crc64nvme.to_bytes(8, "big")})
        self.checked = Digests(self._size, sha256, self._crc64nvme)
        return self.checked

    def _wanted(self) -> int:
        largest, bound = self._budget.largest_part, self._bound()
        stretched = self._limits.part_size + self._limits.part_size // _STRETCH
        if self._number == 1 and bound is not None and bound <= min(stretched, largest):
            return bound
        size = part_size_of(self._number, self._file.size, self._limits, largest)
        if size > largest or (bound or 0) > MAX_FILE_BYTES:
            raise FileTooLargeError(f"The file needs parts of {size} bytes. UPLOAD_MEMORY allows {largest}.")
        if self._number > MAX_PARTS:
            raise FileTooLargeError(
                f"A file without a declared size may have {self._size} bytes. Declare the size with Content-Length."
            )
        return size if bound is None else max(0, min(size, bound - self._size))

    async def _fill(self, buffer: Buffer, wanted: int, claim: Claim, wait_seconds: float | None) -> None:
        """Reads `wanted` bytes; fewer only at the end of the file."""
        while True:
            if (filled := min(wanted, buffer.filled + len(self._rest))) > claim.held:
                await claim.grow(filled, wait_seconds=wait_seconds)
            self._rest = buffer.take(self._rest)
            if buffer.filled == wanted and (self._rest or not self._end_is_near(wanted)):
                break
            if not await self._read(buffer, wanted, claim):
                self.ended = True
                break
        if self._rest and self._end_is_near(wanted):
            raise SizeMismatchError(f"More bytes arrive than the {self._bound()} that the request declared.")
        self._size += buffer.filled

    async def _read(self, buffer: Buffer, wanted: int, claim: Claim) -> bool:
        """Reads what arrives next: into the memory of a large part if all of it is claimed, otherwise as a chunk.

        False at the end of the file.
        """
        read_into = self._file.read_into if wanted >= STEP_BYTES and claim.held == claim.most else None
        if read_into is not None and buffer.filled < wanted:
            with buffer.space() as space:
                size = await read_into(space)
            buffer.fill(size)
            return size > 0
        try:
            self._rest = await anext(self._chunks)
        except StopAsyncIteration:
            return False
        return True

    def _end_is_near(self, wanted: int) -> bool:
        """Whether the declared size says that nothing follows: then the end is awaited, so that one put is enough."""
        bound = self._bound()
        return bound is not None and self._size + wanted >= bound

    def _bound(self) -> int | None:
        return self._file.size if self._file.size is not None else self._file.at_most

    async def _hash(self, body: Body) -> int:
        part_crc = await hashed(self._digest, body)
        self._crc64nvme = combine_crc64nvme(self._crc64nvme, part_crc, len(body))
        return part_crc

    def _digest(self, body: Body) -> int:
        self._sha256.update(body)
        self._comparison.update(body)
        return int(crc64nvme(body))
