"""An account that missed files gets them by itself, whatever happens meanwhile; what is erased stays out."""

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
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    Accounts,
    Proxied,
    asking,
    assert_nothing_left,
    assert_stored,
    content,
    serving,
    until_nobody_goes_on,
)
from tests.service.receipts import BOUND_SECONDS, receipt_of, receipt_when, statuses
from tests.serving import Running

# As patient with an account as elsewhere: one that is healthy has its time, for the machine may be slow.
QUICK: dict[str, Any] = {"lease_seconds": 1.0, "grace_seconds": 0.2}
ANY = {"upload-ack": "any"}
CONTENT_HEADERS = {
    "content-encoding": "gzip",
    "content-language": "de",
    "content-disposition": 'inline; filename="a.txt"',
    "cache-control": "no-store",
    "expires": "Fri, 02 Jan 2026 03:04:05 GMT",
}


@pytest.fixture
def behind(proxied: Proxied) -> FaultProxy:
    return proxied("B")


@asynccontextmanager
async def running(accounts: Accounts, behind: FaultProxy) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    """The service and a client of it, for three accounts of which B is reached by `behind`."""
    async with (
        serving(accounts["A"], behind.account, accounts["C"], **QUICK) as service,
        service.client() as client,
    ):
        yield service, client


def is_stored(receipt: Mapping[str, Any]) -> bool:
    return bool(receipt["status"] == "stored")


async def missed(service: Running, client: httpx.AsyncClient, key: str, size: int, **headers: str) -> str:
    """The id of a file that an account did not get: what went on after the answer has ended, too.

    Two others have it by then, however slow the machine is, unless the headers ask for less.
    """
    answer = await client.put(f"/files/{key}", content=content(size), headers={"upload-ack": "2", **headers})
    assert answer.status_code == 202, answer.json()
    await until_nobody_goes_on(service)
    return str(answer.json()["id"])


async def test_open_uploads_are_not_listed_when_a_lane_has_failed_and_noted_what_it_began(
    accounts: Accounts, behind: FaultProxy
) -> None:
    """So an account that does not allow to list them gets the file all the same."""
    behind.refuse_connections()
    async with running(accounts, behind) as (service, client):
        file_id = await missed(service, client, "k", MANY_PARTS)
        behind.add(Fault.refuses("AccessDenied", operation="list_uploads", times=None))
        behind.accept_connections()
        await receipt_when(client, file_id, is_stored)
        assert behind.seen("list_uploads") == []
    assert_stored(accounts.values(), {"k": content(MANY_PARTS)})


@pytest.mark.parametrize("size", [0, ONE_PART, MANY_PARTS])
async def test_an_account_gets_the_file_when_it_is_back(accounts: Accounts, behind: FaultProxy, size: int) -> None:
    behind.refuse_connections()
    async with running(accounts, behind) as (service, client):
        headers = {"content-type": "text/x-test", "x-amz-meta-colour": "blue"}
        file_id = await missed(service, client, "k", size, **headers, **CONTENT_HEADERS)
        behind.accept_connections()
        receipt = await receipt_when(client, file_id, is_stored)
        assert statuses(receipt) == dict.fromkeys("ABC", "stored")
    assert_stored(accounts.values(), {"k": content(size)})
    [brought, first] = [
        asking(accounts[name]).head_object(Bucket=accounts[name].s3_bucket_name, Key="k") for name in "BA"
    ]
    assert brought["ContentType"] == first["ContentType"]
    for found in (brought, first):
        told = found["ResponseMetadata"]["HTTPHeaders"]
        assert {name: told.get(name) for name in CONTENT_HEADERS} == CONTENT_HEADERS
    known = {FILE_SHA256: hashlib.sha256(content(size)).hexdigest()}  # by now; not when the upload began
    assert brought["Metadata"] == {**first["Metadata"], **known}


async def test_every_file_arrives_when_the_account_was_out_for_many(accounts: Accounts, behind: FaultProxy) -> None:
    behind.refuse_connections()
    keys = [f"k{number}" for number in range(60)]
    async with running(accounts, behind) as (service, client):
        ids = await asyncio.gather(*(missed(service, client, key, ONE_PART) for key in keys))
        behind.accept_connections()
        for file_id in ids:
            await receipt_when(client, file_id, is_stored)
    assert_stored(accounts.values(), {key: content(ONE_PART) for key in keys})


