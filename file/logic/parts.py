"""Chunks as the network gave them become parts as S3 wants them, hashed once on the way.

`PartReader` claims a whole part (or the smaller rest) before it reads the first byte of it, puts its chunks together,
and computes SHA-256 of the file, CRC64NVME of each part, and whatever digest the request declared. A part whose
successor is unknown is handed on at once: holding it back until the next byte is seen would hold memory while waiting
for more of it.
"""

import hashlib
from collections.abc import Callable

from awscrt.checksums import combine_crc64nvme, crc64nvme

from file.logic.errors import FileTooLargeError, SizeMismatchError
from file.logic.hashing import Comparison, hashed
from file.logic.memory.budget import Budget, Claim, Portion
from file.logic.memory.buffers import Room, room_bytes
from file.logic.values import MAX_FILE_BYTES, MAX_PARTS, Body, Digests, IncomingFile, Limits, MiB, Part

# A file that exceeds one part by no more than this fraction is one put: two requests less, and no part of a few bytes.
# A form's own bytes fall under it, so that a file of exactly one part is one put in a form, too.
_STRETCH = 128
_COMPUTED_ANYWAY = ("sha-256", "crc64nvme")


def part_size_of(number: int, size: int | None, limits: Limits, largest: int) -> int:
    """Bytes of part `number` (from 1), so that 10,000 parts always suffice.

    A known size gives equal parts. An unknown one doubles them every thousand parts, up to `largest`.
    """
    if size is not None:
        fitting = -(-size // MAX_PARTS)
        return limits.part_size if fitting <= limits.part_size else -(-fitting // MiB) * MiB
    return min(limits.part_size << (number - 1) // 1000, largest)


class SharedPart:
    """A part, the memory that it has `taken`, and how many lanes still need it. The last one to let go gives the
    memory back, and drops the bytes: whoever still has a reference to this has none to them.
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
        assert self._part is not None  # a holder has not let go yet
        return self._part

    def hold(self, lanes: int) -> None:
        """Hand it on: `lanes` let go of it instead of one."""
        self._holders = lanes

    def let_go(self) -> None:
        self._holders -= 1
        if self._holders == 0:
            body, self._part = self.part.body, None
            self._claim.release()
            self._give_back(body)


class PartReader:
    """Reads one file. `ended`: its last byte was seen. `checked`: what arrived, once it was found right."""

    def __init__(self, file: IncomingFile, limits: Limits, budget: Budget | Portion) -> None:
        self.ended = False
        self.checked: Digests | None = None
        self._file = file
        self._limits = limits
        self._budget = budget
        self._chunks = aiter(file.chunks)
        self._rest = b""  # of a chunk that reached over the end of a part
        self._number = 0
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._crc64nvme = 0
        self._comparison = Comparison(file.declared, known=_COMPUTED_ANYWAY)

    async def next(self) -> SharedPart | None:
        """The next part, or None after the last. An empty file has one empty part.

        Raises `FileTooLargeError`, `BusyError` (first part only) and what the source of the chunks raises.
        """
        if self.ended:
            return None
        self._number += 1
        wanted = self._wanted()
        wait_seconds = self._limits.wait_seconds if self._number == 1 else None
        claim = await self._budget.claim(room_bytes(wanted), who=self._file.who, wait_seconds=wait_seconds)
        room = claim.room = Room(wanted, self._budget.rooms, grows=claim.held < claim.most)
        try:
            await self._fill(room, wanted, claim, wait_seconds)
            claim.settle(room.taken)  # a body of unknown size may be far below what was claimed
            if not room.filled and self._number > 1:
                return None
            part = Part(self._number, room.body(), await self._hash(room.body()))
        except BaseException:
            room.drop()  # or the error's frames hold the bytes
            claim.release()
            raise
        return SharedPart(part, claim, self._budget.rooms.give_back)

    def digests(self) -> Digests:
        """What arrived, once `ended`. Raises if it is not what the request declared."""
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

    async def _fill(self, room: Room, wanted: int, claim: Claim, wait_seconds: float | None) -> None:
        """Up to `wanted` bytes; fewer only at the end of the file."""
        while True:
            if (filled := min(wanted, room.filled + len(self._rest))) > claim.held:
                await claim.grow(filled, wait_seconds=wait_seconds)
            self._rest = room.take(self._rest)
            if room.filled == wanted and (self._rest or not self._end_is_near(wanted)):
                break
            try:
                self._rest = await anext(self._chunks)
            except StopAsyncIteration:
                self.ended = True
                break
        if self._rest and self._end_is_near(wanted):
            raise SizeMismatchError(f"More bytes arrive than the {self._bound()} that the request declared.")
        self._size += room.filled

    def _end_is_near(self, wanted: int) -> bool:
        """The request's own size says that nothing follows: wait for its end, to know it and to use one put."""
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
