"""If-Match, If-None-Match, If-Unmodified-Since of a PUT, a DELETE and a form: what was compared is what is touched."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from tests.readers import reading
from tests.unit.api.expectations import PART, Shared, assert_everywhere, assert_problem, memory_service, three
from tests.unit.api.rawhttp import Answer, Connection, connected, exchange, form_head, form_part, head, post_form, put

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT, OTHER = b"content", b"other"
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
OTHER_ETAG = f'"{hashlib.sha256(OTHER).hexdigest()}"'
BEFORE, AFTER = "Fri, 02 Jan 2015 03:04:04 GMT", "Fri, 02 Jan 2150 03:04:06 GMT"

# Of a key with a file: these conditions fail.
FAILING = [
    *(
        [f"if-match: {tags}"] for tags in (OTHER_ETAG, f"W/{ETAG}", ETAG.strip(chr(34)), "")
    ),  # without quotes it is none
    [f"if-match: {OTHER_ETAG}", f"if-unmodified-since: {AFTER}"],
    [f"if-unmodified-since: {BEFORE}"],
    ["if-unmodified-since: yesterday"],
    [f"if-unmodified-since: {AFTER}", f"if-unmodified-since: {BEFORE}"],
    *([f"if-none-match: {tags}"] for tags in ("*", ETAG, f"{OTHER_ETAG}, W/{ETAG}", "abc")),
    [f"if-none-match: {OTHER_ETAG}", f"if-none-match: {ETAG}"],
    [f"if-match: {ETAG}", "if-none-match: *"],
]
# And these hold.
HOLDING = [
    *([f"if-match: {tags}"] for tags in (ETAG, f"{OTHER_ETAG}, {ETAG}", "*")),
    [f"if-match: {OTHER_ETAG}", f"if-match: {ETAG}"],
    [f"if-match: {ETAG}", f"if-unmodified-since: {BEFORE}"],
    [f"if-unmodified-since: {AFTER}"],
    [f"if-none-match: {OTHER_ETAG}"],
    [f"if-modified-since: {AFTER}"],  # for readers only
]
# Of a key without one.
FAILING_WITHOUT = [[f"if-match: {ETAG}"], ["if-match: *"], ["if-match: abc"], ["if-none-match: abc"]]
HOLDING_WITHOUT = [["if-none-match: *"], [f"if-none-match: {ETAG}"], [f"if-unmodified-since: {BEFORE}"]]


async def delete(shared: Shared, *fields: str) -> Answer:
    return await exchange(shared, head("DELETE", "/files/k", *fields))


async def store(shared: Shared) -> str:
    file_id: str = shared.assert_stored(await put(shared, "k", CONTENT), CONTENT)["id"]
    return file_id


@pytest_asyncio.fixture(params=["new", "erased"], loop_scope="module")
async def without_file(request: pytest.FixtureRequest, shared: Shared) -> Shared:
    """The key never had a file, or its file was erased."""
    if request.param == "erased":
        await store(shared)
        assert (await delete(shared)).status_code == 200
    return shared


def assert_failed(answer: Answer, etag: str | None = ETAG) -> None:
    """The answer says which file is there."""
    assert_problem(answer, 412, "condition_failed")
    assert answer.headers.get("etag") == etag


@pytest.mark.parametrize("fields", FAILING)
async def test_the_file_stays_when_a_condition_fails(shared: Shared, fields: Sequence[str]) -> None:
    await store(shared)
    for content in (CONTENT, OTHER, 2 * PART * b"x"):
        assert_failed(await put(shared, "k", content, *fields))
    assert_failed(await delete(shared, *fields))
    assert_everywhere(shared.buckets, "k", CONTENT)


@pytest.mark.parametrize("fields", HOLDING)
async def test_it_is_as_without_conditions_when_they_hold(shared: Shared, fields: Sequence[str]) -> None:
    file_id = await store(shared)
    assert_problem(await put(shared, "k", OTHER, *fields), 409, "key_taken")
    again = await put(shared, "k", CONTENT, *fields)
    assert (again.status_code, again.json()["id"]) == (200, file_id)
    assert_everywhere(shared.buckets, "k", CONTENT)
    erased = await delete(shared, *fields)
    assert (erased.status_code, erased.json()["id"]) == (200, file_id)
    shared.assert_nothing_left()


@pytest.mark.parametrize("fields", FAILING_WITHOUT)
async def test_nothing_is_stored_when_the_condition_needs_a_file(without_file: Shared, fields: Sequence[str]) -> None:
    for content in (CONTENT, 2 * PART * b"x"):
        assert_failed(await put(without_file, "k", content, *fields), etag=None)
    assert_failed(await delete(without_file, *fields), etag=None)
    without_file.assert_nothing_left()


@pytest.mark.parametrize("fields", HOLDING_WITHOUT)
async def test_the_file_is_stored_when_conditions_hold_without_one(without_file: Shared, fields: Sequence[str]) -> None:
    assert_problem(await delete(without_file, *fields), 404, "file_not_found")
    without_file.assert_stored(await put(without_file, "k", OTHER, *fields), OTHER)


async def test_the_answer_comes_before_the_body_when_a_condition_fails(shared: Shared) -> None:
    await store(shared)
    answer = await exchange(shared, head("PUT", "/files/k", "content-length: 100000", "if-none-match: *"))
    assert_failed(answer)


@pytest.mark.parametrize("fields", [*FAILING_WITHOUT, *HOLDING_WITHOUT])
async def test_a_form_is_judged_as_a_new_key_when_it_has_conditions(shared: Shared, fields: Sequence[str]) -> None:
    if fields in HOLDING_WITHOUT:
        answer = await post_form(shared, form_part("file", CONTENT, filename="f"), fields=fields)
        shared.assert_stored(answer, CONTENT)
    else:
        assert_failed(await exchange(shared, form_head("content-length: 100000", *fields)), etag=None)
        shared.assert_nothing_left()


async def test_other_faults_are_answered_first_when_a_condition_fails_too(shared: Shared) -> None:
    """RFC 9110, 13.2.1."""
    await store(shared)
    condition = "if-none-match: *"
    assert_problem(await put(shared, "k", CONTENT, condition, "upload-ack: most"), 422, "ack_refused")
    assert_problem(await put(shared, "k", CONTENT, condition, "content-md5: x"), 400, "digest_refused")
    assert_problem(await put(shared, "..", CONTENT, condition), 400, "key_refused")


@pytest.mark.parametrize("size", [7, 2 * PART])
async def test_the_answer_is_the_first_one_when_the_idempotency_key_is_repeated(shared: Shared, size: int) -> None:
    content, fields = size * b"x", ("if-none-match: *", "idempotency-key: once")
    file_id = shared.assert_stored(await put(shared, "k", content, *fields), content)["id"]
    again = await put(shared, "k", content, *fields)
    assert (again.status_code, again.json()["id"], again.headers["idempotent-replayed"]) == (201, file_id, "true")
    assert_problem(await put(shared, "k", size * b"y", *fields), 422, "idempotency_key_reused")
    other_key = await put(shared, "k", content, "if-none-match: *", "idempotency-key: twice")
    assert_problem(other_key, 412, "condition_failed")
    assert_everywhere(shared.buckets, "k", content)
    shared.assert_no_memory_held()


@asynccontextmanager
async def allowed(shared: Shared, content: bytes, *fields: str) -> AsyncIterator[Connection]:
    """A PUT whose conditions have been found to hold, and whose body is waited for."""
    request = head("PUT", "/files/k", f"content-length: {len(content)}", "expect: 100-continue", *fields)
    async with connected(shared) as connection:
        await connection.send(request)
        assert (await connection.answer()).status_code == 100
        yield connection


@pytest.mark.parametrize("content", [OTHER, CONTENT, 2 * PART * b"x"], ids=["other", "same", "large"])
@pytest.mark.parametrize("condition", ["if-none-match: *", f"if-none-match: {ETAG}", f"if-unmodified-since: {BEFORE}"])
async def test_a_condition_fails_when_a_file_came_meanwhile(shared: Shared, condition: str, content: bytes) -> None:
    async with allowed(shared, content, condition) as late:
        await store(shared)
        await late.send(content)
        assert_failed(await late.answer())
    assert_everywhere(shared.buckets, "k", CONTENT)
    shared.assert_no_memory_held()


@pytest.mark.parametrize("content", [CONTENT, 2 * PART * b"x"], ids=["small", "large"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_a_put_fails_when_the_file_was_erased_meanwhile(shared: Shared, content: bytes, replaced: bool) -> None:
    await store(shared)
    async with allowed(shared, content, f"if-match: {ETAG}") as late:
        assert (await delete(shared)).status_code == 200
        if replaced:
            assert (await put(shared, "k", OTHER)).status_code == 201
        await late.send(content)
        assert_problem(await late.answer(), 412, "condition_failed")
    if replaced:
        assert_everywhere(shared.buckets, "k", OTHER)
    else:
        shared.assert_nothing_left()
    shared.assert_no_memory_held()


async def test_it_may_be_tried_again_when_an_upload_to_the_key_has_not_ended() -> None:
    async with memory_service(three(stalls_at_put=1)) as service:
        slow = service.buckets[1]
        first = asyncio.ensure_future(put(service, "k", CONTENT, "if-none-match: *"))
        await asyncio.wait_for(slow.stalled.wait(), 10)
        busy = await put(service, "k", OTHER, "if-none-match: *")
        assert_problem(busy, 409, "key_busy")
        assert busy.headers["retry-after"]
        slow.released.set()
        service.assert_stored(await first, CONTENT)
        assert_failed(await put(service, "k", OTHER, "if-none-match: *"))
        assert_everywhere(service.buckets, "k", CONTENT)


@pytest.mark.parametrize(("fields", "status"), [([f"if-match: {ETAG}"], 412), ([], 404)])
async def test_only_the_file_that_was_seen_is_erased_when_another_came(fields: Sequence[str], status: int) -> None:
    """The readers' ledger has the file, and the eraser does not find it."""
    async with reading(three()) as reader:
        await reader.store("k", CONTENT)
        async with reader.client() as client:
            answer = await client.delete("/files/k", headers=dict(field.split(": ") for field in fields))
        assert answer.status_code == status
