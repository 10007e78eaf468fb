"""The memory of parts. Bytes arrive in the buffer of their part, or are copied there as they arrive, so that no part is
in memory twice.

Buffers of 256 KiB and more are mapped memory, private and in large pages if the system has them; a heap would get
gaps. Used memory is kept for the next parts for some seconds, because the system fills new memory with zeros, which
was a tenth of the cost of an upload. Leaves to others: how much memory may be used (`budget.py`).
"""

import asyncio
import mmap
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from file.logic.values import Body, KiB, MiB

# From this size on memory is mapped, and counted in multiples of this size.
STEP_BYTES = 256 * KiB
_PAGE_BYTES = 2 * MiB
_KEEP_SECONDS = 10.0
_LARGEST_WINDOW_BYTES = 1 * MiB


def buffer_bytes(size: int) -> int:
    """The most memory that a buffer for `size` bytes takes. Mapped memory has few sizes, so that it can be reused."""
    if size < STEP_BYTES:
        return size
    return -(-size // STEP_BYTES) * STEP_BYTES


class Buffers:
    """Mapped memory that parts gave back, kept for at most `keep_seconds`. `spare` says how many bytes may be kept.
    Belongs to one event loop.
    """

    def __init__(self, spare: Callable[[], int], *, keep_seconds: float = _KEEP_SECONDS) -> None:
        self.kept = 0
        self._spare = spare
        self._keep_seconds = keep_seconds
        self._free: dict[int, list[mmap.mmap]] = {}
        self._clearing: asyncio.TimerHandle | None = None

    def take(self, size: int, *, grows: bool = False) -> tuple[mmap.mmap, bool]:
        """Memory of `buffer_bytes(size)`, and whether it was used before. The caller has reserved all of it; or, if it
        `grows`, a part of it: then the memory is new and in small pages, so that only filled pages count.
        """
        size = buffer_bytes(size)
        if not grows and (free := self._free.get(size)):
            self.kept -= size
            return free.pop(), True
        self.fit()
        return _mapped(size, large_pages=size >= _PAGE_BYTES and not grows), False

    def fit(self) -> None:
        """Gives memory back to the system if more is kept than allowed."""
        if self.kept > self._spare():
            self.clear()

    def give_back(self, body: Body) -> None:
        """Takes the memory of a part that was sent. It is kept only if it has no reader: the HTTP client may still hold
        the body of a cancelled request.
        """
        if not isinstance(body, memoryview) or not isinstance(memory := body.obj, mmap.mmap):
            return
        size = len(memory)
        if self.kept + size > self._spare():
            return
        with suppress(BufferError, SystemError):  # SystemError if the system cannot resize mappings
            body.release()
            memory.resize(size)  # changes nothing, but raises while there is a reader
            self._free.setdefault(size, []).append(memory)
            self.kept += size
            if self._clearing is None:
                self._clearing = asyncio.get_running_loop().call_later(self._keep_seconds, self._clear_now)

    def clear(self) -> None:
        """Gives everything back to the system."""
        self._free.clear()
        self.kept = 0

    def _clear_now(self) -> None:
        self._clearing = None
        self.clear()


class Buffer:
    """The buffer of one part of at most `size` bytes. A small part is plain bytes, without mapped memory.

    A buffer that `grows` takes little more memory than its content.
    """

    __slots__ = ("_buffers", "_bytes", "_grows", "_is_used", "_lent", "_mapping", "_size", "_window", "filled")

    def __init__(self, size: int, buffers: Buffers, *, grows: bool = False) -> None:
        self.filled = 0
        self._lent = 0  # the end of the memory that `space` has given
        self._window = STEP_BYTES  # the most that it gives
        self._grows = grows
        self._size = size
        self._buffers = buffers
        self._bytes: bytes | bytearray = b""
        self._mapping: mmap.mmap | None = None
        self._is_used = False

    def take(self, chunk: bytes) -> bytes:
        """Keeps the bytes that fit, and returns the rest."""
        missing = self._size - self.filled
        fitting, rest = (chunk, b"") if len(chunk) <= missing else (chunk[:missing], chunk[missing:])
        if not self.filled:
            self._bytes = fitting
        elif fitting:
            self._add(fitting)
        self.filled += len(fitting)
        return rest

    def space(self) -> memoryview:
        """Memory for the next bytes, to be released before `fill` says how many there are."""
        self._map()
        self._lent = min(self._size, self.filled + self._window)
        return memoryview(cast(mmap.mmap, self._mapping))[self.filled : self._lent]

    def fill(self, size: int) -> None:
        """A fast client gets more space the next time, a slow one holds little of it."""
        is_fast = size == self._window
        self._window = min(2 * self._window, _LARGEST_WINDOW_BYTES) if is_fast else STEP_BYTES
        self.filled += size
        self._lent = 0

    def body(self) -> Body:
        """The content; if it was a single chunk, the chunk itself."""
        if self._mapping is not None:
            return memoryview(self._mapping)[: self.filled]
        return self._bytes if isinstance(self._bytes, bytes) else memoryview(self._bytes)

    @property
    def taken(self) -> int:
        """The memory in use: of new mapped memory only the filled pages."""
        if self._mapping is None:
            return self.filled
        whole = len(self._mapping)
        step = _PAGE_BYTES if whole >= _PAGE_BYTES and not self._grows else STEP_BYTES
        end = max(self.filled, self._lent)
        return whole if self._is_used else min(whole, -(-end // step) * step)

    def shrink(self) -> int:
        """Gives unfilled memory back to the system, and grows from now on. Returns what it takes at most then."""
        self._grows = True
        if self._mapping is None:
            return max(STEP_BYTES, buffer_bytes(self.filled))  # the first chunk is kept as it is
        self._is_used = False
        if (end := self.taken) < len(self._mapping):
            for advice in ("MADV_NOHUGEPAGE", "MADV_DONTNEED"):
                if hasattr(mmap, advice):
                    with suppress(OSError):  # a kernel without large pages
                        self._mapping.madvise(getattr(mmap, advice), end)
        return end

    def drop(self) -> None:
        self._bytes, self._mapping = b"", None

    def _add(self, fitting: bytes) -> None:
        end = self.filled + len(fitting)
        if self._mapping is None and end <= STEP_BYTES:
            if isinstance(self._bytes, bytes):
                self._bytes = bytearray(self._bytes)
            self._bytes += fitting
            return
        self._map()
        cast(mmap.mmap, self._mapping)[self.filled : end] = fitting

    def _map(self) -> None:
        if self._mapping is None:
            self._mapping, self._is_used = self._buffers.take(self._size, grows=self._grows)
            self._mapping[: self.filled] = self._bytes
            self._bytes = b""


def _mapped(size: int, *, large_pages: bool) -> mmap.mmap:
    """Python's default is shared memory, which the system makes in pages of 4 KiB: more work than hashing the bytes."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if large_pages and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
