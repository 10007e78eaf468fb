"""An owner deletes, overwrites or locks the objects in its account.

Readers get the file from another account, and an object that its owner keeps is never called removed.
"""

import asyncio
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import pytest

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.service.conftest import Accounts, Proxied, serving
from tests.service.owners import asking, assert_nothing_left
from tests.service.receipts import answer_when, assert_told
from tests.service.sizes import ONE_PART, SIZES, content
from tests.serving import Running
from tests.unit.ledger.looking import files_in, replicas_in


def delete(account: StoreAccount) -> None:
    """In a versioned bucket the version stays, under a delete marker."""
    asking(account).delete_object(Bucket=account.s3_bucket_name, Key="k")


def delete_for_good(account: StoreAccount, **options: bool) -> None:
    for key, version_id in account.contents().versions:
        asking(account).delete_object(Bucket=account.s3_bucket_name, Key=key, VersionId=version_id, **options)


def overwrite(account: StoreAccount) -> None:
    asking(account).put_object(Bucket=account.s3_bucket_name, Key="k", Body=b"theirs")


async def upload(service: Running, size: int) -> httpx.Response:
    async with service.client() as client:
        return await client.put("/files/k", content=content(size))


async def assert_read(service: Running, size: int) -> None:
    async with service.client() as client:
        whole = await client.get("/files/k")
        part = await client.get("/files/k", headers={"range": "bytes=7-106"})
    assert (whole.status_code, whole.content == content(size)) == (200, True)
    assert (part.status_code, part.content) == (206, content(size)[7:107])


@pytest.fixture
def versioned(new_bucket: NewBucket, accounts: Accounts) -> StoreAccount:
    """A's bucket that keeps versions."""
    return new_bucket("A", f"owners-{uuid4().hex[:12]}", versioned=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("harm", [delete, overwrite])
async def test_a_changed_object_is_read_from_another_account(
    accounts: Accounts, harm: Callable[[StoreAccount], None], size: int
) -> None:
    async with serving(*accounts.values()) as service:
        assert (await upload(service, size)).status_code == 201
        for name in ("A", "B"):
            await asyncio.to_thread(harm, accounts[name])
            await assert_read(service, size)
    # Reading repairs nothing, and changes nothing of the owner's.
    for name in ("A", "B"):
        found = [key for key, _ in accounts[name].contents().versions]
        assert found == ([] if harm is delete else ["k"])


@pytest.mark.parametrize("harm", [delete, overwrite, delete_for_good])
async def test_a_file_is_read_whatever_the_owner_of_a_versioned_bucket_does(
    accounts: Accounts, proxied: Proxied, versioned: StoreAccount, harm: Callable[[StoreAccount], None]
) -> None:
    """Our version is under the later ones or, after a delete for good, only in the other account."""
    other = proxied("B")
    async with serving(versioned, other.account) as service:
        assert (await upload(service, ONE_PART)).status_code == 201
        await asyncio.to_thread(harm, versioned)
        await assert_read(service, ONE_PART)
        assert len(other.seen("get")) == (2 if harm is delete_for_good else 0)


@pytest.fixture
def locked(new_bucket: NewBucket, accounts: Accounts) -> StoreAccount:
    """A's bucket, in which only the owner may delete an object within a day."""
    account = new_bucket("A", f"locked-{uuid4().hex[:12]}", object_lock=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    asking(account).put_object_lock_configuration(
        Bucket=account.s3_bucket_name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    return account


@pytest.fixture
def watched(locked: StoreAccount) -> Iterator[FaultProxy]:
    """A proxy in front of the bucket that locks."""
    with FaultProxy(locked) as proxy:
        yield proxy


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_stored_in_a_bucket_with_locks(accounts: Accounts, locked: StoreAccount, size: int) -> None:
    async with serving(locked, accounts["B"]) as service:
        assert_told(await upload(service, size), 201, {"A": None, "B": None})
        await assert_read(service, size)


@pytest.mark.parametrize("size", SIZES)
async def test_the_removal_of_a_locked_object_is_pending_until_its_owner_removes_it(
    accounts: Accounts, proxied: Proxied, locked: StoreAccount, watched: FaultProxy, size: int
) -> None:
    """The file is never called `removed` while the lock keeps it, and the clean-up goes on."""
    failing = proxied("B")
    failing.add(Fault.refuses("AccessDenied", operation="put" if size == ONE_PART else "complete", times=None))
    async with serving(watched.account, failing.account, lease_seconds=1.5) as service:
        answer = await upload(service, size)
        told = assert_told(answer, 502, {"A": "taken_back", "B": "access_refused"})
        removed = {name: each["status"] for name, each in told["accounts"].items()}
        assert removed == {"A": "removal_pending", "B": "removed"}
        deletes = len(watched.seen("delete", ended=True))
        await watched.wait_until("delete", deletes + 2, ended=True, timeout_seconds=30)  # the clean-up tries again
        assert [key for key, _ in locked.contents().versions] == ["k"]
        replicas = await replicas_in(service.database)
        assert (replicas["A"].state, replicas["A"].error_code) == ("erasing", "object_locked")
        assert not (await files_in(service.database))["k"].stored_at
        await asyncio.to_thread(delete_for_good, locked, BypassGovernanceRetention=True)
        await answer_when(lambda: files_in(service.database), lambda files: not files)
    assert_nothing_left([locked, accounts["B"]])
