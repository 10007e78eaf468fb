"""PUT /files/{key}: keys, metadata, and keys that have a file. Each refused one leaves nothing."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from file.logic.values import MAX_KEY_BYTES, MiB
from testkit.memorybucket import MemoryBucket
from tests.unit.api.expectations import PART, Shared, assert_everywhere, assert_problem, memory_service, three
from tests.unit.api.rawhttp import exchange, head, put, put_in_chunks

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL, LARGE = b"small", b"x" * (3 * PART + 1)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART, 3 * PART + 1])
async def test_accounts_have_the_bytes_when_the_size_is_around_a_part(shared: Shared, size: int, chunked: bool) -> None:
    content = hashlib.shake_256(str(size).encode()).digest(size)
    answer = await (put_in_chunks(shared, "k", content, 1000) if chunked else put(shared, "k", content))
    receipt = shared.assert_stored(answer, content)
    assert (receipt["key"], receipt["size"]) == ("k", size)
    assert receipt["sha256"] == hashlib.sha256(content).hexdigest()


async def test_the_file_is_empty_when_the_request_has_no_body(shared: Shared) -> None:
    assert shared.assert_stored(await exchange(shared, head("PUT", "/files/k")), b"")["key"] == "k"


async def test_the_first_part_leaves_when_the_last_byte_has_not_arrived() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * (9 * MiB)
        async with asyncio.timeout(10):
            for bucket in service.buckets:
                await bucket.first_part.wait()
        yield b"last"

    async with memory_service(max_request_bytes=0) as service, service.client() as client:
        answer = await client.put("/files/long/one", content=body())
    assert service.assert_stored(answer, b"x" * (9 * MiB) + b"last")["key"] == "long/one"


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        *[("a//b", "a//b"), ("a+b%2Bc", "a+b+c"), ("a%2Fb", "a/b"), ("a%20b", "a b"), ("ü/空", "ü/空")],
        *[("a%5Cb", "a\\b"), ("...", "..."), ("a/.b/..c", "a/.b/..c")],
        ("%C3%BC/%c3%b1%20%E7%A9%BA%20+&%3F=%2541%23x", "ü/ñ 空 +&?=%41#x"),
        ("k" * MAX_KEY_BYTES, "k" * MAX_KEY_BYTES),
        (quote("ü" * (MAX_KEY_BYTES // 2)), "ü" * (MAX_KEY_BYTES // 2)),
    ],
)
async def test_the_key_is_what_the_path_says_when_it_can_be_used(shared: Shared, raw: str, key: str) -> None:
    answer = await put(shared, raw)
    assert answer.status_code == 201, answer.body
    assert answer.json()["key"] == key
    assert all(set(bucket.objects) == {key} for bucket in shared.buckets)


@pytest.mark.parametrize(
    "raw",
    [
        *["", "%", "%zz", "a%2", "a%4x", "%ff", "%C3%28", "%ED%A0%80", "%C0%AF"],
        *[".", "..", "../k", "a/../b", "a/./b", "a/..", "%2e%2e/k", "a/%2E%2e/b", "a/%2E", "a%2F..%2Fb"],
        *["%00", "a%0Ab", "%0A", "a%0D%0Ab", "a%1F", "a%7F", "a%C2%85b", "a%EF%BF%BE"],
        *["a/", "/", "a%2F", "k" * (MAX_KEY_BYTES + 1), quote("ü" * (MAX_KEY_BYTES // 2) + "k")],
        *["a?b", "?versionId=1"],
    ],
)
async def test_the_key_is_refused_when_stores_would_not_keep_it_as_it_is(shared: Shared, raw: str) -> None:
    assert_problem(await put(shared, raw), 400, "key_refused")
    shared.assert_nothing_left()


@pytest.mark.parametrize("target", ["/%66iles/k", "/files%2Fk", "/%2e/files/k", "/files"])
async def test_nothing_is_stored_when_the_path_is_spelt_in_an_unusual_way(shared: Shared, target: str) -> None:
    answer = await exchange(shared, head("PUT", target, "content-length: 1"), b"x")
    assert answer.status_code in {400, 404, 405}
    shared.assert_nothing_left()


async def test_the_key_is_refused_when_the_longest_prefix_leaves_no_room() -> None:
    longest = MAX_KEY_BYTES - 300
    async with memory_service([MemoryBucket("A"), MemoryBucket("B", prefix="ü/" * 100)]) as service:
        answer = await put(service, "k" * (longest + 1))
        assert_problem(answer, 400, "key_refused")
        assert str(longest) in answer.json()["detail"]
        service.assert_nothing_left()
        assert (await put(service, "k" * longest)).status_code == 201


async def test_type_and_metadata_are_kept_when_they_are_sent(shared: Shared) -> None:
    fields = ["content-type: image/png", "X-Amz-Meta-Colour: light  blue ", "x-amz-meta-empty:", "x-amz-meta-a: 1"]
    answer = await put(shared, "k", b"x", *fields, "x-amz-meta-a: 2")
    assert shared.assert_stored(answer, b"x")["type"] == "image/png"
    for bucket in shared.buckets:
        kept = bucket.objects["k"]
        ours = {name: value for name, value in kept.metadata.items() if not name.startswith("mentum-")}
        assert ours == {"colour": "light  blue", "empty": "", "a": "1,2"}
        assert kept.content_type == "image/png"


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("x-amz-meta-a: " + "v" * 2048, "bytes, names and values together"),
        ("x-amz-meta-mentum-file-id: 1", "reserved"),
        ("X-Amz-Meta-Mentum-Other: 1", "reserved"),
        ("x-amz-meta-a: ü", "ASCII"),
        (b"x-amz-meta-a: \xff", "ASCII"),
        ("x-amz-meta-: v", "not an HTTP token"),
    ],
)
@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_metadata_is_refused_when_stores_would_not_keep_it(
    shared: Shared, field: str | bytes, word: str, content: bytes
) -> None:
    answer = await put(shared, "k", content, field)
    assert_problem(answer, 400, "metadata_refused")
    assert word in answer.json()["detail"]
    shared.assert_nothing_left()


async def test_a_part_of_a_file_is_refused_when_content_range_is_sent(shared: Shared) -> None:
    answer = await put(shared, "k", SMALL, "content-range: bytes 0-4/10")
    assert_problem(answer, 400, "malformed_request")
    shared.assert_nothing_left()


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_the_first_file_stays_when_its_key_is_wanted_again(shared: Shared, content: bytes) -> None:
    assert (await put(shared, "k", content)).status_code == 201
    again = await put(shared, "k", content)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    for another in (SMALL + b"er", LARGE + b"r"):
        assert_problem(await put(shared, "k", another), 409, "key_taken")
        assert_everywhere(shared.buckets, "k", content)
    shared.assert_no_memory_held()


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_one_wins_when_two_uploads_go_to_one_key_at_once(content: bytes) -> None:
    async with memory_service(three(stalls_at_put=1, stalls_at_begin=1), part_size=PART) as service:
        slow = service.buckets[1]
        first = asyncio.ensure_future(put(service, "k", content))
        await asyncio.wait_for(slow.stalled.wait(), 10)
        refused = await put(service, "k", b"other")
        assert_problem(refused, 409, "key_busy")
        assert refused.headers["retry-after"]
        slow.released.set()
        service.assert_stored(await first, content)
        service.assert_no_memory_held()
