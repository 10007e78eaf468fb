"""An account that the ack does not need slows nobody down, holds little memory, and is let go."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

from file.logic.values import KiB, MiB
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import (
    PART_BYTES,
    Accounts,
    Proxied,
    asking,
    assert_nothing_left,
    assert_stored,
    content,
    serving,
    until_nobody_goes_on,
)
from tests.service.receipts import receipt_of, statuses
from tests.serving import Running

SLOW_BYTES_PER_SECOND = 20 * KiB
SLOW_PUT_SECONDS = 128.0  # half a part at that rate
BOUND_SECONDS = 60.0  # less than that; and a loaded machine is slow
SIZE = 40 * MiB
MANY = 12
PIECE = MiB
TWO = {"upload-accounts": "A,C", "upload-ack": "all"}


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


async def upload(client: httpx.AsyncClient, key: str, body: bytes, **headers: str) -> tuple[httpx.Response, float]:
    began = asyncio.get_running_loop().time()
    answer = await client.put(f"/files/{key}", content=pieces(body), headers={"upload-ack": "2", **headers})
    return answer, asyncio.get_running_loop().time() - began


async def until_used_at_most(service: Running, size: int) -> None:
    """Within less than a slow put takes: what is healthy and goes on has to end, too."""
    async with asyncio.timeout(BOUND_SECONDS):
        while service.application.uploads.budget.used > size:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.02)


async def until_none_is_open(accounts: Accounts) -> None:
    """What was cut off on its way may have reached the account all the same; the clean-up finds it."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(accounts["B"].contents):  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.1)


@pytest.fixture
def slow(proxied: Proxied) -> FaultProxy:
    proxy = proxied("B")
    proxy.add(Fault.slows(SLOW_BYTES_PER_SECOND, operation="part", times=None))
    proxy.add(Fault.slows(SLOW_BYTES_PER_SECOND, operation="put", times=None))
    return proxy


async def test_an_upload_takes_as_long_as_without_it_when_an_account_is_slow(
    accounts: Accounts, slow: FaultProxy
) -> None:
    body = content(SIZE)
    async with (
        serving(accounts["A"], slow.account, accounts["C"], lease_seconds=2.0) as service,
        service.client() as client,
    ):
        without, seconds_without = await upload(client, "without", body, **TWO)
        answer, seconds = await upload(client, "with", body)
        budget = service.application.uploads.budget
        told = answer.json()
        assert (without.status_code, answer.status_code) == (201, 202), told
        assert statuses(told)["B"] == "pending"
        assert told["accounts"]["B"]["error"]["code"] == "let_go"
        assert seconds < 10 * seconds_without + BOUND_SECONDS  # alone, the account would take half an hour
        assert budget.peak <= 13 * PART_BYTES  # three lanes with four parts each, and the one that is being filled
        await until_nobody_goes_on(service)
        assert budget.used == 0
        later = await receipt_of(client, told["id"])
        assert later["status"] == "partial"
        assert statuses(later) == {"A": "stored", "B": "pending", "C": "stored"}
        await until_none_is_open(accounts)
    assert slow.seen("complete") == []
    assert_nothing_left([accounts["B"]])
    assert_stored([accounts["A"], accounts["C"]], {"with": body, "without": body})


async def test_uploads_do_not_pile_up_when_many_meet_a_slow_account_at_once(
    accounts: Accounts, slow: FaultProxy
) -> None:
    """Beyond its share of the memory the slow account is let go at once; the others are not held up by it."""
    memory, body = 64 * MiB, content(PART_BYTES // 2)
    sha256 = hashlib.sha256(body).hexdigest()
    async with (
        serving(
            accounts["A"],
            slow.account,
            accounts["C"],
            memory=memory,
            grace_seconds=0.2,
            lease_seconds=2.0,
            stall_seconds=10 * SLOW_PUT_SECONDS,
        ) as service,
        service.client() as client,
    ):
        uploads = service.application.uploads
        answers = await asyncio.gather(*(upload(client, f"k{number}", body) for number in range(MANY)))
        assert max(seconds for _, seconds in answers) < BOUND_SECONDS < SLOW_PUT_SECONDS
        assert {answer.status_code for answer, _ in answers} == {202}
        assert {answer.json()["sha256"] for answer, _ in answers} == {sha256}
        assert uploads.budget.peak <= memory
        await until_used_at_most(service, memory // 8)  # the account's share
        assert uploads.stragglers.under_way
        codes = [answer.json()["accounts"]["B"].get("error", {}).get("code") for answer, _ in answers]
        assert "let_go" in codes
        answer, _ = await upload(client, "after", content(PIECE), **TWO)
        assert answer.status_code == 201
        assert uploads.stragglers.under_way  # it waited for none of them
        slow.refuse_connections()  # or the test would wait for what goes on
        await until_nobody_goes_on(service)
        assert uploads.budget.used == 0
        slow.accept_connections()
        slow.clear()
        assert (await upload(client, "well", b"x", **{"upload-ack": "all"}))[0].status_code == 201
    expected = {**{f"k{number}": body for number in range(MANY)}, "after": content(PIECE), "well": b"x"}
    assert_stored([accounts["A"], accounts["C"]], expected)
    held = asking(accounts["B"]).list_objects_v2(Bucket=accounts["B"].s3_bucket_name).get("Contents", [])
    assert {each["Key"] for each in held} <= {"well"}


async def test_the_client_is_slowed_when_the_ack_needs_the_slow_account(accounts: Accounts, proxied: Proxied) -> None:
    proxy = proxied("B")
    proxy.add(Fault.slows(4 * MiB, operation="part", times=None))
    async with (
        serving(accounts["A"], proxy.account, accounts["C"]) as service,
        service.client() as client,
    ):
        answer, seconds = await upload(client, "k", content(2 * PART_BYTES), **{"upload-ack": "all"})
    assert answer.status_code == 201
    assert seconds > 1  # both parts go at once, each at 4 MiB a second
    assert_stored(accounts.values(), {"k": content(2 * PART_BYTES)})


async def test_small_files_of_undeclared_size_find_room_when_a_slow_account_holds_many(
    accounts: Accounts, proxied: Proxied
) -> None:
    """A whole part is reserved for each until its end is seen, and no longer."""
    proxy = proxied("B")
    proxy.add(Fault.stalls(operation="put", times=None))
    memory = 32 * MiB
    async with (
        serving(accounts["A"], proxy.account, memory=memory, grace_seconds=0.0, wait_seconds=2.0) as service,
        service.client() as client,
    ):
        for number in range(2 * memory // PART_BYTES):
            answer, _ = await upload(client, f"k{number}", b"x", **{"upload-ack": "any"})
            assert answer.status_code == 202, answer.text
        uploads = service.application.uploads
        assert uploads.stragglers.under_way == 2 * memory // PART_BYTES
        assert uploads.budget.used < KiB
        proxy.refuse_connections()
        await until_nobody_goes_on(service)
