"""The memory of parts: kept for the next part for a time, but never while something reads it."""

import asyncio
from typing import Any

import pytest

from file.logic.memory.budget import Budget
from file.logic.memory.buffers import Buffer, Buffers, buffer_bytes
from file.logic.values import Body, KiB, MiB


def filled(buffers: Buffers, size: int, letter: bytes) -> Body:
    buffer = Buffer(size, buffers)
    for _ in range(4):
        assert buffer.take(letter * (size // 4)) == b""
    return buffer.body()


def memory_of(body: Body) -> Any:
    assert isinstance(body, memoryview)
    return body.obj


def take(buffer: Buffer, letter: bytes) -> None:
    """300 KiB in three chunks."""
    for _ in range(3):
        buffer.take(letter * 100 * KiB)


@pytest.mark.parametrize(
    ("size", "takes"),
    [
        *((1, 1), (256 * KiB - 1, 256 * KiB - 1), (256 * KiB, 256 * KiB), (300 * KiB, 512 * KiB)),
        *((5 * MiB, 5 * MiB), (8 * MiB + 1, 8 * MiB + 256 * KiB)),
    ],
)
def test_a_buffer_is_little_larger_than_its_part(size: int, takes: int) -> None:
    assert buffer_bytes(size) == takes


async def test_the_memory_is_reused_when_a_part_was_sent() -> None:
    buffers = Buffers(lambda: 64 * MiB)
    first = filled(buffers, 5 * MiB, b"x")
    memory = memory_of(first)
    buffers.give_back(first)
    assert buffers.kept == 5 * MiB
    second = filled(buffers, 5 * MiB - 4, b"y")
    assert memory_of(second) is memory
    assert buffers.kept == 0
    assert bytes(second) == b"y" * (5 * MiB - 4)


async def test_the_memory_is_not_reused_while_something_reads_it() -> None:
    buffers = Buffers(lambda: 64 * MiB)
    of_the_part, of_the_memory = filled(buffers, MiB, b"x"), filled(buffers, MiB, b"x")
    readers = [memoryview(of_the_part), memoryview(memory_of(of_the_memory))]
    for part in (of_the_part, of_the_memory):
        buffers.give_back(part)
    assert buffers.kept == 0
    filled(buffers, MiB, b"y")
    assert all(bytes(reader) == b"x" * MiB for reader in readers)


async def test_only_memory_that_is_not_reserved_is_kept() -> None:
    budget = Budget(16 * MiB)
    await budget.claim(8 * MiB)
    for part in [filled(budget.buffers, 4 * MiB, b"x") for _ in range(3)]:
        budget.buffers.give_back(part)
    assert budget.buffers.kept == 8 * MiB
    await budget.claim(4 * MiB)
    filled(budget.buffers, 2 * MiB, b"x")
    assert budget.buffers.kept == 0


async def test_the_system_gets_the_memory_back_when_it_was_kept_for_a_while() -> None:
    buffers = Buffers(lambda: 64 * MiB, keep_seconds=0.01)
    buffers.give_back(filled(buffers, MiB, b"x"))
    assert buffers.kept == MiB
    async with asyncio.timeout(5):
        while buffers.kept:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)


async def test_a_small_body_takes_only_its_bytes_whatever_was_reserved() -> None:
    buffers = Buffers(lambda: 64 * MiB)
    one, several = Buffer(8 * MiB, buffers), Buffer(8 * MiB, buffers)
    one.take(b"x" * 3000)
    for _ in range(3):
        several.take(b"x" * 1000)
    for buffer in (one, several):
        assert bytes(buffer.body()) == b"x" * 3000
        assert buffer.taken == 3000
        buffers.give_back(buffer.body())
    assert buffers.kept == 0


async def test_new_memory_counts_by_its_filled_pages_and_used_memory_as_a_whole() -> None:
    buffers = Buffers(lambda: 64 * MiB)
    new, small = Buffer(8 * MiB, buffers), Buffer(MiB, buffers)
    take(new, b"x")
    take(small, b"x")
    assert (new.taken, small.taken) == (2 * MiB, 512 * KiB)
    body = new.body()
    new.drop()
    buffers.give_back(body)
    used = Buffer(8 * MiB, buffers)
    take(used, b"x")
    assert used.taken == 8 * MiB


async def test_a_growing_buffer_takes_what_is_filled_and_so_does_one_that_was_shrunk() -> None:
    buffers = Buffers(lambda: 64 * MiB)
    buffers.give_back(filled(buffers, 8 * MiB, b"x"))
    growing, shrinking = Buffer(8 * MiB, buffers, grows=True), Buffer(8 * MiB, buffers)
    for buffer in (growing, shrinking):
        take(buffer, b"y")
    assert (growing.taken, shrinking.taken) == (512 * KiB, 8 * MiB)  # the latter's memory was used before
    assert shrinking.shrink() == shrinking.taken == 512 * KiB
    for buffer in (growing, shrinking):
        take(buffer, b"z")
        assert buffer.taken == 768 * KiB
        assert bytes(buffer.body()) == b"y" * 300 * KiB + b"z" * 300 * KiB


@pytest.mark.parametrize("chunk", [1, 300 * KiB])
async def test_a_buffer_without_a_mapping_keeps_its_bytes_when_it_shrinks(chunk: int) -> None:
    buffer = Buffer(8 * MiB, Buffers(lambda: 64 * MiB))
    buffer.take(b"x" * chunk)
    assert buffer.shrink() == max(256 * KiB, buffer_bytes(chunk))
    assert bytes(buffer.body()) == b"x" * chunk


async def test_the_bytes_are_there_when_they_were_received_in_the_memory_of_the_part() -> None:
    buffer = Buffer(3 * MiB, Buffers(lambda: 64 * MiB))
    buffer.take(b"a" * 10)
    for letter in (b"b", b"c"):
        with buffer.space() as space:
            assert len(space) == 256 * KiB
            space[:10] = letter * 10
        buffer.fill(10)
    assert bytes(buffer.body()) == b"a" * 10 + b"b" * 10 + b"c" * 10
    buffer.fill(3 * MiB - 40)
    with buffer.space() as space:
        assert len(space) == 10


async def test_memory_that_is_being_received_into_is_not_given_back() -> None:
    buffer = Buffer(8 * MiB, Buffers(lambda: 64 * MiB))
    with buffer.space() as space:
        assert buffer.shrink() == 256 * KiB
        space[:] = b"x" * 256 * KiB
    buffer.fill(256 * KiB)
    assert bytes(buffer.body()) == b"x" * 256 * KiB


async def test_more_is_received_at_once_when_the_client_is_fast() -> None:
    buffer, spaces = Buffer(8 * MiB, Buffers(lambda: 64 * MiB)), []
    for share in (1, 1, 1, 1, 2, 1):
        with buffer.space() as space:
            spaces.append(len(space))
        buffer.fill(spaces[-1] // share)
    assert spaces == [256 * KiB, 512 * KiB, MiB, MiB, MiB, 256 * KiB]
