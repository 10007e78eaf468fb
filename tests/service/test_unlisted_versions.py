"""An account that does not permit listing versions: if its bucket keeps versions, no file is reported as removed."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, Proxied, put_stored, serving_client
from tests.service.owners import asking, assert_nothing_left, delete, overwrite
from tests.service.receipts import BOUND_SECONDS, answer_when, assert_told, receipt_of, statuses
from tests.service.sizes import QUICK, content, each_publication

UNLISTED = Fault.refuses("AccessDenied", operation="list_versions", times=None)


@pytest.fixture
def unlisted(versioned: StoreAccount) -> Iterator[FaultProxy]:
    """In front of the bucket that keeps versions; they may not be listed."""
    with FaultProxy(versioned) as proxy:
        proxy.add(UNLISTED)
        yield proxy


@pytest.mark.parametrize("over_ours", ["nothing", "the owner's", "a delete marker"])
async def test_an_erasure_waits_for_the_permission_when_the_bucket_keeps_versions(
    accounts: Accounts, versioned: StoreAccount, unlisted: FaultProxy, over_ours: str
) -> None:
    async with serving_client(unlisted.account, accounts["B"], **QUICK) as (service, client):
        file_id = await put_stored(service)
        if over_ours == "the owner's":
            overwrite(versioned, b"the owner's")
        elif over_ours == "a delete marker":
            delete(versioned)
        with capture_logs() as logs:
            answer = await client.delete("/files/k")
        assert answer.status_code == 202, answer.json()
        assert any(entry["event"] == "cleaning_failed" and "s3:ListBucketVersions" in entry["detail"] for entry in logs)
        # It removed what it could see; that nothing more is visible is no proof.
        looked = len(unlisted.seen("list_versions"))
        await unlisted.wait_until("list_versions", looked + 1, ended=True, timeout_seconds=BOUND_SECONDS)
        receipt = await receipt_of(client, file_id)
        assert (receipt["status"], receipt["accounts"]["B"]["status"]) == ("erasing", "erased")
        assert receipt["accounts"]["A"]["error"] == {"code": "access_refused"}
        assert (await client.put("/files/k", content=b"x")).status_code == 409
        unlisted.clear()
        await answer_when(lambda: client.delete("/files/k"), lambda answer: answer.status_code == 200)
    left = asking(versioned).list_object_versions(Bucket=versioned.s3_bucket_name).get("Versions", [])
    assert [each["Size"] for each in left] == ([len(b"the owner's")] if over_ours == "the owner's" else [])
    assert_nothing_left([accounts["B"]])


@each_publication
async def test_a_roll_back_is_pending_when_the_bucket_keeps_versions(
    accounts: Accounts, proxy: FaultProxy, versioned: StoreAccount, unlisted: FaultProxy, operation: str, size: int
) -> None:
    proxy.add(Fault.refuses("AccessDenied", operation=operation, times=None))
    async with serving_client(unlisted.account, proxy.account, **QUICK) as (_, client):
        with capture_logs() as logs:
            answer = await client.put("/files/k", content=content(size))
        told = assert_told(answer, 502, {"A": "taken_back", "B": "access_refused"})
        assert statuses(told) == {"A": "removal_pending", "B": "removed"}
        assert any(entry["event"] == "removal_pending" and "s3:ListBucketVersions" in entry["detail"] for entry in logs)
    assert_nothing_left([versioned, accounts["B"]])  # what was visible is removed


@each_publication
async def test_files_are_erased_and_rolled_back_when_the_bucket_keeps_no_versions(
    accounts: Accounts, proxied: Proxied, proxy: FaultProxy, operation: str, size: int
) -> None:
    unlisted = proxied("A")
    unlisted.add(UNLISTED)
    async with serving_client(unlisted.account, proxy.account, **QUICK) as (service, client):
        await put_stored(service, size)
        assert (await client.delete("/files/k")).status_code == 200
        proxy.add(Fault.refuses("AccessDenied", operation=operation, times=None))
        answer = await client.put("/files/k", content=content(size))
        told = assert_told(answer, 502, {"A": "taken_back", "B": "access_refused"})
        assert set(statuses(told).values()) == {"removed"}
    assert_nothing_left([accounts["A"], accounts["B"]])
