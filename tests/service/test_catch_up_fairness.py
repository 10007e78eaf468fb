"""Catch-up: trouble with one account does not stop the files of the others."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from file.logic.values import MiB
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, Proxied, serving_client
from tests.service.owners import assert_stored
from tests.service.receipts import BOUND_SECONDS, Told, answer_when, receipt_when
from tests.service.sizes import MANY_PARTS, ONE_PART, content
from tests.service.test_catch_up import ANY, is_stored, missed

TURNS = 4
MEMORY = 192 * MiB
FOUR_TIMES_THREE_FILES = 4 * 17 * MiB  # catch-up has a quarter
HELD_SECONDS = 120.0  # longer than the test waits for anything else
QUICK: dict[str, Any] = {"lease_seconds": 1.0, "grace_seconds": 0.2, "catchup_concurrency": TURNS}
PATIENT: dict[str, Any] = {**QUICK, "stall_seconds": HELD_SECONDS, "complete_seconds": HELD_SECONDS}


def held_up(by: threading.Event, operation: str) -> Fault:
    """Each such request waits for the event, and is then answered with an error that permits a retry."""
    return Fault.refuses("SlowDown", held_until=lambda: by.wait(HELD_SECONDS), operation=operation, times=None)


def open_requests(proxy: FaultProxy, operation: str) -> int:
    return sum(request.ended is None for request in proxy.seen(operation))


def fail(source: FaultProxy) -> None:
    for operation in ("get", "list"):  # `list` is the only request to an account that is left alone
        source.add(Fault.refuses("InternalError", operation=operation, times=None))


async def until_all(client: httpx.AsyncClient, ids: Sequence[str], holds: Callable[[Told], bool]) -> None:
    for file_id in ids:
        await receipt_when(client, file_id, holds)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("operation", "size", "memory"),
    [("put", ONE_PART, MEMORY), ("part", MANY_PARTS, MEMORY), ("part", MANY_PARTS, FOUR_TIMES_THREE_FILES)],
)
async def test_an_account_gets_its_files_when_a_slow_one_has_all_turns_or_memory(
    accounts: Accounts, proxied: Proxied, operation: str, size: int, memory: int
) -> None:
    slow, other, goes_on = proxied("B"), proxied("C"), threading.Event()
    at_least = TURNS if memory == MEMORY else TURNS - 1  # this many waiting requests use all turns or memory
    slow.refuse_connections()
    other.refuse_connections()
    keys = [f"k{number}" for number in range(TURNS + 1)]
    limits = {**PATIENT, "memory": memory}
    async with serving_client(accounts["A"], slow.account, other.account, **limits) as (service, client):
        ids = await asyncio.gather(*(missed(service, client, key, size, **ANY) for key in keys))
        slow.add(held_up(goes_on, operation))
        slow.accept_connections()
        await answer_when(lambda: asyncio.sleep(0, open_requests(slow, operation)), lambda count: count >= at_least)
        try:
            other.accept_connections()
            await until_all(client, ids, lambda told: told["accounts"]["C"]["status"] == "stored")
            assert open_requests(slow, operation) >= TURNS // 2  # it keeps its own share
        finally:
            slow.clear()
            goes_on.set()
        await until_all(client, ids, is_stored)
    assert_stored(accounts.values(), {key: content(size) for key in keys})


async def test_a_slow_account_has_all_turns_when_no_other_has_work(accounts: Accounts, proxied: Proxied) -> None:
    slow, goes_on = proxied("B"), threading.Event()
    slow.refuse_connections()
    keys = [f"k{number}" for number in range(TURNS + 1)]
    async with serving_client(accounts["A"], slow.account, accounts["C"], **PATIENT) as (service, client):
        ids = await asyncio.gather(*(missed(service, client, key, ONE_PART) for key in keys))
        slow.add(held_up(goes_on, "put"))
        slow.accept_connections()
        await answer_when(lambda: asyncio.sleep(0, open_requests(slow, "put")), lambda count: count == TURNS)
        await asyncio.sleep(PATIENT["lease_seconds"])  # time for many more turns, which would be wrong
        assert open_requests(slow, "put") == len(slow.seen("put")) == TURNS
        slow.clear()
        goes_on.set()
        await until_all(client, ids, is_stored)
    assert_stored(accounts.values(), {key: content(ONE_PART) for key in keys})


async def test_a_source_is_left_alone_when_it_fails_beside_another(accounts: Accounts, proxied: Proxied) -> None:
    source, behind = proxied("A"), proxied("B")
    behind.refuse_connections()
    keys = [f"k{number}" for number in range(20)]
    async with serving_client(source.account, behind.account, accounts["C"], **QUICK) as (service, client):
        ids = await asyncio.gather(*(missed(service, client, key, ONE_PART) for key in keys))
        fail(source)
        behind.accept_connections()
        await until_all(client, ids, is_stored)
        assert 3 <= len(source.seen("get")) < 3 + TURNS
        registry = service.application.uploads.placement.registry
        assert registry.left_alone == {"A"}
        scraped = (await client.get("/_/metrics")).text
        for name, value in (("A", "1.0"), ("B", "0.0")):
            assert f'mentum_account_left_alone{{account="{name}"}} {value}' in scraped
        source.clear()
        await source.wait_until("list", len(source.seen("list")) + 1, ended=True, timeout_seconds=BOUND_SECONDS)
        await answer_when(lambda: asyncio.sleep(0, registry.left_alone), lambda names: not names)
    assert_stored(accounts.values(), {key: content(ONE_PART) for key in keys})


async def test_few_requests_go_to_the_only_source_when_it_fails(accounts: Accounts, proxied: Proxied) -> None:
    source, behind = proxied("A"), proxied("B")
    behind.refuse_connections()
    keys = [f"k{number}" for number in range(20)]
    async with serving_client(source.account, behind.account, **QUICK) as (service, client):
        ids = await asyncio.gather(*(missed(service, client, key, ONE_PART, **ANY) for key in keys))
        fail(source)
        behind.accept_connections()
        await until_all(
            client, ids, lambda told: told["accounts"]["B"].get("error", {}).get("code") == "file_unreadable"
        )
        assert 3 <= len(source.seen("get")) < 3 + TURNS
        source.clear()
        await until_all(client, ids, is_stored)
    assert_stored([accounts["A"], accounts["B"]], {key: content(ONE_PART) for key in keys})
