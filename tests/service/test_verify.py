"""Owners delete, overwrite and damage objects behind our back: verifying finds it, and what can be repaired is."""

from typing import Any

import pytest

from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    Accounts,
    Proxied,
    asking,
    assert_stored,
    content,
    put,
    serving,
)
from tests.service.receipts import receipt_when
from tests.service.verifying import body_of, delete, metadata_of, overwrite, problems_of, states_of, verify
from tests.serving import Running
from tests.unit.ledger.looking import replicas_in

SIZES = [ONE_PART, MANY_PARTS]
QUICK: dict[str, Any] = {"lease_seconds": 1.0}
STORED = ("stored", None)
GOOD = {"file": STORED, **dict.fromkeys("ABC", STORED)}
MISSING, REPLACED = "replica_missing", "replaced"


def damaged(body: bytes) -> bytes:
    """As many bytes."""
    return bytes([body[0] ^ 1]) + body[1:]


async def upload(database: str, *accounts: StoreAccount, size: int = ONE_PART, key: str = "k") -> str:
    """By a service that has ended by then. Returns the file's id."""
    async with serving(*accounts, database=database) as service:
        return await upload_to(service, size, key)


async def upload_to(service: Running, size: int = ONE_PART, key: str = "k") -> str:
    answer = await put(service, size, key)
    assert answer.status_code == 201, answer.text
    file_id: str = answer.json()["id"]
    return file_id


async def until_stored(service: Running, file_id: str) -> None:
    async with service.client() as client:
        await receipt_when(client, file_id, lambda told: bool(told["status"] == "stored"))


@pytest.mark.parametrize("size", [0, *SIZES])
@pytest.mark.parametrize("deep", [False, True])
async def test_nothing_is_wrong_when_everything_is_there(
    accounts: Accounts, sqlite_database: str, size: int, deep: bool
) -> None:
    await upload(sqlite_database, *accounts.values(), size=size)
    findings = await verify(sqlite_database, *accounts.values(), deep=deep)
    assert findings.is_right
    assert [(own.asked, own.good, own.reached) for own in findings.accounts.values()] == [(1, 1, 1.0)] * 3
    assert await states_of(sqlite_database) == GOOD
    assert all(row.verified_at is not None for row in (await replicas_in(sqlite_database)).values())


@pytest.mark.parametrize("size", SIZES)
async def test_what_its_owner_deleted_is_brought_again(accounts: Accounts, sqlite_database: str, size: int) -> None:
    async with serving(*accounts.values(), database=sqlite_database, **QUICK) as service:
        file_id = await upload_to(service, size)
        delete(accounts["B"])
        findings = await verify(sqlite_database, *accounts.values())
        assert problems_of(findings) == [("B", "k", MISSING, "pending")]
        assert not findings.is_right
        assert findings.problems[0].good_copies == 2
        await until_stored(service, file_id)
    assert await states_of(sqlite_database) == GOOD
    assert_stored(accounts.values(), {"k": content(size)})
    assert (await verify(sqlite_database, *accounts.values())).is_right


async def test_what_its_owner_overwrote_is_never_overwritten_by_us(accounts: Accounts, sqlite_database: str) -> None:
    theirs = damaged(content(ONE_PART))
    async with serving(*accounts.values(), database=sqlite_database, **QUICK) as service:
        file_id = await upload_to(service)
        overwrite(accounts["B"], theirs)
        for replace in (False, True, True):
            findings = await verify(sqlite_database, *accounts.values(), replace=replace)
            assert problems_of(findings) == [("B", "k", REPLACED, "blocked")]
            assert (await states_of(sqlite_database))["B"] == ("blocked", REPLACED)
            assert body_of(accounts["B"]) == theirs
        delete(accounts["B"])  # its owner has moved it
        findings = await verify(sqlite_database, *accounts.values())
        assert problems_of(findings) == [("B", "k", MISSING, "pending")]
        await until_stored(service, file_id)
    assert_stored(accounts.values(), {"k": content(ONE_PART)})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{"ChecksumAlgorithm": "CRC64NVME"}, {"ChecksumAlgorithm": "CRC32"}])
async def test_damaged_bytes_under_our_id_are_replaced_when_a_person_says_so(
    accounts: Accounts, sqlite_database: str, size: int, options: dict[str, str]
) -> None:
    async with serving(*accounts.values(), database=sqlite_database, **QUICK) as service:
        file_id = await upload_to(service, size)
        wrong = damaged(content(size))
        overwrite(accounts["C"], wrong, Metadata=metadata_of(accounts["C"]), **options)
        findings = await verify(sqlite_database, *accounts.values(), replace=True)  # nobody has seen it until now
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
    """Whatever the ledger says of the others."""
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


