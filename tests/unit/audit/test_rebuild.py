"""The ledger is rebuilt from the objects in the accounts, on both databases. The accounts are in memory."""

import dataclasses
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from file.audit.findings import RebuildFindings
from file.audit.rebuild import Rebuild
from file.ledger.accounts.accountstates import all_names
from file.ledger.installations import NO_INSTALLATION, Installations
from file.ledger.read.records import Records
from file.logic.accounts.hashes import AccountHashes
from file.logic.errors import AccountUnreachableError
from file.logic.naming import begun_at, encode_name, new_file_id
from file.logic.ports import FoundObject
from file.logic.values import (
    FILE_ACCOUNT_HASHES,
    FILE_ACCOUNTS,
    FILE_HEADERS,
    FILE_ID,
    FILE_INSTALLATION,
    FILE_NAME,
    FILE_SHA256,
    FileState,
    ReplicaState,
    checksum_text,
)
from file.models import File, GivenUpFile, Replica
from testkit.memorybucket import MemoryBucket, MemoryObject
from tests.buckets import registry_of
from tests.files import digests_of
from tests.flow import HASHES
from tests.intents import intent
from tests.unit.ledger.looking import ask, change_files, change_replicas, files_in, ledger_on, replicas_in
from tests.unit.ledger.verified import states_in, threads_on

MODIFIED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BODY = b"content"
PREFIX = "of/ours/"
OURS = "0f0e0d0c-0000-4000-8000-000000000001"
THEIRS = "0f0e0d0c-0000-4000-8000-000000000002"
CONTENT_HEADERS = {"content-encoding": "gzip", "cache-control": "no-store"}


class ListedBucket(MemoryBucket):
    """A memory bucket that shows a version and a time. `before_second_look` is called before the second look."""

    shows_checksums = True
    before_second_look: Callable[[str], object] | None = None

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **{"prefix": PREFIX, **options})
        self._looked: set[str] = set()

    async def look(self, object_key: str) -> FoundObject | None:
        if object_key in self._looked and self.before_second_look is not None:
            self.before_second_look(object_key)
        self._looked.add(object_key)
        if (found := await super().look(object_key)) is None:
            return None
        stored = dataclasses.replace(found.stored, version_id="v1")
        checksum = found.crc64nvme if self.shows_checksums else None
        return dataclasses.replace(found, stored=stored, crc64nvme=checksum, last_modified=MODIFIED)


Buckets = dict[str, ListedBucket]


@pytest.fixture
def buckets() -> Buckets:
    return {name: ListedBucket(name) for name in "ABC"}


def put(buckets: Buckets, key: str, *, into: str = "ABC", body: bytes = BODY, **changes: str | None) -> str:
    """Put objects as the service does; returns the file's id. A change that is None leaves the entry out."""
    file_id = changes.pop("file_id", None) or new_file_id()
    metadata = {
        "colour": "blue",
        FILE_ID: file_id,
        FILE_NAME: changes.pop("name", encode_name(f"{key} ü.txt")),
        FILE_HEADERS: ",".join(CONTENT_HEADERS),
        FILE_ACCOUNTS: changes.pop("accounts", "A,B,C"),
        FILE_SHA256: changes.pop("sha256", digests_of(body).sha256.hex()),
        FILE_INSTALLATION: changes.pop("installation", OURS),
    }
    for name in into:
        entries = {entry: value for entry, value in metadata.items() if value is not None}
        headers = {**CONTENT_HEADERS, "expires": "now: the store's own"}
        buckets[name].objects[PREFIX + key] = MemoryObject(body, entries, "text/x-test", headers)
    return file_id


async def rebuild(database: str | None, buckets: Buckets, **options: Any) -> RebuildFindings:
    options = {"hashes": HASHES, "adopted": [OURS], **options}
    return await Rebuild(database, registry_of(buckets.values()), **options).run()


async def rows_in(database: str) -> list[dict[str, Any]]:
    tables: Sequence[Any] = (File.objects.using(database), Replica.objects.using(database))
    return await ask(database, lambda: [row for table in tables for row in table.order_by("pk").values()])


