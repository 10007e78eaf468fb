"""The ledger is made again from objects that name their accounts by hashes; the accounts are in memory here."""

from collections.abc import Sequence

import pytest

from file.audit.findings import RebuildFindings
from file.ledger.accounts.accountstates import all_names
from file.logic.accounts.hashes import AccountHashes
from file.logic.values import FILE_ACCOUNT_HASHES, FILE_ACCOUNTS
from tests.flow import HASHES
from tests.unit.audit.test_rebuild import PREFIX, ListedBucket, put, rebuild, rows_in
from tests.unit.ledger.looking import ask, files_in
from tests.unit.ledger.verified import states_in

FORMER = AccountHashes([b"the former key of the tests"])
STORED, MISSING, NOWHERE = ("stored", None), ("pending", "replica_missing"), ("pending", "account_unreachable")


@pytest.fixture
def buckets() -> dict[str, ListedBucket]:
    return {name: ListedBucket(name) for name in "ABC"}


def put_hashed(
    buckets: dict[str, ListedBucket],
    key: str,
    *,
    into: str,
    names: Sequence[str] = "ABC",
    hashes: AccountHashes = HASHES,
    file_id: str | None = None,
) -> str:
    file_id = put(buckets, key, into=into, accounts=None, file_id=file_id)
    for name in into:
        buckets[name].objects[PREFIX + key].metadata[FILE_ACCOUNT_HASHES] = hashes.of(file_id, names)
    return file_id


def counted(findings: RebuildFindings) -> tuple[int, int, int, int, int]:
    restored = findings.stored, findings.partial
    return (*restored, findings.unknown_accounts, findings.without_accounts, findings.foreign)


async def test_accounts_are_told_by_their_hashes(database: str, buckets: dict[str, ListedBucket]) -> None:
    put_hashed(buckets, "k", into="A", names="AB")
    put_hashed(buckets, "all", into="ABC")
    findings = await rebuild(database, buckets)
    assert (counted(findings), findings.is_whole) == ((1, 1, 0, 0, 0), True)
    assert await states_in(database) == {"A": STORED, "B": MISSING}
    assert (await files_in(database))["k"].wanted == {"A": f"bucket-a/{PREFIX}", "B": f"bucket-b/{PREFIX}"}


async def test_copies_of_earlier_releases_and_of_this_one_tell_both(
    sqlite_database: str, buckets: dict[str, ListedBucket]
) -> None:
    file_id = put(buckets, "k", into="A", accounts="A,C")
    put_hashed(buckets, "k", into="B", names="AB", file_id=file_id)
    assert counted(await rebuild(sqlite_database, buckets)) == (0, 1, 0, 0, 0)
    assert await states_in(sqlite_database) == {"A": STORED, "B": STORED, "C": MISSING}


async def test_objects_of_a_former_key_are_understood_when_the_key_is_given(
    sqlite_database: str, buckets: dict[str, ListedBucket]
) -> None:
    file_id = put_hashed(buckets, "k", into="A", hashes=FORMER)
    put_hashed(buckets, "k", into="B", file_id=file_id)
    both = AccountHashes([*HASHES.keys, *FORMER.keys])
    assert counted(await rebuild(sqlite_database, buckets, hashes=both)) == (0, 1, 0, 0, 0)
    assert await states_in(sqlite_database) == {"A": STORED, "B": STORED, "C": MISSING}


async def test_no_copy_is_forgotten_when_the_key_is_lost(database: str, buckets: dict[str, ListedBucket]) -> None:
    put_hashed(buckets, "complete", into="ABC", hashes=FORMER)
    put_hashed(buckets, "k", into="AB", hashes=FORMER)
    findings = await rebuild(database, buckets)
    assert (counted(findings), findings.is_whole) == ((1, 0, 1, 0, 2), False)
    assert list(await files_in(database)) == ["complete"]
    dry = await rebuild(database, buckets, without_unknown=True, dry_run=True)
    assert (counted(dry), dry.is_whole) == ((1, 0, 0, 1, 1), True)
    # Nothing was lost: the key is found after all.
    assert counted(await rebuild(database, buckets, hashes=FORMER)) == (0, 1, 0, 0, 0)
    assert await states_in(database) == {"A": STORED, "B": STORED, "C": MISSING}


async def test_a_file_goes_without_its_copy_when_that_is_asked_for(
    sqlite_database: str, buckets: dict[str, ListedBucket]
) -> None:
    put_hashed(buckets, "k", into="A", names=["A", "GONE"])
    assert counted(await rebuild(sqlite_database, buckets)) == (0, 0, 1, 0, 0)
    assert await rows_in(sqlite_database) == []
    assert counted(await rebuild(sqlite_database, buckets, without_unknown=True)) == (1, 0, 0, 1, 0)
    assert await states_in(sqlite_database) == {"A": STORED}


async def test_an_account_that_is_not_configured_is_told_by_a_name_that_is_given_or_that_the_ledger_knows(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
    put_hashed(buckets, "k", into="AB", names=["A", "B", "GONE"])
    assert counted(await rebuild(database, buckets, former=["ELSE", "GONE"])) == (0, 1, 0, 0, 0)
    assert await states_in(database) == {"A": STORED, "B": STORED, "GONE": NOWHERE}
    assert await ask(database, lambda: all_names(database)) == {"A", "B", "GONE"}
    put_hashed(buckets, "later", into="AB", names=["A", "B", "GONE"])
    assert counted(await rebuild(database, buckets)) == (0, 1, 0, 0, 0)
    assert (await states_in(database, "later"))["GONE"] == NOWHERE


async def test_a_renamed_account_needs_no_name_when_it_has_the_file(
    sqlite_database: str, buckets: dict[str, ListedBucket]
) -> None:
    put_hashed(buckets, "there", into="ABC", names=["A", "B", "FORMER_C"])
    put_hashed(buckets, "k", into="AB", names=["A", "B", "FORMER_C"])
    assert counted(await rebuild(sqlite_database, buckets)) == (1, 0, 1, 0, 0)
    assert await states_in(sqlite_database, "there") == dict.fromkeys("ABC", STORED)


async def test_an_owner_who_writes_hashes_of_its_own_adds_no_account(
    sqlite_database: str, buckets: dict[str, ListedBucket]
) -> None:
    other = put_hashed(buckets, "other", into="ABC")
    file_id = put_hashed(buckets, "k", into="A", names="A")
    metadata = buckets["A"].objects[f"{PREFIX}k"].metadata
    metadata[FILE_ACCOUNT_HASHES] = HASHES.of(other, "ABC")  # of another file
    metadata[FILE_ACCOUNTS] = "A,B,C"  # beside hashes, names count for nothing
    assert counted(await rebuild(sqlite_database, buckets)) == (1, 0, 1, 0, 1)
    for nonsense in ("", ",,,", HASHES.of(file_id, "A") + "," * 5000):
        metadata[FILE_ACCOUNT_HASHES] = nonsense
        await rebuild(sqlite_database, buckets, without_unknown=True, dry_run=True)