async def test_an_object_that_its_owner_copied_onto_itself_can_be_read(
    accounts: Accounts, sqlite_database: str
) -> None:
    """Its ETag is another one; the bytes are ours."""
    async with serving(accounts["A"], database=sqlite_database) as service:
        await upload_to(service, MANY_PARTS)
        overwrite(accounts["A"], content(MANY_PARTS), Metadata=metadata_of(accounts["A"]))
        async with service.client() as client:
            assert (await client.get("/files/k")).status_code != 200
            assert (await verify(sqlite_database, accounts["A"])).is_right
            assert (await client.get("/files/k")).content == content(MANY_PARTS)


async def test_bytes_that_rotted_are_found_by_reading_only(
    accounts: Accounts, proxied: Proxied, sqlite_database: str
) -> None:
    await upload(sqlite_database, *accounts.values(), size=MANY_PARTS)
    proxy = proxied("B")
    among = (accounts["A"], proxy.account, accounts["C"])
    proxy.add(Fault.damages_reply(operation="get", at_byte=MANY_PARTS - 1))
    assert (await verify(sqlite_database, *among, deep=True)).is_right  # on the way: the second reading is right
    assert len(proxy.seen("get")) == 2
    proxy.add(Fault.damages_reply(operation="get", at_byte=MANY_PARTS - 1, times=None))
    assert (await verify(sqlite_database, *among)).is_right
    findings = await verify(sqlite_database, *among, deep=True)
    assert problems_of(findings) == [("B", "k", REPLACED, "blocked")]
    assert findings.problems[0].detail == "gives other bytes"
    assert not (await verify(sqlite_database, *among)).is_right  # a look does not make up for it
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
    became = sorted(problem.became for problem in findings.problems)
    assert became == ["kept", "pending", "pending"]
    copies = sorted(problem.good_copies or 0 for problem in findings.problems)
    assert copies == [0, 1, 2]
    states = await states_of(sqlite_database)
    if dry_run:
        assert states == GOOD
    else:
        assert sorted(map(str, states.values())) == sorted(
            map(str, [("partial", None), ("pending", MISSING), ("pending", MISSING), ("stored", MISSING)])
        )
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


@pytest.mark.parametrize("trouble", ["gone", "failing", "refusing", "without its bucket", "losing its bucket"])
async def test_an_account_that_does_not_tell_changes_nothing(
    accounts: Accounts, proxied: Proxied, sqlite_database: str, trouble: str
) -> None:
    await upload(sqlite_database, *accounts.values())
    proxy = proxied("B")
    if trouble == "gone":
        proxy.refuse_connections()
    elif trouble.endswith("its bucket"):  # then every object is asked for with 404, too
        proxy.add(Fault.refuses("NoSuchBucket", times=None, after=int(trouble.startswith("losing"))))
    else:
        code = "InternalError" if trouble == "failing" else "AccessDenied"
        proxy.add(Fault.refuses(code, operation="head", times=None))
    delete(accounts["A"])
    findings = await verify(sqlite_database, accounts["A"], proxy.account, accounts["C"])
    error = findings.accounts["B"].error
    codes = {
        "gone": "account_unreachable",
        "failing": "account_failing",
        "refusing": "access_refused",
        "without its bucket": "bucket_missing",
        "losing its bucket": "bucket_missing",
    }
    assert error is not None
    assert error.code == codes[trouble]
    assert findings.accounts["A"].missing == 1  # its trouble is its own
    states = await states_of(sqlite_database)
    assert (states["A"], states["B"], states["C"]) == (("pending", MISSING), STORED, STORED)
    assert not findings.is_right


@pytest.fixture(scope="session")
def versioned(kept_bucket: NewBucket) -> StoreAccount:
    """Account A with a bucket that keeps versions."""
    return kept_bucket("A", "verify-versioned", versioned=True)


async def test_a_bucket_that_keeps_versions_has_the_file_again(
    accounts: Accounts, versioned: StoreAccount, sqlite_database: str
) -> None:
    versioned.empty()
    among = (versioned, accounts["B"])
    async with serving(*among, database=sqlite_database, **QUICK) as service:
        file_id = await upload_to(service)
        theirs = overwrite(versioned, b"theirs")
        findings = await verify(sqlite_database, *among)
        assert problems_of(findings) == [("A", "k", REPLACED, "blocked")]
        asking(versioned).delete_object(Bucket=versioned.s3_bucket_name, Key="k", VersionId=theirs)
        assert (await verify(sqlite_database, *among)).is_right  # ours is the current one again
        assert (await states_of(sqlite_database))["A"] == STORED
        delete(versioned)  # leaves a marker
        findings = await verify(sqlite_database, *among)
        assert problems_of(findings) == [("A", "k", MISSING, "pending")]
        await until_stored(service, file_id)
        assert body_of(versioned) == content(ONE_PART)
        wrong = damaged(content(ONE_PART))
        overwrite(versioned, wrong, Metadata=metadata_of(versioned))
        await verify(sqlite_database, *among)
        findings = await verify(sqlite_database, *among, replace=True)
        assert problems_of(findings) == [("A", "k", REPLACED, "removed")]
        await until_stored(service, file_id)
    assert body_of(versioned) == content(ONE_PART)
    assert (await verify(sqlite_database, *among)).is_right
    versioned.empty()