def unknown(findings: RebuildFindings) -> list[tuple[str, str]]:
    return [(found.account, found.object_key) for found in findings.unknown]


def problems(findings: RebuildFindings) -> list[tuple[str, str, str]]:
    return sorted((problem.code, problem.key, problem.account) for problem in findings.problems)


async def test_files_and_replicas_are_complete_when_all_accounts_have_them(database: str, buckets: Buckets) -> None:
    file_id = put(buckets, "k")
    findings = await rebuild(database, buckets)
    assert (findings.stored, findings.partial, findings.hashed, findings.problems) == (1, 0, 0, [])
    file = (await files_in(database))["k"]
    assert (str(file.pk), file.name, file.content_type, file.size) == (file_id, "k ü.txt", "text/x-test", len(BODY))
    assert (file.metadata, file.live, file.state, file.ack, file.who) == ({"colour": "blue"}, True, "stored", "all", "")
    assert file.wanted == {name: f"bucket-{name.lower()}/{PREFIX}" for name in "ABC"}
    assert (file.created_at, file.stored_at) == (begun_at(file_id), MODIFIED)
    for name, replica in (await replicas_in(database)).items():
        stored = buckets[name]._stored(f"{PREFIX}k")
        assert (replica.state, replica.version_id, replica.checksum) == ("stored", "v1", "crc64nvme")
        place = (replica.bucket, replica.object_key, replica.etag)
        assert place == (stored.bucket, stored.object_key, stored.etag)
    records = Records(database)
    receipt = await records.file("k")
    await records.close()
    assert receipt is not None
    assert receipt.digests == digests_of(BODY)
    assert receipt.content_headers == CONTENT_HEADERS


async def test_nothing_changes_when_the_rebuild_is_repeated(database: str, buckets: Buckets) -> None:
    for number in range(5):
        put(buckets, f"k{number}", into="AB" if number else "ABC")
    first = await rebuild(database, buckets)
    assert (first.stored, first.partial) == (1, 4)
    rows = await rows_in(database)
    again = await rebuild(database, buckets)
    assert (again.stored, again.partial, again.known, again.settled) == (0, 0, 5, 0)
    assert await rows_in(database) == rows


async def test_a_replica_is_pending_and_due_when_its_account_has_no_object(database: str, buckets: Buckets) -> None:
    put(buckets, "k", into="B", accounts="A,B")
    findings = await rebuild(database, buckets)
    assert (findings.partial, findings.accounts["A"].missing, findings.accounts["C"].missing) == (1, 1, 0)
    replicas = await replicas_in(database)
    assert {name: replica.state for name, replica in replicas.items()} == {"A": "pending", "B": "stored"}
    assert (replicas["A"].error_code, replicas["A"].object_key) == ("replica_missing", f"{PREFIX}k")
    due = Replica.objects.using(database).filter(due_at__lte=Now())
    assert await ask(database, lambda: [replica.account for replica in due]) == ["A"]
    assert (await files_in(database))["k"].state == FileState.PARTIAL


async def test_a_replica_is_not_missing_when_its_account_cannot_be_listed(database: str, buckets: Buckets) -> None:
    for number in range(3):
        put(buckets, f"k{number}", accounts="A,B,C,GONE")
    buckets["B"].faults = {"drops_connection": 1000}
    buckets["C"].faults = {"refuses_look": 1}
    findings = await rebuild(database, buckets)
    codes = {name: replica.error_code for name, replica in (await replicas_in(database, "k2")).items()}
    assert codes == {"A": None, "B": "account_unreachable", "C": None, "GONE": "account_unreachable"}
    errors = {name: type(account.error) for name, account in findings.accounts.items() if account.error}
    assert errors == {"B": AccountUnreachableError, "GONE": AccountUnreachableError}
    assert set(findings.accounts) == {"A", "B", "C", "GONE"}
    assert problems(findings) == [("not_looked_at", "k0", "C")]
    assert (await replicas_in(database, "k0"))["C"].error_code == "access_refused"
    buckets["B"].faults = {}
    again = await rebuild(database, buckets)
    assert (again.known, again.settled, again.partial) == (3, 4, 0)
    assert (await replicas_in(database, "k2"))["B"].state == ReplicaState.STORED


