"""A store that loses the metadata of objects: an object is ours if it has the stored version or ETag, and no object is
reported as removed while it is there.
"""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.service.conftest import Accounts, put, put_stored, serving, serving_client
from tests.service.owners import assert_nothing_left, assert_stored, delete, metadata_of, overwrite
from tests.service.receipts import assert_told, receipt_of, receipt_when, statuses
from tests.service.services import until_nothing_is_left
from tests.service.sizes import ONE_PART, QUICK, content, each_publication, each_size
from tests.service.verifying import problems_of, states_of, verify


@pytest.fixture(params=["versions kept", "no versions kept"])
def account(request: pytest.FixtureRequest, new_bucket: NewBucket, accounts: Accounts) -> StoreAccount:
    """A new bucket on A's server."""
    return new_bucket("A", f"lossy-{uuid4().hex[:12]}", versioned=request.param == "versions kept")


@pytest.fixture
def lossy(account: StoreAccount) -> Iterator[FaultProxy]:
    """In front of the account; it removes the metadata from the answers."""
    with FaultProxy(account) as proxy:
        proxy.add(Fault.loses_metadata(times=None))
        yield proxy


@each_size
async def test_an_erasure_is_complete(account: StoreAccount, lossy: FaultProxy, accounts: Accounts, size: int) -> None:
    async with serving_client(lossy.account, accounts["B"], **QUICK) as (service, client):
        await put_stored(service, size)
        answer = await client.delete("/files/k")
        assert (answer.status_code, statuses(answer.json())) == (200, {"A": "erased", "B": "erased"})
        assert "strangers" not in answer.json()["accounts"]["A"]
        assert_nothing_left([account, accounts["B"]])


@each_publication
async def test_a_roll_back_is_complete(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts, proxy: FaultProxy, operation: str, size: int
) -> None:
    proxy.add(Fault.refuses("AccessDenied", operation=operation, times=None))
    async with serving(lossy.account, proxy.account, **QUICK) as service:
        told = assert_told(await put(service, size), 502, {"A": "taken_back", "B": "access_refused"})
        assert statuses(told) == {"A": "removed", "B": "removed"}
        assert_nothing_left([account, accounts["B"]])


@each_publication
async def test_nothing_is_called_removed_when_the_answer_was_lost_as_well(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts, operation: str, size: int
) -> None:
    with FaultProxy(lossy.account) as losing:
        losing.add(Fault.loses_reply(operation=operation))
        async with serving_client(losing.account, accounts["B"], **QUICK) as (service, client):
            told = assert_told(await put(service, size), 502, {"A": "ownership_unknown", "B": "taken_back"})
            assert statuses(told) == {"A": "removal_pending", "B": "removed"}
            assert_stored([account], {"k": content(size)})
            lossy.clear()  # now its metadata shows that it is ours
            assert (await client.put("/files/other", content=b"x")).status_code == 201
            assert (await client.delete("/files/other")).status_code == 200
            await until_nothing_is_left([account, accounts["B"]])


async def test_an_object_of_the_owner_is_a_stranger_when_its_etag_differs(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts
) -> None:
    async with serving_client(lossy.account, accounts["B"], **QUICK) as (service, client):
        file_id = await put_stored(service)
        overwrite(account, b"theirs")
        answer = await client.delete("/files/k")
        assert (answer.status_code, statuses(answer.json())) == (200, {"A": "erased", "B": "erased"})
        assert (await receipt_of(client, file_id))["accounts"]["A"]["strangers"] == 1
    assert_stored([account], {"k": b"theirs"})


@each_size
async def test_it_is_verified_by_version_and_etag_and_read_where_that_is_certain(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts, sqlite_database: str, size: int
) -> None:
    """The lossy account gives a numbered version; an equal object without a version number may be the owner's."""
    async with serving_client(lossy.account, accounts["B"], **QUICK, database=sqlite_database) as (service, client):
        await put_stored(service, size)
        answer = await client.get("/files/k")
        assert (answer.status_code, answer.content) == (200, content(size))
        delete(accounts["B"])
        is_numbered = account.contents().versions[0][1] not in (None, "null")
        assert (await client.get("/files/k")).status_code == (200 if is_numbered else 502)
    findings = await verify(sqlite_database, lossy.account, only="A")
    assert (findings.is_right, findings.accounts["A"].good) == (True, 1)
    assert (await states_of(sqlite_database))["A"] == ("stored", None)


@pytest.mark.parametrize("metadata", [{"mentum-file-id": "01890000-0000-7000-8000-000000000000"}, {"owners": "own"}])
async def test_an_equal_object_is_a_stranger_when_it_has_other_metadata(
    accounts: Accounts, sqlite_database: str, metadata: dict[str, str]
) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving_client(a, b, **QUICK, database=sqlite_database) as (service, client):
        file_id = await put_stored(service)
        overwrite(a, content(ONE_PART), Metadata=metadata)
        assert problems_of(await verify(sqlite_database, a, b)) == [("A", "k", "replaced", "blocked")]
        await client.delete("/files/k")
        erased = await receipt_when(client, file_id, lambda receipt: receipt["status"] == "erased")
        assert erased["accounts"]["A"]["strangers"] == 1
        assert metadata_of(a) == metadata


async def test_an_equal_object_without_metadata_is_not_removed_or_called_erased_when_the_store_returns_metadata(
    accounts: Accounts, sqlite_database: str
) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving_client(a, b, **QUICK, database=sqlite_database) as (service, client):
        file_id = await put_stored(service)
        assert (await client.get("/files/k")).status_code == 200  # A, which is asked first, returns metadata
        overwrite(a, content(ONE_PART))
        answer = await client.delete("/files/k")
        assert answer.status_code == 202
        assert answer.json()["accounts"]["A"]["error"] == {"code": "ownership_unknown"}
        assert_stored([a], {"k": content(ONE_PART)})
        delete(a)  # its owner decides
        await client.delete("/files/k")
        await receipt_when(client, file_id, lambda receipt: receipt["status"] == "erased")


async def test_our_bytes_as_another_version_are_not_called_erased(versioned: StoreAccount) -> None:
    """A repeated put stored a second version of ours, whose metadata is lost, too."""
    with FaultProxy(versioned) as proxy:
        proxy.add(Fault.loses_metadata(times=None))
        async with serving_client(proxy.account, **QUICK) as (service, client):
            await put_stored(service)
            overwrite(versioned, content(ONE_PART), Metadata=metadata_of(versioned))
            answer = await client.delete("/files/k")
            assert (answer.status_code, statuses(answer.json())) == (202, {"A": "erasing"})
            assert answer.json()["accounts"]["A"]["error"] == {"code": "ownership_unknown"}
