"""What `Source` (file/logic/ports.py) promises: the memory bucket and real S3."""

import dataclasses
from contextlib import nullcontext

import pytest

from file.logic.errors import ReplicaMissingError
from file.logic.naming import new_file_id
from file.logic.values import KiB, Stored
from tests.contract.conftest import KEYS, LARGE, PREFIX, Inside, begun, put
from tests.files import PART_BYTES, bytes_of, described, digests_of

CONTENT = bytes_of(200 * KiB)
LARGEST_PIECE = 256 * KiB


async def read(inside: Inside, where: Stored, file_id: str, start: int, stop: int, size: int) -> bytes:
    received = []
    async with inside.bucket.read(where, file_id=file_id, start=start, stop=stop, size=size) as pieces:
        async for piece in pieces:
            assert 0 < len(piece) <= LARGEST_PIECE
            received.append(piece)
    return b"".join(received)


@pytest.mark.parametrize("key", KEYS)
async def test_the_bytes_come_when_the_object_is_there(inside: Inside, key: str) -> None:
    where, file = await put(inside, CONTENT, key)
    size = len(CONTENT)
    for start, stop in ((0, size), (0, 1), (5, 70_000), (size - 1, size), (0, size - 1), (1, size), (7, 7)):
        assert await read(inside, where, file.file_id, start, stop, size) == CONTENT[start:stop]


async def test_the_bytes_come_when_the_object_was_sent_in_parts(inside: Inside) -> None:
    description, size = described(), len(LARGE)
    where = await (await begun(inside.bucket, description)).complete(digests_of(LARGE))
    assert await read(inside, where, description.file_id, 0, size, size) == LARGE
    assert await read(inside, where, description.file_id, PART_BYTES - 2, size, size) == LARGE[-3:]


async def test_nothing_comes_when_the_object_is_empty(inside: Inside) -> None:
    where, file = await put(inside, b"")
    assert await read(inside, where, file.file_id, 0, 0, 0) == b""


async def test_reading_ends_when_the_reader_leaves_before_the_end(inside: Inside) -> None:
    content = bytes_of(PART_BYTES)
    where, file = await put(inside, content)
    async with inside.bucket.read(where, file_id=file.file_id, start=0, stop=len(content), size=len(content)) as pieces:
        assert content.startswith(await anext(aiter(pieces)))
    assert await read(inside, where, file.file_id, 0, 3, len(content)) == content[:3]


@pytest.mark.parametrize(("start", "stop"), [(0, len(CONTENT)), (5, 9), (0, 0)])
async def test_the_replica_is_missing_when_the_key_has_no_object_or_another(
    inside: Inside, start: int, stop: int
) -> None:
    where, file = await put(inside, CONTENT)
    size = len(CONTENT)
    wrong = [
        (dataclasses.replace(where, object_key=f"{PREFIX}nothing"), file.file_id, size),
        (where, new_file_id(), size),
        (dataclasses.replace(where, etag='"0123456789abcdef0123456789abcdef"'), file.file_id, size),
        (where, file.file_id, size + 1),
    ]
    for elsewhere, whose, how_large in wrong:
        with pytest.raises(ReplicaMissingError):
            await read(inside, elsewhere, whose, start, stop, how_large)


@pytest.mark.parametrize(("start", "stop"), [(0, len(CONTENT)), (5, 9), (0, 0)], ids=["whole", "part", "head"])
async def test_the_replica_is_missing_when_the_key_has_an_equal_object_of_another_owner(
    inside: Inside, start: int, stop: int
) -> None:
    where, file = await put(inside, CONTENT)
    inside.delete(f"{PREFIX}k")
    inside.put(f"{PREFIX}k", CONTENT)
    where = dataclasses.replace(where, version_id=None)  # an older version is still ours
    with pytest.raises(ReplicaMissingError):
        await read(inside, where, file.file_id, start, stop, len(CONTENT))


async def test_our_version_is_read_when_another_owner_wrote_a_newer_one(inside: Inside) -> None:
    where, file = await put(inside, CONTENT)
    inside.put(f"{PREFIX}k", b"another's")
    expected = pytest.raises(ReplicaMissingError) if where.version_id is None else nullcontext()
    with expected:
        assert await read(inside, where, file.file_id, 0, len(CONTENT), len(CONTENT)) == CONTENT
