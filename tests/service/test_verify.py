"""Owners delete, overwrite, and damage objects: `verify` finds it, and repairs what it can."""

import pytest

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, Proxied, put_stored, serving
from tests.service.owners import asking, assert_stored, body_of, delete, metadata_of, overwrite
from tests.service.receipts import receipt_when
from tests.service.sizes import MANY_PARTS, ONE_PART, SIZES, content, each_size
from tests.service.verifying import problems_of, states_of, upload, verify
from tests.serving import Running
from tests.unit.ledger.looking import replicas_in

QUICK = {"lease_seconds": 1.0}
STORED = ("stored", None)
GOOD = {"file": STORED, **dict.fromkeys("ABC", STORED)}
MISSING, REPLACED = "replica_missing", "replaced"


def damaged(body: bytes) -> bytes:
    """Of the same size."""
    return bytes([body[0] ^ 1]) + body[1:]


async def until_stored(service: Running, file_id: str) -> None:
    async with service.client() as client:
        await receipt_when(client, file_id, lambda told: bool(told["status"] == "stored"))


@pytest.mark.parametrize("size", [0, *SIZES])
@pytest.mark.parametrize("deep", [False, True])
async def test_all_is_right_when_all_is_there(accounts: Accounts, sqlite_database: str, size: int, deep: bool) -> None:
    await upload(sqlite_database, *accounts.values(), size=size)
    findings = await verify(sqlite_database, *accounts.values(), deep=deep)
    assert findings.is_right
    assert [(own.asked, own.good, own.reached) for own in findings.accounts.values()] == [(1, 1, 1.0)] * 3
    assert await states_of(sqlite_database) == GOOD
    assert all(row.verified_at is not None for row in (await replicas_in(sqlite_database)).values())


@each_size
async def test_a_deleted_object_is_copied_again(accounts: Accounts, sqlite_database: str, size: int) -> None:
    async with serving(*accounts.values(), database=sqlite_database, **QUICK) as service:
        file_id = await put_stored(service, size)
        delete(accounts["B"])
        findings = await verify(sqlite_database, *accounts.values())
        assert problems_of(findings) == [("B", "k", MISSING, "pending")]
        assert not findings.is_right
        assert findings.problems[0].good_copies == 2
        await until_stored(service, file_id)
    assert await states_of(sqlite_database) == GOOD
    assert_stored(accounts.values(), {"k": content(size)})
    assert (await verify(sqlite_database, *accounts.values())).is_right


async def test_an_object_of_the_owner_is_never_overwritten(accounts: Accounts, sqlite_database: str) -> None:
    theirs = damaged(content(ONE_PART))
    async with serving(*accounts.values(), database=sqlite_database, **QUICK) as service:
        file_id = await put_stored(service)
        overwrite(accounts["B"], theirs)
        for replace in (False, True, True):
            findings = await verify(sqlite_database, *accounts.values(), replace=replace)
            assert problems_of(findings) == [("B", "k", REPLACED, "blocked")]
            assert (await states_of(sqlite_database))["B"] == ("blocked", REPLACED)
            assert body_of(accounts["B"]) == theirs
        delete(accounts["B"])  # the owner has moved it
        assert problems_of(await verify(sqlite_database, *accounts.values())) == [("B", "k", MISSING, "pending")]
        await until_stored(service, file_id)
    assert_stored(accounts.values(), {"k": content(ONE_PART)})


@each_size
@pytest.mark.parametrize("algorithm", ["CRC64NVME", "CRC32"])
async def test_damaged_bytes_under_our_id_are_replaced_only_on_request(
    accounts: Accounts, sqlite_database: str, size: int, algorithm: str
) -> None:
    async with serving(*accounts.values(), database=sqlite_database, **QUICK) as service:
        file_id = await put_stored(service, size)
        wrong = damaged(content(size))
        overwrite(accounts["C"], wrong, Metadata=metadata_of(accounts["C"]), ChecksumAlgorithm=algorithm)
        findings = await verify(sqlite_database, *accounts.values(), replace=True)  # the first run only reports it
        assert problems_of(findings) == [("C", "k", REPLACED, "blocked")]
        assert body_of(accounts["C"]) == wrong
        dry = await verify(sqlite_database, *accounts.values(), replace=True, dry_run=True)
        assert problems_of(dry) == [("C", "k", REPLACED, "removed")]
        assert (await states_of(sqlite_database))["C"] == ("blocked", REPLACED)
        assert body_of(accounts["C"]) == wrong
        findings = await verify(sqlite_database, *accounts.values(), replace=True)
        assert problems_of(findings) == [("C", "k", REPLACED, "removed")]
        await until_stored(service, file_id)
    assert await states_of(sqlite_database) == GOOD
    assert_stored(accounts.values(), {"k": content(size)})


