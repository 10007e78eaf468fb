"""One account's trouble stays its own, also while files are brought: to it, beside it, and from it."""

import asyncio
import threading
from typing import Any

import pytest

from file.logic.values import MiB
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    Accounts,
    Proxied,
    assert_stored,
    content,
    serving,
)
from tests.service.receipts import BOUND_SECONDS, answer_when, receipt_when
from tests.service.test_catch_up import ANY, is_stored, missed

TURNS = 4
MEMORY = 192 * MiB
FOUR_TIMES_THREE_FILES = 4 * 17 * MiB  # catch-up has a quarter
HELD_SECONDS = 120.0  # longer than the test looks for what is to happen meanwhile
QUICK: dict[str, Any] = {"lease_seconds": 1.0, "grace_seconds": 0.2, "catchup_concurrency": TURNS}
PATIENT: dict[str, Any] = {**QUICK, "stall_seconds": HELD_SECONDS, "complete_seconds": HELD_SECONDS}


def held_up(by: threading.Event, operation: str) -> Fault:
    """Every such request, until the event; then it is to be repeated."""
    return Fault.refuses("SlowDown", held_until=lambda: by.wait(HELD_SECONDS), operation=operation, times=None)


def open_requests(proxy: FaultProxy, operation: str) -> int:
    return sum(request.ended is None for request in proxy.seen(operation))


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("operation", "size", "memory"),
    [("put", ONE_PART, MEMORY), ("part", MANY_PARTS, MEMORY), ("part", MANY_PARTS, FOUR_TIMES_THREE_FILES)],
)
async def test_an_account_gets_its_files_when_a_slow_one_has_all_turns_or_memory(
    accounts: Accounts, proxied: Proxied, operation: str, size: int, memory: int
) -> None:
    slow, other, goes_on = proxied("B"), proxied("C"), threading.Event()
    at_least = TURNS if memory == MEMORY else TURNS - 1  # of its requests wait; then it has all that there is
    slow.refuse_connections()
    other.refuse_connections()
    keys = [f"k{number}" for number in range(TURNS + 1)]
    async with (
        serving(accounts["A"], slow.account, other.account, **PATIENT, memory=memory) as service,
        service.client() as client,
    ):
        ids = await asyncio.gather(*(missed(service, client, key, size, **ANY) for key in keys))
        slow.add(held_up(goes_on, operation))
        slow.accept_connections()
        await answer_when(lambda: asyncio.sleep(0, open_requests(slow, operation)), lambda count: count >= at_least)
        try:
            other.accept_connections()
            for file_id in ids:
                await receipt_when(client, file_id, lambda told: told["accounts"]["C"]["status"] == "stored")
            assert open_requests(slow, operation) >= TURNS // 2  # its own share it keeps
        finally:
            slow.clear()
            goes_on.set()
        for file_id in ids:
            await receipt_when(client, file_id, is_stored)
    assert_stored(accounts.values(), {key: content(size) for key in keys})


async def test_a_slow_account_has_all_turns_when_nobody_else_has_work(accounts: Accounts, proxied: Proxied) -> None:
    slow, goes_on = proxied("B"), threading.Event()
    slow.refuse_connections()
    keys = [f"k{number}" for number in range(TURNS + 1)]
    async with (
        serving(accounts["A"], slow.account, accounts["C"], **PATIENT) as service,
        service.client() as client,
    ):
        ids = await asyncio.gather(*(missed(service, client, key, ONE_PART) for key in keys))
        slow.add(held_up(goes_on, "put"))
        slow.accept_connections()
        await answer_when(lambda: asyncio.sleep(0, open_requests(slow, "put")), lambda count: count == TURNS)
        await asyncio.sleep(
            PATIENT["lease_seconds"]
        )  # many looks at who waits in vain; that nothing comes of them is silent
        assert open_requests(slow, "put") == len(slow.seen("put")) == TURNS
        slow.clear()
        goes_on.set()
        for file_id in ids:
            await receipt_when(client, file_id, is_stored)
    assert_stored(accounts.values(), {key: content(ONE_PART) for key in keys})


async def test_a_source_is_left_alone_when_it_fails_and_another_gives_the_files(
    accounts: Accounts, proxied: Proxied
) -> None:
    source, behind = proxied("A"), proxied("B")
    behind.refuse_connections()
    keys = [f"k{number}" for number in range(20)]
    async with (
        serving(source.account, behind.account, accounts["C"], **QUICK) as service,
        service.client() as client,
    ):
        ids = await asyncio.gather(*(missed(service, client, key, ONE_PART) for key in keys))
        for operation in ("get", "list"):  # `list` is what one that is left alone is asked
            source.add(Fault.refuses("InternalError", operation=operation, times=None))
        behind.accept_connections()
        for file_id in ids:
            await receipt_when(client, file_id, is_stored)
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


async def test_nobody_is_asked_in_vain_when_the_only_source_is_left_alone(accounts: Accounts, proxied: Proxied) -> None:
    source, behind = proxied("A"), proxied("B")
    behind.refuse_connections()
    keys = [f"k{number}" for number in range(20)]
    async with serving(source.account, behind.account, **QUICK) as service, service.client() as client:
        ids = await asyncio.gather(*(missed(service, client, key, ONE_PART, **ANY) for key in keys))
        for operation in ("get", "list"):
            source.add(Fault.refuses("InternalError", operation=operation, times=None))
        behind.accept_connections()
        for file_id in ids:
            await receipt_when(
                client, file_id, lambda told: told["accounts"]["B"].get("error", {}).get("code") == "file_unreadable"
            )
        assert 3 <= len(source.seen("get")) < 3 + TURNS
        source.clear()
        for file_id in ids:
            await receipt_when(client, file_id, is_stored)
    assert_stored([accounts["A"], accounts["B"]], {key: content(ONE_PART) for key in keys})
