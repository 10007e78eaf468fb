"""A slow account that the ack does not need delays no upload, holds little memory, and is let go."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest

from file.logic.values import KiB, MiB
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, serving_client, until_stragglers_ended
from tests.service.owners import assert_nothing_left, assert_stored, keys_in
from tests.service.receipts import receipt_of, statuses
from tests.service.services import until_nothing_is_left
from tests.service.sizes import PART_BYTES, content
from tests.serving import Running

SLOW_BYTES_PER_SECOND = 20 * KiB
SLOW_PUT_SECONDS = 128.0  # half a part at that rate
BOUND_SECONDS = 60.0  # less than that, and enough for a loaded machine
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
    """In less time than a slow put takes."""
    async with asyncio.timeout(BOUND_SECONDS):
        while service.application.uploads.budget.used > size:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.02)


@pytest.fixture
def slow(proxy: FaultProxy) -> FaultProxy:
    """Account B."""
    for operation in ("part", "put"):
        proxy.add(Fault.slows(SLOW_BYTES_PER_SECOND, operation=operation, times=None))
    return proxy


async def test_an_upload_takes_no_longer_when_an_account_is_slow(accounts: Accounts, slow: FaultProxy) -> None:
    body = content(SIZE)
    async with serving_client(accounts["A"], slow.account, accounts["C"], lease_seconds=2.0) as (service, client):
        without, seconds_without = await upload(client, "without", body, **TWO)
        answer, seconds = await upload(client, "with", body)
        budget = service.application.uploads.budget
        told = answer.json()
        assert (without.status_code, answer.status_code) == (201, 202), told
        assert (statuses(told)["B"], told["accounts"]["B"]["error"]["code"]) == ("pending", "let_go")
        assert seconds < 10 * seconds_without + BOUND_SECONDS  # alone, the account would take half an hour
        assert budget.peak <= 13 * PART_BYTES  # three lanes with four parts each, and the one that is being filled
        await until_stragglers_ended(service)
        assert budget.used == 0
        later = await receipt_of(client, told["id"])
        assert (later["status"], statuses(later)) == ("partial", {"A": "stored", "B": "pending", "C": "stored"})
        await until_nothing_is_left([accounts["B"]])  # a part may have arrived late; the clean-up removes it
    assert slow.seen("complete") == []
    assert_nothing_left([accounts["B"]])
    assert_stored([accounts["A"], accounts["C"]], {"with": body, "without": body})


async def test_uploads_do_not_pile_up_when_many_meet_a_slow_account(accounts: Accounts, slow: FaultProxy) -> None:
    """The slow account is let go when its share of the memory is used, and does not delay the others."""
    memory, body = 64 * MiB, content(PART_BYTES // 2)
    limits = {"memory": memory, "grace_seconds": 0.2, "lease_seconds": 2.0, "stall_seconds": 10 * SLOW_PUT_SECONDS}
    async with serving_client(accounts["A"], slow.account, accounts["C"], **limits) as (service, client):
        uploads = service.application.uploads
        answers = await asyncio.gather(*(upload(client, f"k{number}", body) for number in range(MANY)))
        assert max(seconds for _, seconds in answers) < BOUND_SECONDS < SLOW_PUT_SECONDS
        assert {answer.status_code for answer, _ in answers} == {202}
        assert {answer.json()["sha256"] for answer, _ in answers} == {hashlib.sha256(body).hexdigest()}
        assert uploads.budget.peak <= memory
        await until_used_at_most(service, memory // 8)  # the account's share
        assert uploads.stragglers.under_way
        codes = [answer.json()["accounts"]["B"].get("error", {}).get("code") for answer, _ in answers]
        assert "let_go" in codes
        answer, _ = await upload(client, "after", content(PIECE), **TWO)
        assert answer.status_code == 201
        assert uploads.stragglers.under_way  # it waited for none of them
        slow.refuse_connections()  # ends the late puts
        await until_stragglers_ended(service)
        assert uploads.budget.used == 0
        slow.accept_connections()
        slow.clear()
        assert (await upload(client, "well", b"x", **{"upload-ack": "all"}))[0].status_code == 201
    expected = {**{f"k{number}": body for number in range(MANY)}, "after": content(PIECE), "well": b"x"}
    assert_stored([accounts["A"], accounts["C"]], expected)
    assert set(keys_in(accounts["B"])) <= {"well"}


async def test_the_client_is_slowed_when_the_ack_needs_the_slow_account(accounts: Accounts, proxy: FaultProxy) -> None:
    proxy.add(Fault.slows(4 * MiB, operation="part", times=None))
    async with serving_client(accounts["A"], proxy.account, accounts["C"]) as (_, client):
        answer, seconds = await upload(client, "k", content(2 * PART_BYTES), **{"upload-ack": "all"})
    assert answer.status_code == 201
    assert seconds > 1  # both parts go at once, each at 4 MiB a second
    assert_stored(accounts.values(), {"k": content(2 * PART_BYTES)})


async def test_small_files_of_unknown_size_fit_when_an_account_is_slow(accounts: Accounts, proxy: FaultProxy) -> None:
    """A whole part is reserved for each file only until its end arrives."""
    proxy.add(Fault.stalls(operation="put", times=None))
    memory = 32 * MiB
    limits = {"memory": memory, "grace_seconds": 0.0, "wait_seconds": 2.0}
    async with serving_client(accounts["A"], proxy.account, **limits) as (service, client):
        for number in range(2 * memory // PART_BYTES):
            answer, _ = await upload(client, f"k{number}", b"x", **{"upload-ack": "any"})
            assert answer.status_code == 202, answer.text
        uploads = service.application.uploads
        assert uploads.stragglers.under_way == 2 * memory // PART_BYTES
        assert uploads.budget.used < KiB
        proxy.refuse_connections()
        await until_stragglers_ended(service)
