"""Catch-up: an account that missed files gets them, except those that were erased."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import product
from typing import Any

import httpx
import pytest

from file.logic.values import FILE_SHA256
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, Proxied, serving_client, until_stragglers_ended
from tests.service.owners import assert_nothing_left, assert_stored, delete, head_of, overwrite
from tests.service.receipts import BOUND_SECONDS, receipt_when, statuses
from tests.service.sizes import MANY_PARTS, ONE_PART, content
from tests.serving import Running

QUICK: dict[str, Any] = {"lease_seconds": 1.0, "grace_seconds": 0.2}
ANY = {"upload-ack": "any"}
CONTENT_HEADERS = {
    "content-encoding": "gzip",
    "content-language": "de",
    "content-disposition": 'inline; filename="a.txt"',
    "cache-control": "no-store",
    "expires": "Fri, 02 Jan 2026 03:04:05 GMT",
}


@asynccontextmanager
async def running(accounts: Accounts, proxy: FaultProxy) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    """The service and a client; account B is behind the proxy, which refuses connections."""
    proxy.refuse_connections()
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **QUICK) as (service, client):
        yield service, client


def is_stored(receipt: Mapping[str, Any]) -> bool:
    return bool(receipt["status"] == "stored")


async def missed(service: Running, client: httpx.AsyncClient, key: str, size: int, **headers: str) -> str:
    """The id of a file that B did not get, but the others did; nothing of the upload is under way any more."""
    answer = await client.put(f"/files/{key}", content=content(size), headers={"upload-ack": "2", **headers})
    assert answer.status_code == 202, answer.json()
    await until_stragglers_ended(service)
    return str(answer.json()["id"])


async def test_open_uploads_are_not_listed_when_a_failed_lane_noted_them(accounts: Accounts, proxy: FaultProxy) -> None:
    """An account that does not permit listing gets the file, too."""
    async with running(accounts, proxy) as (service, client):
        file_id = await missed(service, client, "k", MANY_PARTS)
        proxy.add(Fault.refuses("AccessDenied", operation="list_uploads", times=None))
        proxy.accept_connections()
        await receipt_when(client, file_id, is_stored)
        assert proxy.seen("list_uploads") == []
    assert_stored(accounts.values(), {"k": content(MANY_PARTS)})


@pytest.mark.parametrize("size", [0, ONE_PART, MANY_PARTS])
async def test_an_account_gets_the_file_when_it_is_back(accounts: Accounts, proxy: FaultProxy, size: int) -> None:
    async with running(accounts, proxy) as (service, client):
        headers = {"content-type": "text/x-test", "x-amz-meta-colour": "blue"}
        file_id = await missed(service, client, "k", size, **headers, **CONTENT_HEADERS)
        proxy.accept_connections()
        receipt = await receipt_when(client, file_id, is_stored)
        assert statuses(receipt) == dict.fromkeys("ABC", "stored")
    assert_stored(accounts.values(), {"k": content(size)})
    brought, first = head_of(accounts["B"]), head_of(accounts["A"])
    assert brought["ContentType"] == first["ContentType"]
    for found in (brought, first):
        told = found["ResponseMetadata"]["HTTPHeaders"]
        assert {name: told.get(name) for name in CONTENT_HEADERS} == CONTENT_HEADERS
    # The digest is known by now; it was not when the upload began.
    assert brought["Metadata"] == {**first["Metadata"], FILE_SHA256: hashlib.sha256(content(size)).hexdigest()}


async def test_every_file_arrives_when_the_account_was_out_for_many(accounts: Accounts, proxy: FaultProxy) -> None:
    keys = [f"k{number}" for number in range(60)]
    async with running(accounts, proxy) as (service, client):
        ids = await asyncio.gather(*(missed(service, client, key, ONE_PART) for key in keys))
        proxy.accept_connections()
        for file_id in ids:
            await receipt_when(client, file_id, is_stored)
    assert_stored(accounts.values(), {key: content(ONE_PART) for key in keys})


async def test_an_account_gets_few_requests_when_it_is_down(accounts: Accounts, proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("InternalError", times=None))
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **QUICK) as (service, client):
        ids = await asyncio.gather(*(missed(service, client, f"k{number}", ONE_PART) for number in range(30)))
        questions = len(proxy.seen("list"))
        # From now on the account is left alone and gets only this cheap request.
        await proxy.wait_until("list", questions + 1, timeout_seconds=BOUND_SECONDS)
        before = len(proxy.requests)
        await proxy.wait_until("list", questions + 2, timeout_seconds=BOUND_SECONDS)
        assert {request.operation for request in proxy.requests[before:]} == {"list"}
        proxy.clear()
        for file_id in ids:
            await receipt_when(client, file_id, is_stored)


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        *product(["refuses", "loses_reply", "drops_connection"], ["head", "begin", "part", "complete"]),
        ("damages_body", "part"),
    ],
)
async def test_the_file_arrives_whole_when_bringing_it_meets_a_fault(
    accounts: Accounts, proxy: FaultProxy, operation: str, kind: str
) -> None:
    async with running(accounts, proxy) as (service, client):
        file_id = await missed(service, client, "k", MANY_PARTS)
        arguments = ["InternalError"] if kind == "refuses" else []
        proxy.add(getattr(Fault, kind)(*arguments, operation=operation, times=2))
        proxy.accept_connections()
        await receipt_when(client, file_id, is_stored)
    assert_stored(accounts.values(), {"k": content(MANY_PARTS)})


@pytest.mark.parametrize(("operation", "size"), [("put", ONE_PART), ("begin", MANY_PARTS), ("complete", MANY_PARTS)])
async def test_a_replica_is_blocked_with_the_reason_when_the_account_refuses_for_good(
    accounts: Accounts, proxy: FaultProxy, operation: str, size: int
) -> None:
    async with running(accounts, proxy) as (service, client):
        file_id = await missed(service, client, "k", size)
        proxy.add(Fault.refuses("AccessDenied", operation=operation, times=None))
        proxy.accept_connections()
        receipt = await receipt_when(client, file_id, lambda r: r["accounts"]["B"]["status"] == "blocked")
        assert receipt["accounts"]["B"]["error"] == {"code": "access_refused", "retryable": False}
    assert_nothing_left([accounts["B"]])


async def test_an_object_of_the_owner_is_not_touched_when_it_has_the_key(accounts: Accounts, proxy: FaultProxy) -> None:
    async with running(accounts, proxy) as (service, client):
        file_id = await missed(service, client, "k", ONE_PART)
        overwrite(accounts["B"], b"the owner's")
        proxy.accept_connections()
        receipt = await receipt_when(client, file_id, lambda r: r["accounts"]["B"]["status"] == "blocked")
        assert receipt["accounts"]["B"]["error"]["code"] == "key_taken"
    assert_stored([accounts["B"]], {"k": b"the owner's"})


async def test_another_account_gives_the_file_when_the_first_lost_it(accounts: Accounts, proxy: FaultProxy) -> None:
    async with running(accounts, proxy) as (service, client):
        file_id = await missed(service, client, "k", MANY_PARTS)
        delete(accounts["A"])
        proxy.accept_connections()
        await receipt_when(client, file_id, is_stored)
    assert_stored([accounts["B"], accounts["C"]], {"k": content(MANY_PARTS)})


async def test_nothing_wrong_is_published_when_every_source_has_other_bytes(
    accounts: Accounts, proxied: Proxied, proxy: FaultProxy
) -> None:
    source = proxied("A")
    proxy.refuse_connections()
    async with serving_client(source.account, proxy.account, **QUICK) as (service, client):
        file_id = await missed(service, client, "k", MANY_PARTS, **ANY)
        source.add(Fault.damages_reply(operation="get", times=None))
        proxy.accept_connections()
        await source.wait_until("get", 2, ended=True, timeout_seconds=BOUND_SECONDS)
        receipt = await receipt_when(
            client, file_id, lambda r: r["accounts"]["B"].get("error", {}).get("code") == "file_unreadable"
        )
        assert receipt["accounts"]["B"]["status"] == "pending"
        assert_nothing_left([accounts["B"]])
        source.clear()
        await receipt_when(client, file_id, is_stored)
    assert_stored([accounts["A"], accounts["B"]], {"k": content(MANY_PARTS)})


@pytest.mark.parametrize(("operation", "size"), [("put", ONE_PART), ("part", MANY_PARTS), ("complete", MANY_PARTS)])
async def test_an_erasure_wins_when_the_file_is_being_brought(
    accounts: Accounts, proxy: FaultProxy, operation: str, size: int
) -> None:
    async with running(accounts, proxy) as (service, client):
        file_id = await missed(service, client, "k", size)
        erased = threading.Event()
        proxy.add(Fault.holds_reply(erased, operation=operation))
        proxy.accept_connections()
        await proxy.wait_until(operation)
        answer = await client.delete("/files/k")
        erased.set()
        assert answer.status_code == 202, answer.json()
        assert (await client.get("/files/k")).status_code == 404
        receipt = await receipt_when(client, file_id, lambda r: r["status"] == "erased")
        assert statuses(receipt) == dict.fromkeys("ABC", "erased")
    assert_nothing_left(accounts.values())