@pytest.mark.parametrize("trouble", ["deleted", "damaged", "down"])
async def test_damaged_bytes_stay_when_no_other_account_shows_the_file_at_that_moment(
    accounts: Accounts, proxied: Proxied, sqlite_database: str, trouble: str
) -> None:
    """The ledger's state of the others does not count."""
    await upload(sqlite_database, *accounts.values())
    proxy, wrong, metadata = proxied("A"), damaged(content(ONE_PART)), metadata_of(accounts["A"])
    among = (proxy.account, accounts["B"], accounts["C"])
    overwrite(accounts["C"], wrong, Metadata=metadata)
    await verify(sqlite_database, *among)
    delete(accounts["B"])
    if trouble == "down":
        proxy.refuse_connections()
    elif trouble == "damaged":
        overwrite(accounts["A"], wrong, Metadata=metadata, ChecksumAlgorithm="CRC64NVME")
    else:
        delete(accounts["A"])
    for dry_run in (True, False):
        findings = await verify(sqlite_database, *among, only="C", replace=True, dry_run=dry_run)
        assert problems_of(findings) == [("C", "k", REPLACED, "blocked")]
        assert findings.problems[0].detail.endswith("not removed: no other account shows the file at the moment")
        assert findings.accounts["C"].differs == 1
        assert body_of(accounts["C"]) == wrong
        assert await states_of(sqlite_database) == {**GOOD, "file": ("partial", None), "C": ("blocked", REPLACED)}
    proxy.accept_connections()
    overwrite(accounts["A"], content(ONE_PART), Metadata=metadata, ChecksumAlgorithm="CRC64NVME")
    findings = await verify(sqlite_database, *among, only="C", replace=True)
    assert problems_of(findings) == [("C", "k", REPLACED, "removed")]
    assert (await states_of(sqlite_database))["C"] == ("pending", MISSING)


async def test_another_size_differs(accounts: Accounts, sqlite_database: str) -> None:
    await upload(sqlite_database, *accounts.values())
    overwrite(accounts["A"], b"short", Metadata=metadata_of(accounts["A"]))
    findings = await verify(sqlite_database, *accounts.values())
    assert problems_of(findings) == [("A", "k", REPLACED, "blocked")]
    assert findings.problems[0].detail == f"has 5 bytes instead of {ONE_PART}"


async def test_an_object_its_owner_copied_onto_itself_can_be_read(accounts: Accounts, sqlite_database: str) -> None:
    """Its ETag has changed, its bytes have not."""
    async with serving(accounts["A"], database=sqlite_database) as service:
        await put_stored(service, MANY_PARTS)
        overwrite(accounts["A"], content(MANY_PARTS), Metadata=metadata_of(accounts["A"]))
        async with service.client() as client:
            assert (await client.get("/files/k")).status_code != 200
            assert (await verify(sqlite_database, accounts["A"])).is_right
            assert (await client.get("/files/k")).content == content(MANY_PARTS)


async def test_only_reading_finds_damaged_bytes(accounts: Accounts, proxy: FaultProxy, sqlite_database: str) -> None:
    await upload(sqlite_database, *accounts.values(), size=MANY_PARTS)
    among = (accounts["A"], proxy.account, accounts["C"])
    proxy.add(Fault.damages_reply(operation="get", at_byte=MANY_PARTS - 1))
    # Damaged on the way: the second reading is right.
    assert (await verify(sqlite_database, *among, deep=True)).is_right
    assert len(proxy.seen("get")) == 2
    proxy.add(Fault.damages_reply(operation="get", at_byte=MANY_PARTS - 1, times=None))
    assert (await verify(sqlite_database, *among)).is_right
    findings = await verify(sqlite_database, *among, deep=True)
    assert problems_of(findings) == [("B", "k", REPLACED, "blocked")]
    assert findings.problems[0].detail == "gives other bytes"
    assert not (await verify(sqlite_database, *among)).is_right  # without --deep it stays wrong
    assert (await states_of(sqlite_database))["B"] == ("blocked", REPLACED)
    proxy.clear()
    assert (await verify(sqlite_database, *among)).is_right
    assert await states_of(sqlite_database) == GOOD


