"""A store, or a gateway before it, that does not give an object's metadata back: nothing is said to be gone that is
there, and what has the version or the ETag that was stored is ours.
"""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

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
    assert_nothing_left,
    assert_stored,
    assert_told,
    content,
    put,
    serving,
)
from tests.service.receipts import receipt_of, receipt_when, statuses
from tests.service.services import until_nothing_is_left
from tests.service.verifying import delete, metadata_of, overwrite, problems_of, states_of, verify

QUICK: dict[str, Any] = {**SHORT, "lease_seconds": 1.0, "grace_seconds": 10.0}
SIZES = [ONE_PART, MANY_PARTS]
LOST = "loses_metadata"


@pytest.fixture(params=["versions kept", "no versions kept"])
def account(request: pytest.FixtureRequest, new_bucket: NewBucket, accounts: Accounts) -> StoreAccount:
    """Of A's server, empty."""
    versioned = request.param == "versions kept"
    return new_bucket("A", f"lossy-{uuid4().hex[:12]}", versioned=versioned)


@pytest.fixture
def lossy(account: StoreAccount) -> Iterator[FaultProxy]:
    """Before the account; the metadata of its objects are lost on the way."""
    with FaultProxy(account) as proxy:
        proxy.add(Fault.loses_metadata(times=None))
        yield proxy


async def stored(client: httpx.AsyncClient, size: int) -> str:
    answer = await client.put("/files/k", content=content(size))
    assert answer.status_code == 201, answer.json()
    return str(answer.json()["id"])


@pytest.mark.parametrize("size", SIZES)
async def test_an_erasure_takes_out_what_was_stored(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts, size: int
) -> None:
    async with serving(lossy.account, accounts["B"], **QUICK) as service, service.client() as client:
        await stored(client, size)
        answer = await client.delete("/files/k")
        assert (answer.status_code, statuses(answer.json())) == (200, {"A": "erased", "B": "erased"})
        assert "strangers" not in answer.json()["accounts"]["A"]
        assert_nothing_left([account, accounts["B"]])


@pytest.mark.parametrize("size", SIZES)
async def test_a_roll_back_takes_out_what_was_stored(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts, proxied: Proxied, size: int
) -> None:
    refusing = proxied("B")
    operation = "put" if size == ONE_PART else "complete"
    refusing.add(Fault.refuses("AccessDenied", operation=operation, times=None))
    async with serving(lossy.account, refusing.account, **QUICK) as service:
        told = assert_told(await put(service, size), 502, {"A": "taken_back", "B": "access_refused"})
        assert statuses(told) == {"A": "removed", "B": "removed"}
        assert_nothing_left([account, accounts["B"]])


@pytest.mark.parametrize("size", SIZES)
async def test_nothing_is_called_removed_when_the_answer_was_lost_as_well(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts, size: int
) -> None:
    operation = "put" if size == ONE_PART else "complete"
    with FaultProxy(lossy.account) as losing:
        losing.add(Fault.loses_reply(operation=operation))
        async with serving(losing.account, accounts["B"], **QUICK, database=None) as service:
            told = assert_told(await put(service, size), 502, {"A": "ownership_unknown", "B": "taken_back"})
            assert statuses(told) == {"A": "removal_pending", "B": "removed"}
            assert_stored([account], {"k": content(size)})
            # It is ours, as it turns out once the metadata is given back.
            lossy.clear()
            async with service.client() as client:
                assert (await client.put("/files/other", content=b"x")).status_code == 201
                assert (await client.delete("/files/other")).status_code == 200
            await until_nothing_is_left([account, accounts["B"]])


async def test_an_object_of_somebody_else_is_called_a_stranger_when_its_etag_is_another(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts
) -> None:
    async with serving(lossy.account, accounts["B"], **QUICK) as service, service.client() as client:
        file_id = await stored(client, ONE_PART)
        overwrite(account, b"theirs")
        answer = await client.delete("/files/k")
        assert (answer.status_code, statuses(answer.json())) == (200, {"A": "erased", "B": "erased"})
        assert (await receipt_of(client, file_id))["accounts"]["A"]["strangers"] == 1
    assert_stored([account], {"k": b"theirs"})


@pytest.mark.parametrize("size", SIZES)
async def test_it_is_verified_by_version_and_etag_and_read_from_where_that_is_certain(
    account: StoreAccount, lossy: FaultProxy, accounts: Accounts, sqlite_database: str, size: int
) -> None:
    """A numbered version is read from the lossy account; an equal object without a number may be somebody else's."""
    async with (
        serving(lossy.account, accounts["B"], **QUICK, database=sqlite_database) as service,
        service.client() as client,
    ):
        await stored(client, size)
        answer = await client.get("/files/k")
        assert (answer.status_code, answer.content) == (200, content(size))
        delete(accounts["B"])
        answer = await client.get("/files/k")
        assert answer.status_code == (200 if account.contents().versions[0][1] not in (None, "null") else 502)
    findings = await verify(sqlite_database, lossy.account, only="A")
    assert (findings.is_right, findings.accounts["A"].good) == (True, 1)
    assert (await states_of(sqlite_database))["A"] == ("stored", None)


@pytest.mark.parametrize("metadata", [{"mentum-file-id": "01890000-0000-7000-8000-000000000000"}, {"owners": "own"}])
async def test_an_equal_object_is_a_strangers_when_it_shows_other_metadata(
    accounts: Accounts, sqlite_database: str, metadata: dict[str, str]
) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving(a, b, **QUICK, database=sqlite_database) as service, service.client() as client:
        file_id = await stored(client, ONE_PART)
        overwrite(a, content(ONE_PART), Metadata=metadata)
        assert problems_of(await verify(sqlite_database, a, b)) == [("A", "k", "replaced", "blocked")]
        await client.delete("/files/k")
        erased = await receipt_when(client, file_id, lambda receipt: receipt["status"] == "erased")
        assert erased["accounts"]["A"]["strangers"] == 1
        assert metadata_of(a) == metadata


async def test_an_equal_object_without_metadata_is_neither_removed_nor_called_erased_on_a_store_that_shows_it(
    accounts: Accounts, sqlite_database: str
) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving(a, b, **QUICK, database=sqlite_database) as service, service.client() as client:
        file_id = await stored(client, ONE_PART)
        assert (await client.get("/files/k")).status_code == 200  # A, which is asked first, shows its metadata
        overwrite(a, content(ONE_PART))
        answer = await client.delete("/files/k")
        assert answer.status_code == 202
        assert answer.json()["accounts"]["A"]["error"] == {"code": "ownership_unknown"}
        assert_stored([a], {"k": content(ONE_PART)})
        delete(a)  # its owner decides
        await client.delete("/files/k")
        await receipt_when(client, file_id, lambda receipt: receipt["status"] == "erased")


async def test_our_bytes_as_another_version_are_not_called_erased(new_bucket: NewBucket, accounts: Accounts) -> None:
    """A first attempt landed late: a second version of ours, of which the metadata is lost, too."""
    account = new_bucket("A", f"lossy-{uuid4().hex[:12]}", versioned=True)
    with FaultProxy(account) as proxy:
        proxy.add(Fault.loses_metadata(times=None))
        async with serving(proxy.account, **QUICK) as service, service.client() as client:
            await stored(client, ONE_PART)
            overwrite(account, content(ONE_PART), Metadata=metadata_of(account))
            answer = await client.delete("/files/k")
            assert (answer.status_code, statuses(answer.json())) == (202, {"A": "erasing"})
            assert answer.json()["accounts"]["A"]["error"] == {"code": "ownership_unknown"}
