"""A check-up of stores that lack something, of accounts in trouble, and interrupted: what is told, and what is left."""

import asyncio
import dataclasses
import threading
import uuid
from collections.abc import Callable

import pytest

from file.accounts.checkup.checks import CHECKS
from file.accounts.checkup.checkup import CheckUp
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket, s3_buckets
from tests.unit.accounts.checkup.checkups import checked, crosses, of
from tests.unit.s3.carelessstore import CarelessStore

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]

WRITES = ("put", "complete")


# --- stores that lack something

LACKING = {
    "condition of a put": (
        Fault.refuses("PreconditionFailed", status=200, headers={"ETag": '"e"'}, operation="put", after=1),
        "conditional put",
        '"conditional_writes": false',
    ),
    "condition is not known": (
        Fault.refuses("NotImplemented", status=501, operation="put", after=1),
        "conditional put",
        '"conditional_writes": false',
    ),
    "checksum of a put": (
        Fault.refuses("BadDigest", status=200, headers={"ETag": '"e"'}, operation="put", after=2),
        "checksum of a put",
        '"checksums": false',
    ),
    "bytes": (Fault.damages_reply(operation="get"), "get", "gives other bytes than were stored"),
}


@pytest.mark.parametrize("name", LACKING)
async def test_the_setting_is_named_when_a_store_lacks_what_it_is_for(
    name: str, proxied: Proxied, accounts: Accounts
) -> None:
    fault, check, words = LACKING[name]
    proxy = proxied("A")
    proxy.add(dataclasses.replace(fault))
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {check: None}
    assert words in of(checkup, check).detail
    assert not accounts["A"].contents()


async def test_a_store_that_loses_metadata_gets_a_cross_where_the_service_would_lose_its_objects(
    proxied: Proxied, accounts: Accounts
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.loses_metadata(times=None))
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {"put": None, "complete": None}
    assert all("x-amz-meta-*" in of(checkup, check).detail for check in WRITES)
    assert not accounts["A"].contents()


async def test_every_lack_is_told_and_nothing_is_left_when_a_store_looks_at_nothing(accounts: Accounts) -> None:
    async with CarelessStore().running() as store:
        checkup = await checked(accounts["A"].at(store.url))
        assert set(crosses(checkup)) == {
            "conditional put",
            "checksum of a put",
            "conditional complete",
            "checksum of a complete",
        }
        assert all('set "conditional_writes": false' in of(checkup, f"conditional {each}").detail for each in WRITES)
        assert all('set "checksums": false' in of(checkup, f"checksum of a {each}").detail for each in WRITES)
        assert not store.objects
        assert not store.uploads
        checkup = await checked(accounts["A"].at(store.url), checksums=False, conditional_writes=False)
    assert set(crosses(checkup)) == {"checksum of a put"}
    assert "Content-MD5" in of(checkup, "checksum of a put").detail


# --- trouble on the way


@pytest.mark.parametrize("operation", ["put", "begin", "part", "complete", "abort", "delete", "head", "get"])
async def test_nothing_is_left_when_an_answer_is_lost(operation: str, proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    proxy.add(Fault.loses_reply(operation=operation))
    checkup = await checked(proxy.account)
    assert checkup.left == []
    assert not accounts["A"].contents()
    if operation in ("put", "begin", "part", "complete"):  # not asked again: it may have landed
        assert "dropped the connection before it answered" in repr(checkup.results)
    else:
        assert crosses(checkup) == {}


async def test_it_is_asked_again_when_the_account_fails_for_the_moment(proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    for operation in ("list", "put", "begin", "part", "complete", "abort", "head", "get", "delete", "list_uploads"):
        proxy.add(Fault.refuses("SlowDown", operation=operation), Fault.refuses("InternalError", operation=operation))
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {}
    assert not accounts["A"].contents()


async def test_the_rest_is_not_asked_and_all_is_taken_back_when_the_account_begins_to_fail(
    proxied: Proxied, accounts: Accounts
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.refuses("InternalError", operation="part", times=3))
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {"part": None}
    assert of(checkup, "delete").detail == "because of: part"
    assert not accounts["A"].contents()


async def test_keys_are_told_when_nothing_may_be_deleted(proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    proxy.add(Fault.refuses("AccessDenied", operation="delete", times=None))
    checkup = await checked(proxy.account)
    left = [key for key, _ in accounts["A"].contents().versions]
    assert len(left) == 2
    assert sorted(checkup.left) == sorted(left)
    assert crosses(checkup) == {
        "delete of a version": "s3:DeleteObjectVersion",
        "delete": "s3:DeleteObject",
        "taken back": None,
    }
    assert ", ".join(sorted(left)) in of(checkup, "taken back").detail


async def test_keys_are_told_when_an_object_lock_keeps_them(new_bucket: NewBucket, accounts: Accounts) -> None:
    account = new_bucket("A", f"locked-{uuid.uuid4()}", object_lock=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    account.boto3().put_object_lock_configuration(Bucket=account.s3_bucket_name, ObjectLockConfiguration=rule)
    checkup = await checked(account)
    assert crosses(checkup) == {"delete of a version": None, "taken back": None}
    assert "an object lock keeps what was written" in of(checkup, "delete of a version").detail
    assert set(checkup.left) == {key for key, _ in account.contents().versions}


@pytest.mark.parametrize("operation", ["put", "begin", "part", "complete", "delete"])
async def test_all_is_taken_back_when_it_is_interrupted(operation: str, proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    interrupted = threading.Event()
    proxy.add(Fault.holds_reply(interrupted, operation=operation))
    async with s3_buckets(proxy.account) as [bucket]:
        checkup = CheckUp(bucket.client, settle_seconds=0.1)
        running = asyncio.ensure_future(checkup.run())
        await proxy.wait_until(operation)
        running.cancel()
        await asyncio.sleep(0)  # it is interrupted within the request
        interrupted.set()
        await asyncio.wait((running,))
        assert running.cancelled()
    assert checkup.left == []
    assert len(checkup.results) == len(CHECKS)
    assert "because of: an interruption" in repr(checkup.results)
    assert not accounts["A"].contents()
    await proxy.wait_until(count=len(proxy.requests), ended=True)  # none is under way: all of them end soon
