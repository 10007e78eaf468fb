"""An account that does not let us list versions: where its bucket keeps them, nothing of a file is said to be gone."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from structlog.testing import capture_logs

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    SHORT,
    Accounts,
    Proxied,
    asking,
    assert_nothing_left,
    assert_told,
    content,
    serving,
)
from tests.service.receipts import BOUND_SECONDS, answer_when, receipt_of

QUICK: dict[str, Any] = {**SHORT, "lease_seconds": 1.0, "grace_seconds": 10.0}
SIZES = [ONE_PART, MANY_PARTS]
UNLISTED = Fault.refuses("AccessDenied", operation="list_versions", times=None)


@pytest.fixture
def versioned(new_bucket: NewBucket, accounts: Accounts) -> StoreAccount:
    """A's bucket that keeps versions."""
    return new_bucket("A", f"unlisted-{uuid4().hex[:12]}", versioned=True)


@pytest.fixture
def unlisted(versioned: StoreAccount) -> Iterator[FaultProxy]:
    """Before the bucket that keeps versions; they may not be listed."""
    with FaultProxy(versioned) as proxy:
        proxy.add(UNLISTED)
        yield proxy


async def stored(client: httpx.AsyncClient, size: int) -> str:
    answer = await client.put("/files/k", content=content(size))
    assert answer.status_code == 201, answer.json()
    return str(answer.json()["id"])


def leave_alone(account: StoreAccount) -> None:
    """Ours is the only version."""


def put_over_it(account: StoreAccount) -> None:
    """Ours is behind the owner's."""
    asking(account).put_object(Bucket=account.s3_bucket_name, Key="k", Body=b"the owner's")


def delete_it(account: StoreAccount) -> None:
    """Ours is behind a delete marker."""
    asking(account).delete_object(Bucket=account.s3_bucket_name, Key="k")


@pytest.mark.parametrize("owner_does", [leave_alone, put_over_it, delete_it])
async def test_an_erasure_says_what_is_missing_until_it_is_there_when_the_bucket_keeps_versions(
    accounts: Accounts, versioned: StoreAccount, unlisted: FaultProxy, owner_does: Any
) -> None:
    async with (
        serving(unlisted.account, accounts["B"], **QUICK) as service,
        service.client() as client,
    ):
        file_id = await stored(client, ONE_PART)
        owner_does(versioned)
        with capture_logs() as logs:
            answer = await client.delete("/files/k")
        assert answer.status_code == 202, answer.json()
        assert any(entry["event"] == "cleaning_failed" and "s3:ListBucketVersions" in entry["detail"] for entry in logs)
        # What it could see it took; that nothing shows any more is no proof.
        looked = len(unlisted.seen("list_versions"))
        await unlisted.wait_until("list_versions", looked + 1, ended=True, timeout_seconds=BOUND_SECONDS)
        receipt = await receipt_of(client, file_id)
        assert (receipt["status"], receipt["accounts"]["B"]["status"]) == ("erasing", "erased")
        assert receipt["accounts"]["A"]["error"] == {"code": "access_refused"}
        assert (await client.put("/files/k", content=b"x")).status_code == 409
        unlisted.clear()
        await answer_when(lambda: client.delete("/files/k"), lambda answer: answer.status_code == 200)
    left = asking(versioned).list_object_versions(Bucket=versioned.s3_bucket_name).get("Versions", [])
    assert [each["Size"] for each in left] == ([len(b"the owner's")] if owner_does is put_over_it else [])
    assert_nothing_left([accounts["B"]])


@pytest.mark.parametrize("size", SIZES)
async def test_a_roll_back_is_pending_when_the_bucket_keeps_versions(
    accounts: Accounts, proxied: Proxied, versioned: StoreAccount, unlisted: FaultProxy, size: int
) -> None:
    failing = proxied("B")
    failing.add(Fault.refuses("AccessDenied", operation="put" if size == ONE_PART else "complete", times=None))
    async with serving(unlisted.account, failing.account, **QUICK) as service, service.client() as client:
        with capture_logs() as logs:
            answer = await client.put("/files/k", content=content(size))
        told = assert_told(answer, 502, {"A": "taken_back", "B": "access_refused"})
        assert {name: each["status"] for name, each in told["accounts"].items()} == {
            "A": "removal_pending",
            "B": "removed",
        }
        assert any(entry["event"] == "removal_pending" and "s3:ListBucketVersions" in entry["detail"] for entry in logs)
    assert_nothing_left([versioned, accounts["B"]])  # what could be seen is gone


@pytest.mark.parametrize("size", SIZES)
async def test_files_are_erased_and_rolled_back_when_the_bucket_keeps_no_versions(
    accounts: Accounts, proxied: Proxied, size: int
) -> None:
    unlisted, failing = proxied("A"), proxied("B")
    unlisted.add(UNLISTED)
    async with serving(unlisted.account, failing.account, **QUICK) as service, service.client() as client:
        await stored(client, size)
        assert (await client.delete("/files/k")).status_code == 200
        failing.add(Fault.refuses("AccessDenied", operation="put" if size == ONE_PART else "complete", times=None))
        answer = await client.put("/files/k", content=content(size))
        told = assert_told(answer, 502, {"A": "taken_back", "B": "access_refused"})
        assert {each["status"] for each in told["accounts"].values()} == {"removed"}
    assert_nothing_left([accounts["A"], accounts["B"]])
