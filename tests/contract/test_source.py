"""What `Source` promises (file/logic/ports.py), asked of the memory bucket and of real S3."""

import dataclasses

import pytest

from file.logic.errors import ReplicaMissingError
from file.logic.naming import new_file_id
from file.logic.values import KiB, Stored
from tests.contract.conftest import PREFIX, Inside
from tests.files import PART_BYTES, bytes_of, described, digests_of, part_of, parts_of

CONTENT = bytes_of(200 * KiB)
LARGEST_PIECE = 256 * KiB
KEYS = ["k", "ü/ñ 空 +&?=%41#x", "a//b"]


async def stored(inside: Inside, content: bytes = CONTENT, key: str = "k") -> tuple[Stored, str]:
    """Where it lies, and its id."""
    description = described(key)
    return await inside.bucket.put(description, part_of(content)), description.file_id


async def read(inside: Inside, where: Stored, file_id: str, start: int, stop: int, size: int) -> bytes:
    received = []
    async with inside.bucket.read(where, file_id=file_id, start=start, stop=stop, size=size) as pieces:
        async for piece in pieces:
            assert 0 < len(piece) <= LARGEST_PIECE
            received.append(piece)
    return b"".join(received)


@pytest.mark.parametrize("key", KEYS)
async def test_the_bytes_come_when_the_object_is_there(inside: Inside, key: str) -> None:
    where, file_id = await stored(inside, key=key)
    size = len(CONTENT)
    for start, stop in ((0, size), (0, 1), (5, 70_000), (size - 1, size), (0, size - 1), (1, size), (7, 7)):
        assert await read(inside, where, file_id, start, stop, size) == CONTENT[start:stop]


async def test_the_bytes_come_when_the_object_was_sent_in_parts(inside: Inside) -> None:
    content, description = bytes_of(PART_BYTES + 1), described()
    upload = await inside.bucket.begin(description)
    for part in parts_of(content):
        await upload.send(part)
    where = await upload.complete(digests_of(content))
    size = len(content)
    assert await read(inside, where, description.file_id, 0, size, size) == content
    assert await read(inside, where, description.file_id, PART_BYTES - 2, size, size) == content[-3:]


async def test_nothing_comes_when_the_object_is_empty(inside: Inside) -> None:
    where, file_id = await stored(inside, b"")
    assert await read(inside, where, file_id, 0, 0, 0) == b""


async def test_reading_ends_when_the_reader_leaves_before_the_end(inside: Inside) -> None:
    content = bytes_of(PART_BYTES)
    where, file_id = await stored(inside, content)
    async with inside.bucket.read(where, file_id=file_id, start=0, stop=len(content), size=len(content)) as pieces:
        assert content.startswith(await anext(aiter(pieces)))
    assert await read(inside, where, file_id, 0, 3, len(content)) == content[:3]


@pytest.mark.parametrize(("start", "stop"), [(0, len(CONTENT)), (5, 9), (0, 0)])
async def test_it_is_missing_when_the_key_has_nothing_or_another_object(inside: Inside, start: int, stop: int) -> None:
    where, file_id = await stored(inside)
    size = len(CONTENT)
    wrong = [
        (dataclasses.replace(where, object_key=f"{PREFIX}nothing"), file_id, size),
        (where, new_file_id(), size),
        (dataclasses.replace(where, etag='"0123456789abcdef0123456789abcdef"'), file_id, size),
        (where, file_id, size + 1),
    ]
    for elsewhere, whose, how_large in wrong:
        with pytest.raises(ReplicaMissingError):
            await read(inside, elsewhere, whose, start, stop, how_large)


@pytest.mark.parametrize("method", ["whole", "part", "head"])
async def test_it_is_missing_when_an_equal_object_of_somebody_elses_is_there(inside: Inside, method: str) -> None:
    where, file_id = await stored(inside)
    inside.delete(f"{PREFIX}k")
    inside.put(f"{PREFIX}k", CONTENT)
    if where.version_id is not None:  # ours is still there, behind the other's
        where = dataclasses.replace(where, version_id=None)
    start, stop = {"whole": (0, len(CONTENT)), "part": (5, 9), "head": (0, 0)}[method]
    with pytest.raises(ReplicaMissingError):
        await read(inside, where, file_id, start, stop, len(CONTENT))


async def test_our_version_comes_when_the_bucket_keeps_it_behind_anothers(inside: Inside) -> None:
    where, file_id = await stored(inside)
    inside.put(f"{PREFIX}k", b"another's")
    if where.version_id is None:
        with pytest.raises(ReplicaMissingError):
            await read(inside, where, file_id, 0, len(CONTENT), len(CONTENT))
    else:
        assert await read(inside, where, file_id, 0, len(CONTENT), len(CONTENT)) == CONTENT