async def test_an_account_that_is_down_is_asked_seldom_however_much_it_misses(
    accounts: Accounts, behind: FaultProxy
) -> None:
    behind.add(Fault.refuses("InternalError", times=None))
    async with running(accounts, behind) as (service, client):
        ids = await asyncio.gather(*(missed(service, client, f"k{number}", ONE_PART) for number in range(30)))
        questions = len(behind.seen("list"))
        await behind.wait_until(
            "list", questions + 1, timeout_seconds=BOUND_SECONDS
        )  # by now it is left alone, and asked the cheap question
        before = len(behind.requests)
        await behind.wait_until("list", questions + 2, timeout_seconds=BOUND_SECONDS)
        assert {request.operation for request in behind.requests[before:]} == {"list"}
        behind.clear()
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
    accounts: Accounts, behind: FaultProxy, operation: str, kind: str
) -> None:
    behind.refuse_connections()
    async with running(accounts, behind) as (service, client):
        file_id = await missed(service, client, "k", MANY_PARTS)
        arguments = ["InternalError"] if kind == "refuses" else []
        behind.add(getattr(Fault, kind)(*arguments, operation=operation, times=2))
        behind.accept_connections()
        await receipt_when(client, file_id, is_stored)
    assert_stored(accounts.values(), {"k": content(MANY_PARTS)})


@pytest.mark.parametrize(("operation", "size"), [("put", ONE_PART), ("begin", MANY_PARTS), ("complete", MANY_PARTS)])
async def test_a_replica_is_blocked_with_the_reason_when_the_account_refuses_for_good(
    accounts: Accounts, behind: FaultProxy, operation: str, size: int
) -> None:
    behind.refuse_connections()
    async with running(accounts, behind) as (service, client):
        file_id = await missed(service, client, "k", size)
        behind.add(Fault.refuses("AccessDenied", operation=operation, times=None))
        behind.accept_connections()
        receipt = await receipt_when(client, file_id, lambda r: r["accounts"]["B"]["status"] == "blocked")
        assert receipt["accounts"]["B"]["error"] == {"code": "access_refused", "retryable": False}
    assert_nothing_left([accounts["B"]])


async def test_an_object_of_the_owner_is_not_touched_when_it_has_the_key(
    accounts: Accounts, behind: FaultProxy
) -> None:
    behind.refuse_connections()
    async with running(accounts, behind) as (service, client):
        file_id = await missed(service, client, "k", ONE_PART)
        owner = asking(accounts["B"])
        owner.put_object(Bucket=accounts["B"].s3_bucket_name, Key="k", Body=b"the owner's")
        behind.accept_connections()
        receipt = await receipt_when(client, file_id, lambda r: r["accounts"]["B"]["status"] == "blocked")
        assert receipt["accounts"]["B"]["error"]["code"] == "key_taken"
    assert_stored([accounts["B"]], {"k": b"the owner's"})


async def test_another_account_gives_the_file_when_the_first_lost_it(accounts: Accounts, behind: FaultProxy) -> None:
    behind.refuse_connections()
    async with running(accounts, behind) as (service, client):
        file_id = await missed(service, client, "k", MANY_PARTS)
        asking(accounts["A"]).delete_object(Bucket=accounts["A"].s3_bucket_name, Key="k")
        behind.accept_connections()
        await receipt_when(client, file_id, is_stored)
    assert_stored([accounts["B"], accounts["C"]], {"k": content(MANY_PARTS)})


async def test_nothing_wrong_is_published_when_every_source_has_other_bytes(
    accounts: Accounts, proxied: Proxied
) -> None:
    source, behind = proxied("A"), proxied("B")
    behind.refuse_connections()
    async with serving(source.account, behind.account, **QUICK) as service, service.client() as client:
        file_id = await missed(service, client, "k", MANY_PARTS, **ANY)
        source.add(Fault.damages_reply(operation="get", times=None))
        behind.accept_connections()
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
    accounts: Accounts, behind: FaultProxy, operation: str, size: int
) -> None:
    behind.refuse_connections()
    async with running(accounts, behind) as (service, client):
        file_id = await missed(service, client, "k", size)
        erased = threading.Event()
        behind.add(Fault.holds_reply(erased, operation=operation))
        behind.accept_connections()
        await behind.wait_until(operation)
        answer = await client.delete("/files/k")
        erased.set()
        assert answer.status_code == 202, answer.json()
        assert (await client.get("/files/k")).status_code == 404
        receipt = await receipt_when(client, file_id, lambda r: r["status"] == "erased")
        assert statuses(receipt) == dict.fromkeys("ABC", "erased")
    assert_nothing_left(accounts.values())


async def test_a_receipt_tells_that_it_follows_until_the_account_has_it(accounts: Accounts, behind: FaultProxy) -> None:
    behind.refuse_connections()
    async with running(accounts, behind) as (service, client):
        file_id = await missed(service, client, "k", ONE_PART)
        receipt = await receipt_of(client, file_id)
        assert statuses(receipt)["B"] == "pending"
