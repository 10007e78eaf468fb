"""If-Match, If-None-Match, If-Unmodified-Since of a PUT, a DELETE and a form: what was compared is what is touched."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tests.readers import reading
from tests.serving import Running, running
from tests.unit.api.expectations import BOUND_SECONDS, PART, Shared, assert_everywhere, assert_problem, three
from tests.unit.api.rawhttp import Answer, Connection, connected, exchange, form_head, form_part, head, post_form, put

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT, OTHER = b"content", b"other"
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
OTHER_ETAG = f'"{hashlib.sha256(OTHER).hexdigest()}"'
BEFORE, AFTER = "Fri, 02 Jan 2015 03:04:04 GMT", "Fri, 02 Jan 2150 03:04:06 GMT"

# Of a key with a file: these conditions fail.
FAILING = [
    [f"if-match: {OTHER_ETAG}"],
    [f"if-match: W/{ETAG}"],
    [f"if-match: {ETAG.strip(chr(34))}"],  # without quotes it is none
    ["if-match: "],
    [f"if-match: {OTHER_ETAG}", f"if-unmodified-since: {AFTER}"],
    [f"if-unmodified-since: {BEFORE}"],
    ["if-unmodified-since: yesterday"],
    [f"if-unmodified-since: {AFTER}", f"if-unmodified-since: {BEFORE}"],
    ["if-none-match: *"],
    [f"if-none-match: {ETAG}"],
    [f"if-none-match: {OTHER_ETAG}, W/{ETAG}"],
    [f"if-none-match: {OTHER_ETAG}", f"if-none-match: {ETAG}"],
    ["if-none-match: abc"],
    [f"if-match: {ETAG}", "if-none-match: *"],
]
# And these hold.
HOLDING = [
    [f"if-match: {ETAG}"],
    [f"if-match: {OTHER_ETAG}, {ETAG}"],
    [f"if-match: {OTHER_ETAG}", f"if-match: {ETAG}"],
    ["if-match: *"],
    [f"if-match: {ETAG}", f"if-unmodified-since: {BEFORE}"],
    [f"if-unmodified-since: {AFTER}"],
    [f"if-none-match: {OTHER_ETAG}"],
    [f"if-modified-since: {AFTER}"],  # for readers only
]
# Of a key without one.
FAILING_WITHOUT = [[f"if-match: {ETAG}"], ["if-match: *"], ["if-match: abc"], ["if-none-match: abc"]]
HOLDING_WITHOUT = [["if-none-match: *"], [f"if-none-match: {ETAG}"], [f"if-unmodified-since: {BEFORE}"]]


async def delete(service: Running, *fields: str, key: str = "k") -> Answer:
    return await exchange(service, head("DELETE", f"/files/{key}", *fields))


async def store(shared: Shared) -> str:
    answer = await put(shared.service, "k", CONTENT)
    assert answer.status_code == 201, answer.body
    file_id: str = answer.json()["id"]
    return file_id


def assert_failed(answer: Answer, etag: str | None = ETAG) -> None:
    """The answer says which file is there."""
    assert_problem(answer, 412, "condition_failed")
    assert answer.headers.get("etag") == etag


@pytest.mark.parametrize("fields", FAILING)
async def test_the_file_stays_when_a_condition_fails(shared: Shared, fields: Sequence[str]) -> None:
    await store(shared)
    for content in (CONTENT, OTHER, 2 * PART * b"x"):
        assert_failed(await put(shared.service, "k", content, *fields))
    assert_failed(await delete(shared.service, *fields))
    assert_everywhere(shared.buckets, "k", CONTENT)


@pytest.mark.parametrize("fields", HOLDING)
async def test_it_is_as_without_conditions_when_they_hold(shared: Shared, fields: Sequence[str]) -> None:
    file_id = await store(shared)
    assert_problem(await put(shared.service, "k", OTHER, *fields), 409, "key_taken")
    again = await put(shared.service, "k", CONTENT, *fields)
    assert (again.status_code, again.json()["id"]) == (200, file_id)
    assert_everywhere(shared.buckets, "k", CONTENT)
    erased = await delete(shared.service, *fields)
    assert (erased.status_code, erased.json()["id"]) == (200, file_id)
    shared.assert_nothing_left()


@pytest.mark.parametrize("erased", [False, True])
@pytest.mark.parametrize("fields", FAILING_WITHOUT)
async def test_nothing_is_stored_when_a_condition_wants_a_file_and_there_is_none(
    shared: Shared, fields: Sequence[str], erased: bool
) -> None:
    if erased:
        await store(shared)
        assert (await delete(shared.service)).status_code == 200
    for content in (CONTENT, 2 * PART * b"x"):
        assert_failed(await put(shared.service, "k", content, *fields), etag=None)
    assert_failed(await delete(shared.service, *fields), etag=None)
    shared.assert_nothing_left()


@pytest.mark.parametrize("erased", [False, True])
@pytest.mark.parametrize("fields", HOLDING_WITHOUT)
async def test_the_file_is_stored_when_the_conditions_hold_without_one(
    shared: Shared, fields: Sequence[str], erased: bool
) -> None:
    if erased:
        await store(shared)
        assert (await delete(shared.service)).status_code == 200
    assert_problem(await delete(shared.service, *fields), 404, "file_not_found")
    assert (await put(shared.service, "k", OTHER, *fields)).status_code == 201
    assert_everywhere(shared.buckets, "k", OTHER)


async def test_the_answer_comes_before_the_body_when_a_condition_fails(shared: Shared) -> None:
    await store(shared)
    answer = await exchange(shared.service, head("PUT", "/files/k", "content-length: 100000", "if-none-match: *"))
    assert_failed(answer)


@pytest.mark.parametrize("fields", [*FAILING_WITHOUT, *HOLDING_WITHOUT])
async def test_a_form_is_judged_as_a_new_key_when_it_has_conditions(shared: Shared, fields: Sequence[str]) -> None:
    if fields in HOLDING_WITHOUT:
        body = form_part("file", CONTENT, filename="f") + b"--the-boundary--\r\n"
        stored = await exchange(shared.service, form_head(f"content-length: {len(body)}", *fields), body)
        assert stored.status_code == 201
    else:
        assert_failed(await exchange(shared.service, form_head("content-length: 100000", *fields)), etag=None)
        shared.assert_nothing_left()


async def test_other_faults_are_told_first_when_a_condition_fails_too(shared: Shared) -> None:
    """RFC 9110, 13.2.1."""
    await store(shared)
    condition = "if-none-match: *"
    assert_problem(await put(shared.service, "k", CONTENT, condition, "upload-ack: most"), 422, "ack_refused")
    assert_problem(await put(shared.service, "k", CONTENT, condition, "content-md5: x"), 400, "digest_refused")
    assert_problem(await put(shared.service, "..", CONTENT, condition), 400, "key_refused")


@pytest.mark.parametrize("size", [7, 2 * PART])
async def test_the_first_answer_is_told_again_when_the_request_is_repeated_with_its_idempotency_key(
    shared: Shared, size: int
) -> None:
    content, fields = size * b"x", ("if-none-match: *", "idempotency-key: once")
    first = await put(shared.service, "k", content, *fields)
    assert first.status_code == 201
    again = await put(shared.service, "k", content, *fields)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert again.headers["idempotent-replayed"] == "true"
    other_bytes = await put(shared.service, "k", size * b"y", *fields)
    assert_problem(other_bytes, 422, "idempotency_key_reused")
    other_key = await put(shared.service, "k", content, "if-none-match: *", "idempotency-key: twice")
    assert_problem(other_key, 412, "condition_failed")
    assert_everywhere(shared.buckets, "k", content)
    assert shared.service.application.uploads.budget.used == 0


async def test_the_etag_tells_whose_file_is_there_when_the_answer_was_lost_without_an_idempotency_key(
    shared: Shared,
) -> None:
    assert (await put(shared.service, "k", CONTENT, "if-none-match: *")).status_code == 201
    assert_failed(await put(shared.service, "k", CONTENT, "if-none-match: *"), etag=ETAG)


@asynccontextmanager
async def allowed(shared: Shared, content: bytes, *fields: str) -> AsyncIterator[Connection]:
    """A PUT whose conditions have been found to hold, and whose body is waited for."""
    request = head("PUT", "/files/k", f"content-length: {len(content)}", "expect: 100-continue", *fields)
    async with connected(shared.service) as connection:
        await connection.send(request)
        assert (await connection.answer()).status_code == 100
        yield connection


@pytest.mark.parametrize("content", [OTHER, CONTENT, 2 * PART * b"x"], ids=["other", "same", "large"])
@pytest.mark.parametrize("condition", ["if-none-match: *", f"if-none-match: {ETAG}", f"if-unmodified-since: {BEFORE}"])
async def test_the_condition_fails_when_another_was_stored_meanwhile(
    shared: Shared, condition: str, content: bytes
) -> None:
    async with allowed(shared, content, condition) as late:
        await store(shared)
        await late.send(content)
        assert_failed(await late.answer())
    assert_everywhere(shared.buckets, "k", CONTENT)
    assert shared.service.application.uploads.budget.used == 0


@pytest.mark.parametrize("content", [CONTENT, 2 * PART * b"x"], ids=["small", "large"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_nothing_is_stored_when_the_file_was_erased_meanwhile(
    shared: Shared, content: bytes, replaced: bool
) -> None:
    await store(shared)
    async with allowed(shared, content, f"if-match: {ETAG}") as late:
        assert (await delete(shared.service)).status_code == 200
        if replaced:
            assert (await put(shared.service, "k", OTHER)).status_code == 201
        await late.send(content)
        assert_problem(await late.answer(), 412, "condition_failed")
    if replaced:
        assert_everywhere(shared.buckets, "k", OTHER)
    else:
        shared.assert_nothing_left()
    assert shared.service.application.uploads.budget.used == 0


async def test_it_may_be_tried_again_when_nobody_knows_yet_what_the_key_will_have() -> None:
    buckets = three(stalls_at_put=1)
    async with running(buckets) as service:
        first = asyncio.ensure_future(put(service, "k", CONTENT, "if-none-match: *"))
        await asyncio.wait_for(buckets[1].stalled.wait(), BOUND_SECONDS)
        busy = await put(service, "k", OTHER, "if-none-match: *")
        assert_problem(busy, 409, "key_busy")
        assert busy.headers["retry-after"]
        buckets[1].released.set()
        assert (await first).status_code == 201
        assert_failed(await put(service, "k", OTHER, "if-none-match: *"))
    assert_everywhere(buckets, "k", CONTENT)


@pytest.mark.parametrize(("fields", "status"), [([f"if-match: {ETAG}"], 412), ([], 404)])
async def test_only_the_file_that_was_seen_is_erased_when_another_took_its_place(
    fields: Sequence[str], status: int
) -> None:
    """Here the ledger of the readers tells of a file, and who erases finds another one."""
    async with reading(three()) as reader:
        await reader.store("k", CONTENT)
        async with reader.client() as client:
            answer = await client.delete("/files/k", headers=dict(field.split(": ") for field in fields))
        assert answer.status_code == status


async def test_a_form_and_a_put_are_as_ever_when_they_have_no_condition(shared: Shared) -> None:
    assert (await post_form(shared.service, form_part("file", CONTENT, filename="f"))).status_code == 201
    await store(shared)
