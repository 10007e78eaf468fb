"""The memory of parts: where a part's chunks are put together, each as it arrives, so that a part is never there twice.

Rooms of 256 KiB and more are mapped memory, private and in large pages where the system has them; a heap would keep
holes. They are kept for a while, for the next parts: the system hands out memory as zeros, and to make these was a
tenth of what an upload cost. Leaves to others: how much memory there may be (`budget.py`).
"""

import asyncio
import mmap
from collections.abc import Callable
from contextlib import suppress

from file.logic.values import Body, KiB, MiB

# From so much on it is mapped, and counted in multiples of this.
STEP_BYTES = 256 * KiB
_PAGE_BYTES = 2 * MiB
_KEEP_SECONDS = 10.0


def room_bytes(size: int) -> int:
    """What a room for so many bytes takes at most: those that are mapped come in few sizes, to be used again."""
    if size < STEP_BYTES:
        return size
    return -(-size // STEP_BYTES) * STEP_BYTES


class Rooms:
    """Mapped memory that parts gave back, kept for at most `keep_seconds`. `spare` tells how many bytes of it may be.
    Belongs to one event loop.
    """

    def __init__(self, spare: Callable[[], int], *, keep_seconds: float = _KEEP_SECONDS) -> None:
        self.kept = 0
        self._spare = spare
        self._keep_seconds = keep_seconds
        self._free: dict[int, list[mmap.mmap]] = {}
        self._clearing: asyncio.TimerHandle | None = None

    def take(self, size: int, *, grows: bool = False) -> tuple[mmap.mmap, bool]:
        """Of `room_bytes(size)`, and whether it was used before. The caller has reserved them, or, if it `grows`, only
        some: then it is new and in small pages, so that it takes what is filled.
        """
        size = room_bytes(size)
        if not grows and (free := self._free.get(size)):
            self.kept -= size
            return free.pop(), True
        self.fit()
        return _mapped(size, large_pages=size >= _PAGE_BYTES and not grows), False

    def fit(self) -> None:
        """Keep no more than there may be."""
        if self.kept > self._spare():
            self.clear()

    def give_back(self, body: Body) -> None:
        """A part was sent. Its memory is kept only if nobody reads it any more: the HTTP client may hold on to a body
        that it was cut off from.
        """
        if not isinstance(body, memoryview) or not isinstance(memory := body.obj, mmap.mmap):
            return
        size = len(memory)
        if self.kept + size > self._spare():
            return
        with suppress(BufferError, SystemError):  # the latter where a mapping cannot be resized at all
            body.release()
            memory.resize(size)  # does nothing, but refuses as long as there is a reader
            self._free.setdefault(size, []).append(memory)
            self.kept += size
            self._clear_later()

    def clear(self) -> None:
        """Give everything back to the system."""
        self._free.clear()
        self.kept = 0

    def _clear_later(self) -> None:
        if self._clearing is None:
            self._clearing = asyncio.get_running_loop().call_later(self._keep_seconds, self._clear_now)

    def _clear_now(self) -> None:
        self._clearing = None
        self.clear()


class Room:
    """For one part of at most `size` bytes. A few are only bytes: what is not large needs no mapping.

    One that `grows` takes little more than what it is filled with.
    """

    __slots__ = ("_bytes", "_grows", "_is_used", "_mapping", "_rooms", "_size", "filled")

    def __init__(self, size: int, rooms: Rooms, *, grows: bool = False) -> None:
        self.filled = 0
        self._grows = grows
        self._size = size
        self._rooms = rooms
        self._bytes: bytes | bytearray = b""
        self._mapping: mmap.mmap | None = None
        self._is_used = False

    def take(self, chunk: bytes) -> bytes:
        """Keep what fits; return the rest."""
        missing = self._size - self.filled
        fitting, rest = (chunk, b"") if len(chunk) <= missing else (chunk[:missing], chunk[missing:])
        if not self.filled:
            self._bytes = fitting
        elif fitting:
            self._add(fitting)
        self.filled += len(fitting)
        return rest

    def body(self) -> Body:
        """What was taken; the very chunk if it was one."""
        if self._mapping is not None:
            return memoryview(self._mapping)[: self.filled]
        return self._bytes if isinstance(self._bytes, bytes) else memoryview(self._bytes)

    @property
    def taken(self) -> int:
        """The memory that it takes: of a new mapping only the pages that were filled."""
        if self._mapping is None:
            return self.filled
        whole = len(self._mapping)
        step = _PAGE_BYTES if whole >= _PAGE_BYTES and not self._grows else STEP_BYTES
        return whole if self._is_used else min(whole, -(-self.filled // step) * step)

    def shrink(self) -> int:
        """Give the system what is not filled, and grow from now on. Returns the memory that it may take until then."""
        self._grows = True
        if self._mapping is None:
            return max(STEP_BYTES, room_bytes(self.filled))  # the first chunk is kept as it is
        self._is_used = False
        if (end := self.taken) < len(self._mapping):
            for advice in ("MADV_NOHUGEPAGE", "MADV_DONTNEED"):
                if hasattr(mmap, advice):
                    with suppress(OSError):  # a kernel without large pages
                        self._mapping.madvise(getattr(mmap, advice), end)
        return end

    def drop(self) -> None:
        """Forget the bytes."""
        self._bytes, self._mapping = b"", None

    def _add(self, fitting: bytes) -> None:
        end = self.filled + len(fitting)
        if self._mapping is None and end <= STEP_BYTES:
            if isinstance(self._bytes, bytes):
                self._bytes = bytearray(self._bytes)
            self._bytes += fitting
            return
        if self._mapping is None:
            self._mapping, self._is_used = self._rooms.take(self._size, grows=self._grows)
            self._mapping[: self.filled] = self._bytes
            self._bytes = b""
        self._mapping[self.filled : end] = fitting


def _mapped(size: int, *, large_pages: bool) -> mmap.mmap:
    """Python's default would be shared memory, made page by page of 4 KiB: more work than hashing what is put in."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if large_pages and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
