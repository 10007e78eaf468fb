"""PUT /files/{key}: keys, metadata, and keys that have a file. Each refused one leaves nothing."""

import asyncio
import hashlib
from urllib.parse import quote

import pytest

from file.logic.values import MAX_KEY_BYTES
from testkit.memorybucket import MemoryBucket
from tests.serving import running
from tests.unit.api.expectations import (
    PART,
    Shared,
    assert_everywhere,
    assert_nothing_left,
    assert_problem,
    three,
)
from tests.unit.api.rawhttp import exchange, head, in_chunks, put

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL, LARGE = b"small", b"x" * (3 * PART + 1)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART, 3 * PART + 1])
async def test_every_account_has_the_bytes_when_the_size_is_around_a_part(
    shared: Shared, size: int, chunked: bool
) -> None:
    content = hashlib.shake_256(str(size).encode()).digest(size)
    if chunked:
        answer = await exchange(
            shared.service, head("PUT", "/files/k", "transfer-encoding: chunked"), *in_chunks(content, 1000)
        )
    else:
        answer = await put(shared.service, "k", content)
    assert answer.status_code == 201, answer.body
    receipt = answer.json()
    assert (receipt["key"], receipt["size"]) == ("k", size)
    assert receipt["sha256"] == hashlib.sha256(content).hexdigest()
    assert_everywhere(shared.buckets, "k", content)


async def test_the_file_is_empty_when_the_request_has_no_body(shared: Shared) -> None:
    assert (await exchange(shared.service, head("PUT", "/files/k"))).status_code == 201
    assert_everywhere(shared.buckets, "k", b"")


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("a//b", "a//b"),
        ("a+b%2Bc", "a+b+c"),
        ("a%2Fb", "a/b"),
        ("a%20b", "a b"),
        ("%C3%BC/%c3%b1%20%E7%A9%BA%20+&%3F=%2541%23x", "ü/ñ 空 +&?=%41#x"),
        ("ü/空", "ü/空"),
        ("a%5Cb", "a\\b"),
        ("...", "..."),
        ("a/.b/..c", "a/.b/..c"),
        ("k" * MAX_KEY_BYTES, "k" * MAX_KEY_BYTES),
        (quote("ü" * (MAX_KEY_BYTES // 2)), "ü" * (MAX_KEY_BYTES // 2)),
    ],
)
async def test_the_key_is_what_the_path_says_when_it_can_be_used(shared: Shared, raw: str, key: str) -> None:
    answer = await put(shared.service, raw)
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
    assert_problem(await put(shared.service, raw), 400, "key_refused")
    shared.assert_nothing_left()


@pytest.mark.parametrize("target", ["/%66iles/k", "/files%2Fk", "/%2e/files/k", "/files"])
async def test_nothing_is_stored_when_the_path_is_spelt_in_an_unusual_way(shared: Shared, target: str) -> None:
    answer = await exchange(shared.service, head("PUT", target, "content-length: 1"), b"x")
    assert answer.status_code in {400, 404, 405}
    shared.assert_nothing_left()


async def test_the_key_is_refused_when_the_longest_prefix_leaves_no_room() -> None:
    buckets = [MemoryBucket("A"), MemoryBucket("B", prefix="ü/" * 100)]
    longest = MAX_KEY_BYTES - 300
    async with running(buckets) as service:
        answer = await put(service, "k" * (longest + 1))
        assert_problem(answer, 400, "key_refused")
        assert str(longest) in answer.json()["detail"]
        assert_nothing_left(service, buckets)
        assert (await put(service, "k" * longest)).status_code == 201


async def test_type_and_metadata_are_kept_when_they_are_sent(shared: Shared) -> None:
    fields = ["content-type: image/png", "X-Amz-Meta-Colour: light  blue ", "x-amz-meta-empty:", "x-amz-meta-a: 1"]
    answer = await put(shared.service, "k", b"x", *fields, "x-amz-meta-a: 2")
    assert answer.status_code == 201
    assert answer.json()["type"] == "image/png"
    for bucket in shared.buckets:
        kept = bucket.objects["k"]
        ours = {name: value for name, value in kept.metadata.items() if not name.startswith("mentum-")}
        assert ours == {"colour": "light  blue", "empty": "", "a": "1,2"}
        assert kept.content_type == "image/png"


@pytest.mark.parametrize(
    ("field", "told"),
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
    shared: Shared, field: str | bytes, told: str, content: bytes
) -> None:
    answer = await put(shared.service, "k", content, field)
    assert_problem(answer, 400, "metadata_refused")
    assert told in answer.json()["detail"]
    shared.assert_nothing_left()


async def test_a_part_of_a_file_is_refused_when_content_range_is_sent(shared: Shared) -> None:
    answer = await put(shared.service, "k", SMALL, "content-range: bytes 0-4/10")
    assert_problem(answer, 400, "malformed_request")
    shared.assert_nothing_left()


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_the_first_file_stays_when_its_key_is_wanted_again(shared: Shared, content: bytes) -> None:
    assert (await put(shared.service, "k", content)).status_code == 201
    again = await put(shared.service, "k", content)
    assert again.status_code == 200
    assert again.headers["idempotent-replayed"] == "true"
    for another in (SMALL + b"er", LARGE + b"r"):
        assert_problem(await put(shared.service, "k", another), 409, "key_taken")
        assert_everywhere(shared.buckets, "k", content)
    assert shared.service.application.uploads.budget.used == 0


@pytest.mark.parametrize("content", [SMALL, LARGE])
async def test_one_wins_when_two_uploads_go_to_one_key_at_once(content: bytes) -> None:
    buckets = three(stalls_at_put=1, stalls_at_begin=1)
    async with running(buckets, part_size=PART) as service:
        first = asyncio.ensure_future(put(service, "k", content))
        await asyncio.wait_for(buckets[1].stalled.wait(), 10)
        refused = await put(service, "k", b"other")
        assert_problem(refused, 409, "key_busy")
        assert refused.headers["retry-after"]
        buckets[1].released.set()
        assert (await first).status_code == 201
        assert_everywhere(buckets, "k", content)
        assert service.application.uploads.budget.used == 0
