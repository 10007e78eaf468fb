"""Bounded memory: many uploads at once, and an account that hangs. The service refuses instead of growing."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from file.api.discarding import Discarding
from tests.serving import running
from tests.unit.api.expectations import ALWAYS, PART, assert_nothing_left, assert_problem, three, until
from tests.unit.api.rawhttp import Answer, put

LIMITS: dict[str, Any] = {
    "part_size": PART,
    "memory": 16 * PART,
    "account_bytes_per_second": 1 << 30,
    "stall_seconds": 0.4,
    "wait_seconds": 0.6,
    "remove_seconds": 0.5,
    "settle_seconds": 0.01,
}
SIZES = [0, 1, 1000, PART - 1, PART, PART + 1, 2 * PART, 5 * PART + 7]


async def upload(client: httpx.AsyncClient, number: int, size: int) -> httpx.Response:
    """As PUT, as PUT of unknown size, and as a form, in turn."""
    content = b"x" * size

    async def chunked() -> AsyncIterator[bytes]:
        for start in range(0, size, 10_000):
            yield content[start : start + 10_000]

    if number % 3 == 2:
        return await client.post("/upload", files={"file": ("f", content)})
    return await client.put(f"/files/{number}", content=chunked() if number % 3 else content)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", ["stalls_at_put", "stalls_at_part", "stalls_at_begin"])
async def test_the_budget_holds_when_200_uploads_meet_an_account_that_hangs(fault: str) -> None:
    buckets = three(**{fault: ALWAYS})
    sizes = [SIZES[number % len(SIZES)] for number in range(200)]
    random.shuffle(sizes)
    connections = httpx.Limits(max_connections=200)
    discarding = Discarding(at_once=200)  # by default the oldest of more than 128 bodies gives way, without its answer
    async with (
        running(buckets, **LIMITS, discarding=discarding) as service,
        service.client(limits=connections) as client,
    ):
        answers = await asyncio.gather(*(upload(client, number, size) for number, size in enumerate(sizes)))
        budget = service.application.uploads.budget
        told = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
        assert set(told) <= {(201, None), (502, "accounts_failed"), (503, "busy")}
        assert told[502, "accounts_failed"]
        assert told[503, "busy"]
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)
        assert budget.total // 2 < budget.peak <= budget.total
        stored = {answer.json()["key"] for answer in answers if answer.status_code == 201}
        for bucket in buckets:
            assert set(bucket.objects) == stored
            assert not bucket.uploads
            bucket.objects.clear()
        assert_nothing_left(service, buckets)

        buckets[1].faults.clear()
        assert (await put(service, "afterwards", b"x" * 5 * PART)).status_code == 201


def assert_busy(answer: Answer) -> None:
    assert_problem(answer, 503, "busy")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["retryable"] is True


async def test_the_client_is_told_to_come_back_when_no_memory_comes_free() -> None:
    buckets = three(stalls_at_put=ALWAYS)
    async with running(buckets, **{**LIMITS, "memory": 4 * PART, "stall_seconds": 30.0}) as service:
        holding = [asyncio.ensure_future(put(service, f"{number}", b"x" * PART)) for number in range(4)]
        await until(lambda: service.application.uploads.budget.used == 4 * PART)
        assert_busy(await put(service, "one-more", b"x" * PART))
        buckets[1].released.set()
        assert [answer.status_code for answer in await asyncio.gather(*holding)] == [201] * 4


async def test_the_client_is_told_to_come_back_when_too_many_uploads_are_under_way() -> None:
    buckets = three(stalls_at_put=2)
    async with running(buckets, max_uploads=2) as service:
        first = [asyncio.ensure_future(put(service, f"{number}")) for number in range(2)]
        await until(lambda: buckets[1].calls["put"] == 2)
        refused = await put(service, "third")
        assert_busy(refused)
        assert "2 uploads" in refused.json()["detail"]
        buckets[1].released.set()
        assert [answer.status_code for answer in await asyncio.gather(*first)] == [201, 201]
        assert (await put(service, "third")).status_code == 201


@pytest.mark.parametrize("size", [8 * PART, 20 * PART])
async def test_the_file_is_stored_when_it_is_larger_than_all_the_memory(size: int) -> None:
    buckets = three()
    async with running(buckets, **{**LIMITS, "memory": 4 * PART}) as service:
        answers = await asyncio.gather(*(put(service, f"{number}", b"x" * size) for number in range(3)))
        assert [answer.status_code for answer in answers] == [201] * 3
        assert service.application.uploads.budget.peak <= 4 * PART
        assert service.application.uploads.budget.used == 0
    assert all(len(bucket.objects["2"].body) == size for bucket in buckets)


async def test_the_file_is_refused_when_its_parts_would_exceed_a_quarter_of_the_memory() -> None:
    buckets = three()
    async with running(buckets, **{**LIMITS, "memory": 4 * PART, "part_size": PART + 1}) as service:
        assert_problem(await put(service, "k", b"x" * 2 * PART), 413, "file_too_large")
        assert_nothing_left(service, buckets)
