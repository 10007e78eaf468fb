"""DELETE erases a file from every account, continues by itself, and never reports too early that it is done."""

import asyncio
import threading
from typing import Any
from uuid import uuid4

import httpx
import pytest

from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.service.conftest import Accounts, serving_client
from tests.service.owners import assert_nothing_left, assert_stored, overwrite
from tests.service.receipts import BOUND_SECONDS, answer_when, receipt_of, receipt_when, statuses
from tests.service.sizes import MANY_PARTS, ONE_PART, QUICK, content
from tests.unit.api.expectations import assert_problem

LETS_GO = {**QUICK, "grace_seconds": 0.2, "stall_seconds": 10.0}  # does not wait for an account beyond the ack


async def stored(client: httpx.AsyncClient, size: int = ONE_PART) -> dict[str, Any]:
    answer = await client.put("/files/k", content=content(size), headers={"x-amz-meta-colour": "blue"})
    assert answer.status_code == 201, answer.json()
    told: dict[str, Any] = answer.json()
    return told


def is_erased(receipt: Any) -> bool:
    return bool(receipt["status"] == "erased")


@pytest.mark.parametrize("size", [0, ONE_PART, MANY_PARTS])
async def test_nothing_of_it_is_anywhere_when_it_was_erased(accounts: Accounts, size: int) -> None:
    async with serving_client(*accounts.values(), **QUICK) as (_, client):
        told = await stored(client, size)
        answer = await client.delete("/files/k")
        erased = answer.json()
        assert answer.status_code == 200, erased
        assert (erased["id"], erased["status"], erased["size"]) == (told["id"], "erased", size)
        assert statuses(erased) == dict.fromkeys("ABC", "erased")
        assert_nothing_left(accounts.values())
        assert (await client.get("/files/k")).status_code == 404
        assert (await client.get("/files")).json()["files"] == []
        # A second DELETE, and the receipt, say the same.
        again = await client.delete("/files/k")
        assert (again.status_code, again.json()) == (200, erased)
        assert await receipt_of(client, told["id"]) == erased
        assert not any(word in again.text for word in ('"k"', "blue", told["sha256"]))
        assert (await stored(client))["id"] != told["id"]  # the key is free


async def test_an_unknown_file_is_not_found(accounts: Accounts) -> None:
    async with serving_client(*accounts.values(), **QUICK) as (_, client):
        assert_problem(await client.delete("/files/k"), 404, "file_not_found")
        assert (await client.delete("/files/k", headers={"authorization": "Bearer wrong"})).status_code == 401


async def test_only_the_file_that_is_meant_is_erased_when_the_request_has_a_condition(accounts: Accounts) -> None:
    async with serving_client(*accounts.values(), **QUICK) as (_, client):
        await stored(client)
        assert_problem(await client.delete("/files/k", headers={"if-match": '"another"'}), 412, "condition_failed")
        assert_stored(accounts.values(), {"k": content(ONE_PART)})
        etag = (await client.head("/files/k")).headers["etag"]
        assert (await client.delete("/files/k", headers={"if-match": etag})).status_code == 200
    assert_nothing_left(accounts.values())


async def test_it_goes_on_by_itself_when_an_account_is_down(accounts: Accounts, proxy: FaultProxy) -> None:
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **QUICK) as (_, client):
        told = await stored(client)
        proxy.refuse_connections()
        answer = await client.delete("/files/k")
        assert answer.status_code == 202
        assert statuses(answer.json()) == {"A": "erased", "B": "erasing", "C": "erased"}
        assert answer.json()["accounts"]["B"]["error"] == {"code": "account_unreachable"}
        assert (await client.get("/files/k")).status_code == 404
        assert_problem(await client.put("/files/k", content=b"x"), 409, "key_busy")
        assert_nothing_left([accounts["A"], accounts["C"]])
        proxy.accept_connections()
        await receipt_when(client, told["id"], is_erased)
    assert_nothing_left(accounts.values())


@pytest.mark.parametrize("operation", ["list_versions", "head", "delete"])
@pytest.mark.parametrize("kind", ["refuses", "loses_reply", "stalls", "drops_connection"])
async def test_it_ends_when_it_meets_a_fault(accounts: Accounts, proxy: FaultProxy, operation: str, kind: str) -> None:
    brief = {"brief_seconds": 3.0} if kind == "stalls" else {}
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **QUICK, **brief) as (_, client):
        told = await stored(client)
        arguments = ["SlowDown"] if kind == "refuses" else []
        proxy.add(getattr(Fault, kind)(*arguments, operation=operation, times=2))
        assert (await client.delete("/files/k")).status_code in (200, 202)
        await receipt_when(client, told["id"], is_erased)
    assert_nothing_left(accounts.values())


