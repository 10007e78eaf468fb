"""Chunks become parts: the same parts and digests for any chunks, and never more memory than was reserved."""

import asyncio
import hashlib
import itertools
from collections.abc import AsyncIterator, Sequence

import pytest
from awscrt.checksums import crc64nvme
from hypothesis import given, settings
from hypothesis import strategies as st

from file.logic.errors import BusyError, ClientGoneError, DigestMismatchError, FileTooLargeError, SizeMismatchError
from file.logic.memory.budget import Budget
from file.logic.parts import PartReader, part_size_of
from file.logic.values import MAX_FILE_BYTES, MAX_PARTS, DeclaredDigest, Digests, Identity, IncomingFile, Limits, MiB

PART = 64
LIMITS = Limits(memory=8 * PART, part_size=PART, wait_seconds=0.05)


async def arriving(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def reader_of(
    chunks: Sequence[bytes] | AsyncIterator[bytes],
    *,
    size: int | None = None,
    at_most: int | None = None,
    sha256: bytes | None = None,
    budget: Budget | None = None,
) -> PartReader:
    file = IncomingFile(
        id="id",
        chunks=chunks if isinstance(chunks, AsyncIterator) else arriving(chunks),
        identify=lambda: Identity("k", "k"),
        size=size,
        at_most=at_most,
        declared=() if sha256 is None else (DeclaredDigest("sha-256", sha256, "a test"),),
    )
    return PartReader(file, LIMITS, budget or Budget(LIMITS.memory))


async def read(reader: PartReader, budget: Budget) -> tuple[list[bytes], Digests]:
    """All parts, each released before the next; the reserved memory must suffice for each."""
    bodies: list[bytes] = []
    while (shared := await reader.next()) is not None:
        part = shared.part
        assert part.number == len(bodies) + 1
        assert part.crc64nvme == crc64nvme(bytes(part.body))
        assert len(part.body) <= budget.used <= budget.largest_part
        bodies.append(bytes(part.body))
        shared.release()
        assert budget.used == 0
        assert len(bodies) <= MAX_PARTS
    return bodies, reader.digests()


@st.composite
def chunked_contents(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A content whose size is often near the borders of parts, and some way to cut it into chunks."""
    near = st.builds(lambda parts, more: max(0, parts * PART + more), st.integers(0, 6), st.integers(-2, 2))
    size = draw(st.one_of(near, st.integers(0, 6 * PART)))
    content = hashlib.shake_128(str(size).encode()).digest(size)
    borders = [0, *sorted(draw(st.lists(st.integers(0, size), max_size=20))), size]
    return content, [content[start:end] for start, end in itertools.pairwise(borders)]


@given(chunked_contents(), st.sampled_from(["declared", "unknown", "bounded"]), st.integers(0, 3 * PART))
@settings(max_examples=300, deadline=None)
def test_parts_and_digests_are_the_same_when_the_bytes_come_in_any_chunks(
    given_content: tuple[bytes, list[bytes]], kind: str, slack: int
) -> None:
    content, chunks = given_content
    size = len(content) if kind == "declared" else None
    at_most = {"declared": len(content), "bounded": len(content) + slack, "unknown": None}[kind]

    async def compare() -> None:
        budget, other = Budget(LIMITS.memory), Budget(LIMITS.memory)
        bodies, digests = await read(reader_of(chunks, size=size, at_most=at_most, budget=budget), budget)
        in_one = [content] if content else []
        whole, same = await read(reader_of(in_one, size=size, at_most=at_most, budget=other), other)
        assert bodies == whole
        assert digests == same
        assert digests == Digests(len(content), hashlib.sha256(content).digest(), crc64nvme(content))
        assert b"".join(bodies) == content
        assert all(len(body) == PART for body in bodies[:-1])
        assert bodies == [b""] or all(bodies)

    asyncio.run(compare())


@given(chunked_contents(), st.integers(-3 * PART, 3 * PART).filter(bool))
@settings(max_examples=200, deadline=None)
def test_the_file_is_refused_when_it_is_not_of_the_declared_size(
    given_content: tuple[bytes, list[bytes]], difference: int
) -> None:
    content, chunks = given_content
    declared = len(content) + difference
    if declared < 0:
        return

    async def refuse() -> None:
        budget = Budget(LIMITS.memory)
        with pytest.raises(SizeMismatchError):
            await read(reader_of(chunks, size=declared, budget=budget), budget)
        assert budget.used == 0

    asyncio.run(refuse())


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 5 * PART])
async def test_the_file_is_refused_when_its_digest_differs(size: int) -> None:
    budget = Budget(LIMITS.memory)
    with pytest.raises(DigestMismatchError):
        await read(reader_of([b"x" * size], sha256=bytes(32), budget=budget), budget)
    assert budget.used == 0


@pytest.mark.parametrize("got", [0, 1, PART, 3 * PART + 1])
async def test_the_memory_is_released_when_the_client_disconnects(got: int) -> None:
    budget = Budget(LIMITS.memory)

    async def stopping() -> AsyncIterator[bytes]:
        if got:
            yield b"x" * got
        raise ClientGoneError

    with pytest.raises(ClientGoneError):
        await read(reader_of(stopping(), size=5 * PART, budget=budget), budget)
    assert budget.used == 0


async def test_the_memory_is_released_when_reading_is_cancelled() -> None:
    budget = Budget(LIMITS.memory)
    begun = asyncio.Event()

    async def hanging() -> AsyncIterator[bytes]:
        yield b"x"
        begun.set()
        await asyncio.Event().wait()

    reading = asyncio.ensure_future(reader_of(hanging(), size=PART, budget=budget).next())
    await asyncio.wait_for(begun.wait(), 5)
    assert budget.used == PART
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert budget.used == 0


async def test_the_first_part_waits_a_while_and_later_ones_as_long_as_it_takes_when_memory_is_short() -> None:
    budget = Budget(LIMITS.memory)
    *_, last = [await budget.claim(PART) for _ in range(LIMITS.memory // PART)]
    with pytest.raises(BusyError):
        await reader_of([b"x"], budget=budget).next()
    last.release()
    reader = reader_of([b"x" * 2 * PART], budget=budget)
    first = await reader.next()
    second = asyncio.ensure_future(reader.next())
    await asyncio.sleep(2 * LIMITS.wait_seconds)
    assert not second.done()
    assert first is not None
    first.release()
    assert await asyncio.wait_for(second, 5) is not None


async def test_the_part_is_kept_until_the_last_holder_releases_it() -> None:
    budget = Budget(LIMITS.memory)
    shared = await reader_of([b"x" * PART], budget=budget).next()
    assert shared is not None
    shared.hold(3)
    for held in (PART, PART, 0):
        assert bytes(shared.part.body) == b"x" * PART
        shared.release()
        assert budget.used == held


@given(st.integers(0, MAX_FILE_BYTES))
def test_ten_thousand_parts_suffice_when_the_size_is_known(size: int) -> None:
    part = part_size_of(1, size, Limits(), 1 << 50)
    assert part >= Limits().part_size
    assert part % MiB == 0
    assert -(-size // part) <= MAX_PARTS
    assert part == Limits().part_size or -(-size // (part - MiB)) > MAX_PARTS  # no larger than it must be
    assert {part_size_of(number, size, Limits(), 1 << 50) for number in (2, 999, 1001, MAX_PARTS)} == {part}


@given(st.integers(8 * MiB, 1 << 40))
def test_parts_grow_up_to_the_largest_when_the_size_is_unknown(largest: int) -> None:
    sizes = [part_size_of(number, None, Limits(), largest) for number in range(1, MAX_PARTS + 1, 50)]
    assert sizes == sorted(sizes)
    assert sizes[0] == Limits().part_size
    assert sizes[-1] <= largest


async def test_the_file_is_refused_when_its_parts_would_be_too_large() -> None:
    budget = Budget(LIMITS.memory)
    for size in (budget.largest_part * MAX_PARTS + 1, MAX_FILE_BYTES + 1):
        with pytest.raises(FileTooLargeError):
            await reader_of([], size=size, budget=budget).next()
    with pytest.raises(FileTooLargeError):
        await reader_of([], at_most=MAX_FILE_BYTES + 1, budget=budget).next()
    assert budget.used == 0


class Arriving:
    """A body that can be read in both ways, in pieces of this size. It waits after the first one until it `goes_on`."""

    def __init__(self, content: bytes, piece_bytes: int) -> None:
        self.into = 0
        self.size = len(content)
        self.waits, self.goes_on = asyncio.Event(), asyncio.Event()
        self._content = content
        self._piece_bytes = piece_bytes
        self._read = 0

    def _next(self, most: int) -> bytes:
        piece = self._content[self._read : self._read + min(most, self._piece_bytes)]
        self._read += len(piece)
        return piece

    async def chunks(self) -> AsyncIterator[bytes]:
        while piece := self._next(self._piece_bytes):
            yield piece

    async def read_into(self, memory: memoryview) -> int:
        if self._read:
            self.waits.set()
            await self.goes_on.wait()
        piece = self._next(len(memory))
        memory[: len(piece)] = piece
        self.into += len(piece)
        return len(piece)


async def parts_of(arriving: Arriving, budget: Budget) -> tuple[list[bytes], Digests]:
    file = IncomingFile(
        id="id",
        chunks=arriving.chunks(),
        read_into=arriving.read_into,
        identify=lambda: Identity("k", "k"),
        size=arriving.size,
    )
    reader, bodies = PartReader(file, Limits(memory=budget.total, part_size=MiB), budget), []
    while (part := await reader.next()) is not None:
        bodies.append(bytes(part.part.body))
        part.release()
    return bodies, reader.digests()


@pytest.mark.parametrize("piece_bytes", [100_000, 2 * MiB])
async def test_the_parts_are_the_same_when_the_bytes_arrive_in_their_memory(piece_bytes: int) -> None:
    content = bytes(range(256)) * (5 * MiB // 512)
    arriving = Arriving(content, piece_bytes)
    arriving.goes_on.set()
    bodies, digests = await parts_of(arriving, Budget(32 * MiB))
    assert b"".join(bodies) == content
    assert [len(body) for body in bodies] == [MiB, MiB, MiB // 2]
    assert digests.sha256 == hashlib.sha256(content).digest()
    assert arriving.into == len(content)


async def test_the_part_is_the_same_when_its_memory_is_taken_back_meanwhile() -> None:
    content = bytes(range(256)) * (MiB // 256)
    arriving, budget = Arriving(content, 100_000), Budget(4 * MiB, grace_seconds=0.01)
    others = await budget.claim(5 * MiB // 2)
    reading = asyncio.ensure_future(parts_of(arriving, budget))
    await arriving.waits.wait()
    another = await asyncio.wait_for(budget.claim(MiB), 10)  # gets what the first piece did not fill
    another.release()
    others.release()
    arriving.goes_on.set()
    assert (await reading)[0] == [content]
    assert 0 < arriving.into < len(content)