async def test_strangers_are_counted_and_not_restored(database: str, buckets: Buckets) -> None:
    put(buckets, "k")
    strange = ["plain", "a/../k", "folder/", "\x01", "no-version-7", "no-id"]
    for name in strange:
        put(buckets, name, into="A", file_id="00000000-0000-4000-8000-000000000000")
    buckets["A"].objects[f"{PREFIX}plain"].metadata.clear()
    findings = await rebuild(database, buckets)
    assert (findings.stored, findings.partial, findings.problems) == (1, 0, [])
    assert (findings.accounts["A"].unknown, findings.accounts["B"].unknown) == (len(strange), 0)
    assert sorted(unknown(findings)) == sorted(("A", PREFIX + name) for name in strange)


async def test_a_file_is_not_restored_when_its_accounts_contradict_each_other(database: str, buckets: Buckets) -> None:
    longer = put(buckets, "longer", into="AB")
    put(buckets, "longer", into="C", body=b"other content", file_id=longer, sha256=None)
    other = put(buckets, "other", into="AB", sha256=None)
    put(buckets, "other", into="C", body=b"CONTENT", file_id=other, sha256=None)
    put(buckets, "two", into="A", accounts="A")
    put(buckets, "two", into="B", accounts="B")
    copied = put(buckets, "copied")
    put(buckets, "copied/by its owner", into="C", file_id=copied)
    put(buckets, "sound")
    findings = await rebuild(database, buckets)
    assert problems(findings) == [
        ("copies_differ", "longer", ""),
        ("copies_differ", "other", ""),
        ("file_copied", "copied", ""),
        ("key_contested", "two", ""),
        ("key_contested", "two", ""),
    ]
    assert list(await files_in(database)) == ["sound"]


@pytest.mark.parametrize("state", [FileState.RECEIVING, FileState.ERASING, FileState.ERASED])
async def test_a_file_in_this_state_is_unchanged(database: str, buckets: Buckets, state: FileState) -> None:
    put(buckets, "k")
    await rebuild(database, buckets)
    await change_files(database, state=state, live=state != FileState.ERASED)
    await ask(database, lambda: Replica.objects.using(database).update(state=ReplicaState.PENDING))
    rows = await rows_in(database)
    findings = await rebuild(database, buckets)
    assert (findings.left_alone, findings.known, findings.problems) == (1, 0, [])
    assert await rows_in(database) == rows


async def test_only_a_pending_replica_changes_when_its_object_is_there(database: str, buckets: Buckets) -> None:
    put(buckets, "k", into="AB")
    await rebuild(database, buckets)
    await change_replicas(database, "A", etag="as it was")
    put(buckets, "k", into="C", file_id=str((await files_in(database))["k"].pk))
    findings = await rebuild(database, buckets)
    assert (findings.known, findings.settled) == (1, 1)
    replicas = await replicas_in(database)
    assert [(replicas[name].state, replicas[name].due_at) for name in "ABC"] == [("stored", None)] * 3
    assert (replicas["A"].etag, replicas["C"].stored_at) == ("as it was", MODIFIED)
    assert (await files_in(database))["k"].state == FileState.STORED


async def test_the_ledger_is_unchanged_when_the_accounts_contradict_it(database: str, buckets: Buckets) -> None:
    held = put(buckets, "k", accounts="A,B", into="A")
    await rebuild(database, buckets)
    put(buckets, "k", into="C")  # another file under the key
    put(buckets, "k", into="B", file_id=held, body=b"damaged content")
    put(buckets, "elsewhere", into="B", file_id=held)
    rows = await rows_in(database)
    findings = await rebuild(database, buckets)
    assert problems(findings) == [("copies_differ", "k", "B"), ("key_taken", "k", "")]
    assert unknown(findings) == [("B", f"{PREFIX}elsewhere")]
    assert await rows_in(database) == rows