async def test_it_says_what_blocks_it_when_the_permission_is_missing(accounts: Accounts, proxy: FaultProxy) -> None:
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **QUICK) as (_, client):
        told = await stored(client)
        proxy.add(Fault.refuses("AccessDenied", operation="delete", times=None))
        assert (await client.delete("/files/k")).status_code == 202
        blocked = await receipt_when(client, told["id"], lambda receipt: "error" in receipt["accounts"]["B"])
        assert blocked["accounts"]["B"] == {
            "status": "erasing",
            "bucket": accounts["B"].s3_bucket_name,
            "error": {"code": "access_refused"},
        }
        assert blocked["status"] == "erasing"
        proxy.clear()
        await answer_when(lambda: client.delete("/files/k"), lambda answer: answer.status_code == 200)
    assert_nothing_left(accounts.values())


async def test_versions_of_the_owner_stay_when_the_bucket_keeps_them(accounts: Accounts, new_bucket: NewBucket) -> None:
    versioned = new_bucket("B", f"erasing-{uuid4().hex[:12]}", versioned=True)
    async with serving_client(accounts["A"], versioned, accounts["C"], **QUICK) as (_, client):
        await stored(client)
        overwrite(versioned, b"the owner's")
        answer = await client.delete("/files/k")
        assert answer.status_code == 200
        told = answer.json()["accounts"]
        assert (told["B"]["status"], told["B"]["strangers"]) == ("erased", 1)
        assert "strangers" not in told["A"]
    assert_nothing_left([accounts["A"], accounts["C"]])
    assert_stored([versioned], {"k": b"the owner's"})


@pytest.mark.parametrize(("operation", "size"), [("put", ONE_PART), ("part", MANY_PARTS), ("complete", MANY_PARTS)])
async def test_it_stays_erased_when_it_was_still_being_uploaded(
    accounts: Accounts, proxy: FaultProxy, operation: str, size: int
) -> None:
    patient = {**QUICK, "stall_seconds": 10.0, "complete_seconds": 10.0}
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **patient) as (_, client):
        erased = threading.Event()
        proxy.add(Fault.holds_reply(erased, operation=operation))
        uploading = asyncio.create_task(client.put("/files/k", content=content(size)))
        await proxy.wait_until(operation)
        answer = await client.delete("/files/k")
        erased.set()
        assert answer.status_code == 202
        assert statuses(answer.json()) == dict.fromkeys("ABC", "erasing")
        refused = await uploading
        assert refused.status_code in (502, 503), refused.json()
        assert (await client.get("/files/k")).status_code == 404
        await receipt_when(client, answer.json()["id"], is_erased)
    assert_nothing_left(accounts.values())


async def test_it_is_erased_everywhere_when_an_account_still_follows(accounts: Accounts, proxy: FaultProxy) -> None:
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **LETS_GO) as (_, client):
        erased = threading.Event()
        proxy.add(Fault.holds_reply(erased, operation="put"))
        answer = await client.put("/files/k", content=b"x", headers={"upload-ack": "2"})
        assert answer.status_code == 202
        deleted = await client.delete("/files/k")
        erased.set()
        assert deleted.status_code == 202
        assert (await client.get("/files/k")).status_code == 404
        await receipt_when(client, answer.json()["id"], is_erased)
    assert_nothing_left(accounts.values())


async def test_nothing_is_published_when_the_erasure_comes_before_the_last_part_of_a_late_account(
    accounts: Accounts, proxy: FaultProxy
) -> None:
    """A bucket with object lock would keep it."""
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **LETS_GO) as (_, client):
        erased = threading.Event()
        proxy.add(Fault.refuses("SlowDown", held_until=lambda: erased.wait(BOUND_SECONDS), operation="part"))
        answer = await client.put("/files/k", content=content(MANY_PARTS), headers={"upload-ack": "2"})
        assert answer.status_code == 202
        assert (await client.delete("/files/k")).status_code == 202
        erased.set()
        await receipt_when(client, answer.json()["id"], is_erased)
        assert len(proxy.seen("part")) == 3  # both, and the first once more
        assert not proxy.seen("complete")
    assert_nothing_left(accounts.values())
