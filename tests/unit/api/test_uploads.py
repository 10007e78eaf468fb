"""Both ways in, over real HTTP, into memory buckets."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

from testkit.memorybucket import MemoryBucket
from tests.serving import running


def three() -> list[MemoryBucket]:
    return [MemoryBucket("A"), MemoryBucket("B"), MemoryBucket("C")]


async def test_a_form_is_stored_when_the_name_is_a_field_before_the_file() -> None:
    buckets = three()
    async with running(buckets) as service, service.client() as client:
        answer = await client.post("/upload", data={"filename": "X.bin"}, files={"file": ("y", b"content")})
    receipt = answer.json()
    assert answer.status_code == 201
    assert receipt["name"] == "X.bin"
    assert receipt["key"].endswith("-X.bin")
    assert receipt["sha256"] == hashlib.sha256(b"content").hexdigest()
    for bucket in buckets:
        assert bucket.objects[receipt["key"]].body == b"content"
        assert receipt["accounts"][bucket.account.name]["status"] == "stored"


async def test_the_first_part_leaves_when_the_last_byte_of_a_put_has_not_arrived() -> None:
    buckets = three()

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * (9 * 1024 * 1024)
        for bucket in buckets:
            await asyncio.wait_for(bucket.first_part.wait(), 10)
        yield b"last"

    async with running(buckets, max_request_bytes=0) as service, service.client() as client:
        answer = await client.put("/files/long/one", content=body())
    assert answer.status_code == 201, answer.text
    assert all(bucket.objects["long/one"].body.endswith(b"xlast") for bucket in buckets)