async def test_nothing_is_written_or_read_in_a_dry_run(database: str, buckets: Buckets) -> None:
    put(buckets, "k", into="AB", sha256=None)
    findings = await rebuild(database, buckets, dry_run=True)
    assert (findings.partial, findings.hashed, buckets["A"].given) == (1, 1, 0)
    assert await rows_in(database) == []
    assert (await rebuild(None, buckets, dry_run=True)).partial == 1


@pytest.mark.parametrize("shows_checksums", [False, True])
async def test_missing_digests_are_calculated(sqlite_database: str, buckets: Buckets, shows_checksums: bool) -> None:
    for bucket in buckets.values():
        bucket.shows_checksums = shows_checksums
    bodies = {"empty": b"", "large": bytes(300_000)}
    for key, body in bodies.items():
        put(buckets, key, body=body, sha256=None)
    put(buckets, "known", accounts=None, name=None)
    buckets["A"].faults = {"fails_get": 1}  # the next account is asked
    findings = await rebuild(sqlite_database, buckets)
    assert (findings.stored, findings.hashed, findings.problems) == (3, 2 if shows_checksums else 3, [])
    for key, file in (await files_in(sqlite_database)).items():
        digests = digests_of(bodies.get(key, BODY))
        assert (file.size, file.sha256) == (digests.size, digests.sha256.hex())
        assert file.crc64nvme == checksum_text(digests.crc64nvme)
    assert (await files_in(sqlite_database))["known"].name == "known"


async def test_a_file_is_not_restored_from_wrong_or_unreadable_bytes(sqlite_database: str, buckets: Buckets) -> None:
    put(buckets, "damaged", into="A", sha256=None)
    buckets["A"].faults = {"damages_a_piece": 1}
    assert problems(await rebuild(sqlite_database, buckets)) == [("digest_mismatch", "damaged", "A")]
    buckets["A"].faults = {"refuses_get": 1}
    assert problems(await rebuild(sqlite_database, buckets)) == [("file_unreadable", "damaged", "")]
    assert await rows_in(sqlite_database) == []
    assert (await rebuild(sqlite_database, buckets)).partial == 1


async def test_a_file_is_not_restored_when_it_is_removed_meanwhile(sqlite_database: str, buckets: Buckets) -> None:
    put(buckets, "k")
    for bucket in buckets.values():
        bucket.before_second_look = bucket.objects.__delitem__
    findings = await rebuild(sqlite_database, buckets)
    assert (findings.stored, findings.partial, findings.problems) == (0, 0, [])
    assert await rows_in(sqlite_database) == []


async def test_files_of_another_installation_are_restored_when_it_is_adopted(database: str, buckets: Buckets) -> None:
    ours, theirs = put(buckets, "ours"), put(buckets, "theirs", installation=THEIRS)
    nobodys = put(buckets, "nobody's", installation=None)
    put(buckets, "contested", into="A")
    put(buckets, "contested", into="B", installation=THEIRS)  # no rival: it is another service's key
    findings = await rebuild(database, buckets)
    assert (findings.stored, findings.partial, findings.problems) == (1, 1, [])
    assert findings.others == {THEIRS: 4, NO_INSTALLATION: 3}
    assert sorted(await files_in(database)) == ["contested", "ours"]
    assert str((await files_in(database))["ours"].pk) == ours
    findings = await rebuild(database, buckets, adopted=[THEIRS, NO_INSTALLATION])
    assert (findings.stored, findings.known, findings.others) == (2, 2, {})
    assert problems(findings) == [("key_taken", "contested", "")]
    files = await files_in(database)
    assert {str(files[key].pk) for key in ("theirs", "nobody's")} == {theirs, nobodys}