@pytest.mark.parametrize("dry_run", [False, True])
async def test_the_last_good_replica_is_never_demoted(accounts: Accounts, sqlite_database: str, dry_run: bool) -> None:
    await upload(sqlite_database, *accounts.values())
    for account in accounts.values():
        delete(account)
    findings = await verify(sqlite_database, *accounts.values(), dry_run=dry_run)
    assert sorted(problem.became for problem in findings.problems) == ["kept", "pending", "pending"]
    assert sorted(problem.good_copies or 0 for problem in findings.problems) == [0, 1, 2]
    states = await states_of(sqlite_database)
    if dry_run:
        assert states == GOOD
    else:
        assert states.pop("file") == ("partial", None)
        assert sorted(states.values()) == [("pending", MISSING), ("pending", MISSING), ("stored", MISSING)]
    again = await verify(sqlite_database, *accounts.values())
    assert len(again.problems) == (3 if dry_run else 1)
    assert not again.is_right


async def test_a_dry_run_changes_nothing(accounts: Accounts, sqlite_database: str) -> None:
    await upload(sqlite_database, *accounts.values())
    delete(accounts["A"])
    overwrite(accounts["B"], b"theirs")
    findings = await verify(sqlite_database, *accounts.values(), dry_run=True, deep=True)
    assert problems_of(findings) == [("A", "k", MISSING, "pending"), ("B", "k", REPLACED, "blocked")]
    assert await states_of(sqlite_database) == GOOD
    assert all(row.verified_at is None for row in (await replicas_in(sqlite_database)).values())


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (None, "account_unreachable"),
        (Fault.refuses("InternalError", operation="head", times=None), "account_failing"),
        (Fault.refuses("AccessDenied", operation="head", times=None), "access_refused"),
        # Every request for an object is answered with 404, too.
        (Fault.refuses("NoSuchBucket", times=None), "bucket_missing"),
        (Fault.refuses("NoSuchBucket", times=None, after=1), "bucket_missing"),
    ],
    ids=["gone", "failing", "refusing", "without its bucket", "losing its bucket"],
)
async def test_no_replica_changes_when_its_account_gives_no_answer(
    accounts: Accounts, proxy: FaultProxy, sqlite_database: str, fault: Fault | None, code: str
) -> None:
    await upload(sqlite_database, *accounts.values())
    if fault is None:
        proxy.refuse_connections()
    else:
        proxy.add(fault)
    delete(accounts["A"])
    findings = await verify(sqlite_database, accounts["A"], proxy.account, accounts["C"])
    assert findings.accounts["B"].error is not None
    assert findings.accounts["B"].error.code == code
    assert findings.accounts["A"].missing == 1
    states = await states_of(sqlite_database)
    assert (states["A"], states["B"], states["C"]) == (("pending", MISSING), STORED, STORED)
    assert not findings.is_right


async def test_a_versioned_bucket_is_repaired(
    accounts: Accounts, versioned: StoreAccount, sqlite_database: str
) -> None:
    among = (versioned, accounts["B"])
    async with serving(*among, database=sqlite_database, **QUICK) as service:
        file_id = await put_stored(service)
        theirs = overwrite(versioned, b"theirs")
        assert problems_of(await verify(sqlite_database, *among)) == [("A", "k", REPLACED, "blocked")]
        asking(versioned).delete_object(Bucket=versioned.s3_bucket_name, Key="k", VersionId=theirs)
        assert (await verify(sqlite_database, *among)).is_right  # our version is the current one again
        assert (await states_of(sqlite_database))["A"] == STORED
        delete(versioned)  # leaves a delete marker
        assert problems_of(await verify(sqlite_database, *among)) == [("A", "k", MISSING, "pending")]
        await until_stored(service, file_id)
        assert body_of(versioned) == content(ONE_PART)
        overwrite(versioned, damaged(content(ONE_PART)), Metadata=metadata_of(versioned))
        await verify(sqlite_database, *among)
        assert problems_of(await verify(sqlite_database, *among, replace=True)) == [("A", "k", REPLACED, "removed")]
        await until_stored(service, file_id)
    assert body_of(versioned) == content(ONE_PART)
    assert (await verify(sqlite_database, *among)).is_right
