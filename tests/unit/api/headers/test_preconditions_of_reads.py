"""Conditional requests and ranges: what RFC 9110 says, asked of `GET /files/{key}` over real HTTP."""

import hashlib

import pytest

from testkit.memorybucket import PIECE, MemoryBucket
from tests.files import bytes_of
from tests.readers import LAST_MODIFIED, Reader
from tests.unit.api.expectations import asked, assert_problem

CONTENT = bytes_of(2 * PIECE + 100)
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
BEFORE, AFTER = "Fri, 02 Jan 2026 03:04:04 GMT", "Fri, 02 Jan 2026 03:04:06 GMT"
OTHER = '"other"'


@pytest.fixture
async def reader(reader: Reader) -> Reader:
    """With a file."""
    await reader.store("k", CONTENT)
    return reader


@pytest.mark.parametrize(
    ("wanted", "first", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, None),
        ("bytes=5-9", 5, 10),
        ("Bytes=5-9", 5, 10),
        ("bytes= 5-9", 5, 10),
        (f"bytes={PIECE - 3}-{2 * PIECE + 2}", PIECE - 3, 2 * PIECE + 3),
        ("bytes=-10", -10, None),
        ("bytes=-999999999", 0, None),
        ("bytes=10-999999999999999999", 10, None),
    ],
)
async def test_a_part_comes_when_one_range_is_given(reader: Reader, wanted: str, first: int, stop: int | None) -> None:
    answer = await reader.get("/files/k", Range=wanted)
    start, end = slice(first, stop).indices(len(CONTENT))[:2]
    assert (answer.status_code, answer.content) == (206, CONTENT[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert (answer.headers["content-length"], answer.headers["etag"]) == (str(end - start), ETAG)


@pytest.mark.parametrize(
    "ignored",
    ["bytes=0-1,5-6", "lines=0-1", "bytes=9-5", "bytes=-", "bytes", "bytes=a-b", "bytes=1", "0-1", "bytes=1-٣"],
)
async def test_the_whole_file_comes_when_the_range_is_not_one_of_bytes(reader: Reader, ignored: str) -> None:
    async with reader.client() as client:
        answer = await client.get("/files/k", headers=[(b"range", ignored.encode())])
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert "content-range" not in answer.headers


@pytest.mark.parametrize("wanted", [f"bytes={len(CONTENT)}-", "bytes=999999999-", "bytes=-0"])
async def test_the_answer_has_the_size_when_a_range_begins_behind_the_end(
    reader: Reader, buckets: list[MemoryBucket], wanted: str
) -> None:
    answer = await reader.get("/files/k", Range=wanted)
    assert_problem(answer, 416, "range_refused")
    assert answer.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert asked(buckets) == ""


async def test_head_describes_the_whole_file_when_a_range_is_asked_for(reader: Reader) -> None:
    answer = await reader.get("/files/k", "HEAD", Range="bytes=0-1")
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(CONTENT)))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        *(({"If_Match": tags}, 200) for tags in (ETAG, f"{OTHER}, {ETAG}", "*")),
        *(({"If_Match": tags}, 412) for tags in (OTHER, f"W/{ETAG}")),
        ({"If_Match": ETAG, "If_Unmodified_Since": BEFORE}, 200),
        ({"If_Match": OTHER, "If_Unmodified_Since": AFTER}, 412),
        *(({"If_Unmodified_Since": date}, 200) for date in (LAST_MODIFIED, AFTER, "yesterday")),
        ({"If_Unmodified_Since": BEFORE}, 412),
        *(({"If_None_Match": tags}, 304) for tags in (ETAG, f"{OTHER}, W/{ETAG}", "*")),
        ({"If_None_Match": OTHER}, 200),
        ({"If_None_Match": OTHER, "If_Modified_Since": AFTER}, 200),
        ({"If_None_Match": ETAG, "If_Modified_Since": BEFORE}, 304),
        *(({"If_Modified_Since": date}, 304) for date in (LAST_MODIFIED, AFTER)),
        *(({"If_Modified_Since": date}, 200) for date in (BEFORE, "yesterday")),
        ({"If_Match": OTHER, "If_None_Match": ETAG}, 412),
        ({"If_Match": ETAG, "If_None_Match": ETAG}, 304),
    ],
)
async def test_the_answer_is_what_the_conditions_say_when_there_are_any(
    method: str, headers: dict[str, str], status: int, reader: Reader
) -> None:
    answer = await reader.get("/files/k", method, **headers)
    assert answer.status_code == status
    assert answer.content == (CONTENT if (status, method) == (200, "GET") else b"") or status == 412
    if status != 412:
        assert (answer.headers["etag"], answer.headers["last-modified"]) == (ETAG, LAST_MODIFIED)
        assert answer.headers["cache-control"] == "private, no-cache"
    elif method == "GET":
        assert_problem(answer, 412, "condition_failed")


@pytest.mark.parametrize(
    ("condition", "status"),
    [(ETAG, 206), (LAST_MODIFIED, 206), (OTHER, 200), (f"W/{ETAG}", 200), (AFTER, 200), (BEFORE, 200), ("*", 200)],
)
async def test_a_range_needs_the_same_file_when_it_has_a_condition(condition: str, status: int, reader: Reader) -> None:
    answer = await reader.get("/files/k", Range="bytes=5-9", If_Range=condition)
    assert (answer.status_code, answer.content) == (status, CONTENT[5:10] if status == 206 else CONTENT)
    unsatisfiable = await reader.get("/files/k", Range="bytes=999999999-", If_Range=condition)
    assert unsatisfiable.status_code == (416 if status == 206 else 200)