async def test_an_empty_ledger_becomes_the_installation_that_it_adopts(database: str, buckets: Buckets) -> None:
    async with threads_on(database) as threads:
        installations = Installations(threads, database)
        fresh = (await installations.read()).own
        put(buckets, "k")
        assert (await rebuild(database, buckets, dry_run=True)).stored == 1
        assert (await installations.read()).ours == {fresh}
        assert (await rebuild(database, buckets)).stored == 1
        assert (await installations.read()).own == OURS
        # A service that runs meanwhile goes on with the id that it read at its start.
        put(buckets, "meanwhile", installation=fresh)
        assert (await rebuild(database, buckets, adopted=[])).stored == 1
        await rebuild(database, buckets, adopted=[THEIRS])
        ownership = await installations.read()
        assert (ownership.own, set(ownership.ours)) == (OURS, {OURS, THEIRS, fresh})


async def test_a_file_that_was_given_up_is_not_restored(database: str, buckets: Buckets) -> None:
    file_id = put(buckets, "k", into="A")
    rows = GivenUpFile.objects.using(database)
    await ask(database, lambda: rows.create(id=file_id, given_up_at=Now()))
    again = put(buckets, "k", into="B")
    findings = await rebuild(database, buckets)
    assert (findings.left_alone, findings.partial, findings.problems) == (1, 1, [])
    assert str((await files_in(database))["k"].pk) == again


async def test_the_ledger_is_behind_until_everything_is_restored(database: str, buckets: Buckets) -> None:
    async with threads_on(database) as threads:
        installations = Installations(threads, database)
        await installations.mark_behind()
        put(buckets, "k", into="AB")
        buckets["A"].faults = {"refuses_list": 1}
        assert not (await rebuild(database, buckets)).is_whole
        assert (await rebuild(database, buckets, dry_run=True)).is_whole
        assert (await installations.read()).behind_at is not None
        assert (await rebuild(database, buckets)).is_whole
        assert (await installations.read()).behind_at is None


async def test_a_file_of_an_older_copy_is_restored_when_that_is_asked_for(database: str, buckets: Buckets) -> None:
    file_id = put(buckets, "k")
    async with ledger_on(database, lease_seconds=0.01) as ledger:
        await ledger.intend(intent("k", id=file_id))
    await change_files(database, lease_until=Now() - timedelta(hours=1))
    assert (await rebuild(database, buckets)).left_alone == 1
    assert (await rebuild(database, buckets, older_copy=True, dry_run=True)).left_alone == 1
    assert (await rebuild(database, buckets, older_copy=True)).stored == 1
    assert (await files_in(database))["k"].state == FileState.STORED


FORMER = AccountHashes([b"the former key of the tests"])
STORED, MISSING, NOWHERE = ("stored", None), ("pending", "replica_missing"), ("pending", "account_unreachable")


# --- accounts by their hashes


