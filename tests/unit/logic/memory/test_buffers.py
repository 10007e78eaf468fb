"""The memory of parts: kept for the next one as long as it may be, and never while somebody reads it."""

import asyncio
from typing import Any

import pytest

from file.logic.memory.budget import Budget
from file.logic.memory.buffers import Room, Rooms, room_bytes
from file.logic.values import Body, KiB, MiB


def filled(rooms: Rooms, size: int, letter: bytes) -> Body:
    room = Room(size, rooms)
    for _ in range(4):
        assert room.take(letter * (size // 4)) == b""
    return room.body()


def memory_of(body: Body) -> Any:
    assert isinstance(body, memoryview)
    return body.obj


@pytest.mark.parametrize(
    ("size", "takes"),
    [
        (1, 1),
        (256 * KiB - 1, 256 * KiB - 1),
        (256 * KiB, 256 * KiB),
        (300 * KiB, 512 * KiB),
        (5 * MiB, 5 * MiB),
        (8 * MiB + 1, 8 * MiB + 256 * KiB),
    ],
)
def test_a_room_is_little_larger_than_what_it_is_for(size: int, takes: int) -> None:
    assert room_bytes(size) == takes


async def test_the_memory_is_used_again_when_a_part_was_sent() -> None:
    rooms = Rooms(lambda: 64 * MiB)
    first = filled(rooms, 5 * MiB, b"x")
    memory = memory_of(first)
    rooms.give_back(first)
    assert rooms.kept == 5 * MiB
    second = filled(rooms, 5 * MiB - 4, b"y")
    assert memory_of(second) is memory
    assert rooms.kept == 0
    assert bytes(second) == b"y" * (5 * MiB - 4)


async def test_the_memory_is_not_used_again_while_somebody_reads_it() -> None:
    rooms = Rooms(lambda: 64 * MiB)
    of_the_part, of_the_memory = filled(rooms, MiB, b"x"), filled(rooms, MiB, b"x")
    readers = [memoryview(of_the_part), memoryview(memory_of(of_the_memory))]
    for part in (of_the_part, of_the_memory):
        rooms.give_back(part)
    assert rooms.kept == 0
    filled(rooms, MiB, b"y")
    assert all(bytes(reader) == b"x" * MiB for reader in readers)


async def test_no_more_is_kept_than_nobody_has_reserved() -> None:
    budget = Budget(16 * MiB)
    await budget.claim(8 * MiB)
    for part in [filled(budget.rooms, 4 * MiB, b"x") for _ in range(3)]:
        budget.rooms.give_back(part)
    assert budget.rooms.kept == 8 * MiB
    await budget.claim(4 * MiB)
    filled(budget.rooms, 2 * MiB, b"x")
    assert budget.rooms.kept == 0


async def test_the_system_gets_it_back_when_it_was_kept_for_a_while() -> None:
    rooms = Rooms(lambda: 64 * MiB, keep_seconds=0.01)
    rooms.give_back(filled(rooms, MiB, b"x"))
    assert rooms.kept == MiB
    async with asyncio.timeout(5):
        while rooms.kept:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.01)


async def test_a_small_body_takes_no_more_than_its_bytes_whatever_was_reserved() -> None:
    rooms = Rooms(lambda: 64 * MiB)
    one, several = Room(8 * MiB, rooms), Room(8 * MiB, rooms)
    one.take(b"x" * 3000)
    for _ in range(3):
        several.take(b"x" * 1000)
    for room in (one, several):
        assert bytes(room.body()) == b"x" * 3000
        assert room.taken == 3000
        rooms.give_back(room.body())
    assert rooms.kept == 0


async def test_of_new_memory_the_filled_pages_count_and_of_used_memory_all_of_it() -> None:
    rooms = Rooms(lambda: 64 * MiB)
    new, small = Room(8 * MiB, rooms), Room(MiB, rooms)
    for room in (new, small):
        for _ in range(3):
            room.take(b"x" * 100 * KiB)
    assert (new.taken, small.taken) == (2 * MiB, 512 * KiB)
    body = new.body()
    new.drop()
    rooms.give_back(body)
    used = Room(8 * MiB, rooms)
    for _ in range(3):
        used.take(b"x" * 100 * KiB)
    assert used.taken == 8 * MiB


async def test_a_room_that_grows_takes_what_is_filled_and_one_that_shrinks_from_then_on() -> None:
    rooms = Rooms(lambda: 64 * MiB)
    first = filled(rooms, 8 * MiB, b"x")
    rooms.give_back(first)
    growing = Room(8 * MiB, rooms, grows=True)
    shrinking = Room(8 * MiB, rooms)
    for room in (growing, shrinking):
        for _ in range(3):
            room.take(b"y" * 100 * KiB)
    assert (growing.taken, shrinking.taken) == (512 * KiB, 8 * MiB)  # the latter's memory was used before
    assert shrinking.shrink() == shrinking.taken == 512 * KiB
    for room in (growing, shrinking):
        for _ in range(3):
            room.take(b"z" * 100 * KiB)
        assert room.taken == 768 * KiB
        assert bytes(room.body()) == b"y" * 300 * KiB + b"z" * 300 * KiB


@pytest.mark.parametrize("chunk", [1, 300 * KiB])
async def test_a_room_without_a_mapping_keeps_what_it_has_when_it_shrinks(chunk: int) -> None:
    room = Room(8 * MiB, Rooms(lambda: 64 * MiB))
    room.take(b"x" * chunk)
    assert room.shrink() == max(256 * KiB, room_bytes(chunk))
    assert bytes(room.body()) == b"x" * chunk
