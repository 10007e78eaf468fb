"""Uploads end early because the client or the service ends: nothing is left, or everything is stored."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import pytest

from testkit.memorybucket import MemoryBucket
from tests.serving import Running, running
from tests.unit.api.expectations import (
    ALWAYS,
    PART,
    assert_everywhere,
    assert_nothing_left,
    assert_problem,
    three,
    until,
    until_idle,
)
from tests.unit.api.rawhttp import Answer, connected, form, form_head, form_part, head, put

QUICK: dict[str, Any] = {"part_size": PART, "stall_seconds": 30.0, "remove_seconds": 0.5, "settle_seconds": 0.05}


def begun(way: str, size: int) -> tuple[bytes, bytes]:
    """Head and body of an upload of `size` bytes."""
    if way == "put":
        return head("PUT", "/files/k", f"content-length: {size}"), b"x" * size
    body = form(form_part("file", b"x" * size, filename="f"))
    return form_head(f"content-length: {len(body)}"), body


@pytest.mark.parametrize("way", ["put", "form"])
@pytest.mark.parametrize("sent", [0, 10, PART + 1000, 3 * PART])
async def test_nothing_is_left_when_the_client_goes_before_its_last_byte(way: str, sent: int) -> None:
    buckets = three()
    async with running(buckets, **QUICK) as service, connected(service) as connection:
        first, body = begun(way, 5 * PART)
        await connection.send(first, body[:sent])
        await until(lambda: service.application.uploads.admission.under_way == 1)
        if sent > PART:
            await asyncio.wait_for(buckets[0].first_part.wait(), 10)
        await connection.cut()
        await until_idle(service)
        assert_nothing_left(service, buckets)


@pytest.mark.parametrize("way", ["put", "form"])
@pytest.mark.parametrize("size", [10, 5 * PART])
async def test_the_file_is_stored_when_the_client_goes_after_its_last_byte(way: str, size: int) -> None:
    buckets = three(stalls_at_put=1, stalls_at_complete=1)
    async with running(buckets, **QUICK) as service, connected(service) as connection:
        await connection.send(*begun(way, size))
        await asyncio.wait_for(buckets[1].stalled.wait(), 10)
        await connection.cut()
        await asyncio.sleep(0.05)  # for the server to see it
        buckets[1].released.set()
        await until_idle(service)
        (key,) = buckets[1].objects
        assert_everywhere(buckets, key, b"x" * size)
        assert service.application.uploads.budget.used == 0


@pytest.mark.parametrize("size", [10, 5 * PART])
async def test_uploads_finish_when_the_service_drains(size: int) -> None:
    buckets = three(stalls_at_put=1, stalls_at_part=1)
    async with running(buckets, **QUICK) as service:
        upload = asyncio.ensure_future(put(service, "k", b"x" * size))
        await asyncio.wait_for(buckets[1].stalled.wait(), 10)
        draining = asyncio.ensure_future(service.application.drain(30))
        await until(lambda: service.application.uploads.admission.draining)
        refused = await put(service, "other", b"x")
        assert_problem(refused, 503, "shutting_down")
        assert int(refused.headers["retry-after"]) > 0
        assert not draining.done()
        buckets[1].released.set()
        answer = await upload
        await asyncio.wait_for(draining, 10)
        assert answer.status_code == 201
        assert answer.headers["connection"] == "close"
        assert_everywhere(buckets, "k", b"x" * size)


async def assert_all_end(service: Running, buckets: list[MemoryBucket], uploads: Iterable[Awaitable[Answer]]) -> None:
    """The service ends, and every client gets the answer 503."""
    await asyncio.wait_for(service.application.drain(0.05), 10)
    for answer in await asyncio.gather(*uploads):
        assert_problem(answer, 503, "shutting_down")
    assert_nothing_left(service, buckets)


@pytest.mark.parametrize("operation", ["put", "begin", "part", "complete"])
async def test_uploads_are_removed_when_the_time_to_drain_is_over(operation: str) -> None:
    """One account hangs with all its requests: every worker waits, and the queue is full."""
    buckets = three(**{f"stalls_at_{operation}": ALWAYS})
    body = b"x" * (10 if operation == "put" else 12 * PART)
    async with running(buckets, **QUICK) as service:
        uploads = [asyncio.ensure_future(put(service, f"{number}", body)) for number in range(3)]
        await until(lambda: buckets[1].calls[operation] >= 3)
        await asyncio.sleep(0.1)  # queues fill
        await assert_all_end(service, buckets, uploads)


@pytest.mark.parametrize("sent", [0, 10, PART + 1])
async def test_the_client_gets_an_answer_when_the_service_ends_before_its_body(sent: int) -> None:
    buckets = three()
    async with running(buckets, **QUICK) as service, connected(service) as connection:
        first, body = begun("put", 5 * PART)
        await connection.send(first, body[:sent])
        await until(lambda: service.application.uploads.admission.under_way == 1)
        await assert_all_end(service, buckets, [connection.answer()])


async def test_uploads_that_wait_for_memory_get_an_answer_when_the_service_ends() -> None:
    buckets = [MemoryBucket("A", faults={"stalls_at_put": ALWAYS})]
    async with running(buckets, **QUICK, memory=4 * PART, wait_seconds=30.0) as service:
        uploads = [asyncio.ensure_future(put(service, f"{number}", b"x" * PART)) for number in range(8)]
        await until(lambda: service.application.uploads.admission.under_way == 8)
        await assert_all_end(service, buckets, uploads)