def put_hashed(
    buckets: Buckets,
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
    unknown = (findings.unknown_accounts, findings.without_accounts, findings.foreign)
    return (findings.stored, findings.partial, *unknown)


async def test_accounts_are_found_by_their_hashes(database: str, buckets: Buckets) -> None:
    put_hashed(buckets, "k", into="A", names="AB")
    put_hashed(buckets, "all", into="ABC")
    findings = await rebuild(database, buckets)
    assert (counted(findings), findings.is_whole) == ((1, 1, 0, 0, 0), True)
    assert await states_in(database) == {"A": STORED, "B": MISSING}
    assert (await files_in(database))["k"].wanted == {"A": f"bucket-a/{PREFIX}", "B": f"bucket-b/{PREFIX}"}


async def test_accounts_are_found_by_hashes_and_names_together(sqlite_database: str, buckets: Buckets) -> None:
    file_id = put(buckets, "k", into="A", accounts="A,C")
    put_hashed(buckets, "k", into="B", names="AB", file_id=file_id)
    assert counted(await rebuild(sqlite_database, buckets)) == (0, 1, 0, 0, 0)
    assert await states_in(sqlite_database) == {"A": STORED, "B": STORED, "C": MISSING}


async def test_accounts_are_found_by_a_former_key_when_it_is_given(sqlite_database: str, buckets: Buckets) -> None:
    file_id = put_hashed(buckets, "k", into="A", hashes=FORMER)
    put_hashed(buckets, "k", into="B", file_id=file_id)
    both = AccountHashes([*HASHES.keys, *FORMER.keys])
    assert counted(await rebuild(sqlite_database, buckets, hashes=both)) == (0, 1, 0, 0, 0)
    assert await states_in(sqlite_database) == {"A": STORED, "B": STORED, "C": MISSING}


async def test_no_replica_is_forgotten_when_the_key_is_lost(database: str, buckets: Buckets) -> None:
    put_hashed(buckets, "complete", into="ABC", hashes=FORMER)
    put_hashed(buckets, "k", into="AB", hashes=FORMER)
    findings = await rebuild(database, buckets)
    assert (counted(findings), findings.is_whole) == ((1, 0, 1, 0, 2), False)
    assert list(await files_in(database)) == ["complete"]
    dry = await rebuild(database, buckets, without_unknown=True, dry_run=True)
    assert (counted(dry), dry.is_whole) == ((1, 0, 0, 1, 1), True)
    # Nothing is lost if the key is found later.
    assert counted(await rebuild(database, buckets, hashes=FORMER)) == (0, 1, 0, 0, 0)
    assert await states_in(database) == {"A": STORED, "B": STORED, "C": MISSING}


async def test_a_file_is_restored_without_unknown_accounts_on_demand(sqlite_database: str, buckets: Buckets) -> None:
    put_hashed(buckets, "k", into="A", names=["A", "GONE"])
    assert counted(await rebuild(sqlite_database, buckets)) == (0, 0, 1, 0, 0)
    assert await rows_in(sqlite_database) == []
    assert counted(await rebuild(sqlite_database, buckets, without_unknown=True)) == (1, 0, 0, 1, 0)
    assert await states_in(sqlite_database) == {"A": STORED}


async def test_an_account_is_found_by_a_given_name_or_a_name_of_the_ledger(database: str, buckets: Buckets) -> None:
    put_hashed(buckets, "k", into="AB", names=["A", "B", "GONE"])
    assert counted(await rebuild(database, buckets, former=["ELSE", "GONE"])) == (0, 1, 0, 0, 0)
    assert await states_in(database) == {"A": STORED, "B": STORED, "GONE": NOWHERE}
    assert await ask(database, lambda: all_names(database)) == {"A", "B", "GONE"}
    put_hashed(buckets, "later", into="AB", names=["A", "B", "GONE"])
    assert counted(await rebuild(database, buckets)) == (0, 1, 0, 0, 0)
    assert (await states_in(database, "later"))["GONE"] == NOWHERE


async def test_a_renamed_account_is_found_when_it_has_the_object(sqlite_database: str, buckets: Buckets) -> None:
    put_hashed(buckets, "there", into="ABC", names=["A", "B", "FORMER_C"])
    put_hashed(buckets, "k", into="AB", names=["A", "B", "FORMER_C"])
    assert counted(await rebuild(sqlite_database, buckets)) == (1, 0, 1, 0, 0)
    assert await states_in(sqlite_database, "there") == dict.fromkeys("ABC", STORED)


async def test_an_owner_adds_no_account_with_hashes_of_its_own(sqlite_database: str, buckets: Buckets) -> None:
    other = put_hashed(buckets, "other", into="ABC")
    file_id = put_hashed(buckets, "k", into="A", names="A")
    metadata = buckets["A"].objects[f"{PREFIX}k"].metadata
    metadata[FILE_ACCOUNT_HASHES] = HASHES.of(other, "ABC")  # of another file
    metadata[FILE_ACCOUNTS] = "A,B,C"  # names have no effect if there are hashes
    assert counted(await rebuild(sqlite_database, buckets)) == (1, 0, 1, 0, 1)
    for nonsense in ("", ",,,", HASHES.of(file_id, "A") + "," * 5000):
        metadata[FILE_ACCOUNT_HASHES] = nonsense
        await rebuild(sqlite_database, buckets, without_unknown=True, dry_run=True)
