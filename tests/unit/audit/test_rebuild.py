"""The ledger is made again from what lies in the accounts, on both databases; the accounts are in memory here."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from awscrt.checksums import crc64nvme
from django.db.models.functions import Now

from file.audit.findings import RebuildFindings
from file.audit.rebuild import Rebuild
from file.ledger.installations import NO_INSTALLATION, Installations
from file.ledger.read.records import Records
from file.logic.errors import AccountUnreachableError
from file.logic.naming import begun_at, encode_name, new_file_id
from file.logic.ports import FoundObject
from file.logic.values import (
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
from tests.unit.ledger.looking import ask, files_in, ledger_on, replicas_in
from tests.unit.ledger.verified import threads_on

MODIFIED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BODY = b"content"
PREFIX = "of/ours/"
OURS = "0f0e0d0c-0000-4000-8000-000000000001"
THEIRS = "0f0e0d0c-0000-4000-8000-000000000002"
CONTENT_HEADERS = {"content-encoding": "gzip", "cache-control": "no-store"}


class ListedBucket(MemoryBucket):
    """A memory bucket as some store shows it. `before_second_look` is called before an object's."""

    shows_checksums = True
    before_second_look: Callable[[str], object] | None = None

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **{"prefix": PREFIX, **options})
        self._looked: set[str] = set()

    async def look(self, object_key: str) -> FoundObject | None:
        if object_key in self._looked and self.before_second_look is not None:
            self.before_second_look(object_key)
        self._looked.add(object_key)
        await self._meet("look")
        if (found := self.objects.get(object_key)) is None:
            return None
        return FoundObject(
            stored=dataclasses.replace(self._stored(object_key), version_id="v1"),
            size=len(found.body),
            content_type=found.content_type,
            content_headers=found.content_headers,
            metadata=found.metadata,
            crc64nvme=crc64nvme(found.body) if self.shows_checksums else None,
            last_modified=MODIFIED,
        )


@pytest.fixture
def buckets() -> dict[str, ListedBucket]:
    return {name: ListedBucket(name) for name in "ABC"}


def put(
    buckets: Mapping[str, ListedBucket], key: str, *, into: str = "ABC", body: bytes = BODY, **changes: str | None
) -> str:
    """Objects as the service makes them. Returns the file's id; a change that is None leaves the entry out."""
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
    told = {name: value for name, value in metadata.items() if value is not None}
    for name in into:
        shown = {**CONTENT_HEADERS, "expires": "now: the store's own"}
        buckets[name].objects[PREFIX + key] = MemoryObject(body, dict(told), "text/x-test", shown)
    return file_id


async def rebuild(database: str | None, buckets: Mapping[str, ListedBucket], **options: Any) -> RebuildFindings:
    options = {"hashes": HASHES, "adopted": [OURS], **options}
    return await Rebuild(database, registry_of(buckets.values()), **options).run()


async def rows_in(database: str) -> list[dict[str, Any]]:
    def rows() -> list[dict[str, Any]]:
        tables: Sequence[Any] = (File.objects.using(database), Replica.objects.using(database))
        return [row for table in tables for row in table.order_by("pk").values()]

    return await ask(database, rows)


def unknown(findings: RebuildFindings) -> list[tuple[str, str]]:
    return [(found.account, found.object_key) for found in findings.unknown]


def problems(findings: RebuildFindings) -> list[tuple[str, str, str]]:
    return sorted((problem.code, problem.key, problem.account) for problem in findings.problems)


async def test_files_and_replicas_are_as_they_were_when_all_accounts_have_them(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
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
        told = (replica.state, replica.bucket, replica.object_key, replica.etag, replica.version_id, replica.checksum)
        assert told == ("stored", stored.bucket, stored.object_key, stored.etag, "v1", "crc64nvme")
    records = Records(database)
    receipt = await records.file("k")
    await records.close()
    assert receipt is not None
    assert receipt.digests == digests_of(BODY)
    assert receipt.content_headers == CONTENT_HEADERS


async def test_nothing_changes_when_it_is_done_again(database: str, buckets: dict[str, ListedBucket]) -> None:
    for number in range(5):
        put(buckets, f"k{number}", into="AB" if number else "ABC")
    first = await rebuild(database, buckets)
    assert (first.stored, first.partial) == (1, 4)
    rows = await rows_in(database)
    again = await rebuild(database, buckets)
    assert (again.stored, again.partial, again.known, again.settled) == (0, 0, 5, 0)
    assert await rows_in(database) == rows


async def test_account_is_pending_and_due_when_it_has_no_object(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
    put(buckets, "k", into="B", accounts="A,B")
    findings = await rebuild(database, buckets)
    assert (findings.partial, findings.accounts["A"].missing, findings.accounts["C"].missing) == (1, 1, 0)
    replicas = await replicas_in(database)
    assert {name: replica.state for name, replica in replicas.items()} == {"A": "pending", "B": "stored"}
    assert (replicas["A"].error_code, replicas["A"].object_key) == ("replica_missing", f"{PREFIX}k")
    due = Replica.objects.using(database).filter(due_at__lte=Now())
    assert await ask(database, lambda: [replica.account for replica in due]) == ["A"]
    assert (await files_in(database))["k"].state == FileState.PARTIAL


async def test_replica_is_not_called_missing_when_its_account_cannot_be_listed(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
    for number in range(3):
        put(buckets, f"k{number}", accounts="A,B,C,GONE")
    buckets["B"].faults = {"drops_connection": 1000}
    buckets["C"].faults = {"refuses_look": 1}
    findings = await rebuild(database, buckets)
    codes = {name: replica.error_code for name, replica in (await replicas_in(database, "k2")).items()}
    assert codes == {"A": None, "B": "account_unreachable", "C": None, "GONE": "account_unreachable"}
    errors = {name: type(account.error) for name, account in findings.accounts.items()}
    assert errors == {
        "A": type(None), "B": AccountUnreachableError, "C": type(None), "GONE": AccountUnreachableError
    }  # fmt: skip
    assert problems(findings) == [("not_looked_at", "k0", "C")]
    assert (await replicas_in(database, "k0"))["C"].error_code == "access_refused"
    buckets["B"].faults = {}
    again = await rebuild(database, buckets)
    assert (again.known, again.settled, again.partial) == (3, 4, 0)
    assert (await replicas_in(database, "k2"))["B"].state == ReplicaState.STORED


async def test_strangers_are_counted_and_left_when_they_lie_among_ours(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
    put(buckets, "k")
    strange = ["plain", "a/../k", "folder/", "\x01", "no-version-7", "no-id"]
    for name in strange:
        put(buckets, name, into="A", file_id="00000000-0000-4000-8000-000000000000")
    buckets["A"].objects[f"{PREFIX}plain"].metadata.clear()
    findings = await rebuild(database, buckets)
    assert (findings.stored, findings.partial, findings.problems) == (1, 0, [])
    assert (findings.accounts["A"].unknown, findings.accounts["B"].unknown) == (len(strange), 0)
    assert sorted(unknown(findings)) == sorted(("A", PREFIX + name) for name in strange)


async def test_nothing_is_restored_when_the_accounts_contradict_each_other(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
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
async def test_file_is_left_alone_when_the_ledger_has_it_as_not_there(
    database: str, buckets: dict[str, ListedBucket], state: FileState
) -> None:
    put(buckets, "k")
    await rebuild(database, buckets)
    await ask(database, lambda: File.objects.using(database).update(state=state, live=state != FileState.ERASED))
    await ask(database, lambda: Replica.objects.using(database).update(state=ReplicaState.PENDING))
    rows = await rows_in(database)
    findings = await rebuild(database, buckets)
    assert (findings.left_alone, findings.known, findings.problems) == (1, 0, [])
    assert await rows_in(database) == rows


async def test_pending_replica_is_stored_when_it_is_there_and_the_rest_stays(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
    put(buckets, "k", into="AB")
    await rebuild(database, buckets)
    await ask(database, lambda: Replica.objects.using(database).filter(account="A").update(etag="as it was"))
    put(buckets, "k", into="C", file_id=str((await files_in(database))["k"].pk))
    findings = await rebuild(database, buckets)
    assert (findings.known, findings.settled) == (1, 1)
    replicas = await replicas_in(database)
    assert [(replicas[name].state, replicas[name].due_at) for name in "ABC"] == [("stored", None)] * 3
    assert (replicas["A"].etag, replicas["C"].stored_at) == ("as it was", MODIFIED)
    assert (await files_in(database))["k"].state == FileState.STORED


async def test_what_the_ledger_has_wins_when_the_accounts_say_otherwise(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
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


async def test_nothing_is_written_or_read_when_it_is_a_dry_run(database: str, buckets: dict[str, ListedBucket]) -> None:
    put(buckets, "k", into="AB", sha256=None)
    findings = await rebuild(database, buckets, dry_run=True)
    assert (findings.partial, findings.hashed, buckets["A"].given) == (1, 1, 0)
    assert await rows_in(database) == []
    assert (await rebuild(None, buckets, dry_run=True)).partial == 1


@pytest.mark.parametrize("shows_checksums", [False, True])
async def test_digests_are_of_the_bytes_when_the_object_does_not_say_them(
    sqlite_database: str, buckets: dict[str, ListedBucket], shows_checksums: bool
) -> None:
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
        told = (file.size, file.sha256, file.crc64nvme)
        assert told == (digests.size, digests.sha256.hex(), checksum_text(digests.crc64nvme))
    assert (await files_in(sqlite_database))["known"].name == "known"


async def test_file_is_told_and_not_restored_when_its_bytes_are_wrong_or_cannot_be_had(
    sqlite_database: str, buckets: dict[str, ListedBucket]
) -> None:
    put(buckets, "damaged", into="A", sha256=None)
    buckets["A"].faults = {"damages_a_piece": 1}
    assert problems(await rebuild(sqlite_database, buckets)) == [("digest_mismatch", "damaged", "A")]
    buckets["A"].faults = {"refuses_get": 1}
    assert problems(await rebuild(sqlite_database, buckets)) == [("file_unreadable", "damaged", "")]
    assert await rows_in(sqlite_database) == []
    assert (await rebuild(sqlite_database, buckets)).partial == 1


async def test_file_is_not_restored_when_its_upload_was_taken_back_meanwhile(
    sqlite_database: str, buckets: dict[str, ListedBucket]
) -> None:
    put(buckets, "k")
    for bucket in buckets.values():
        bucket.before_second_look = bucket.objects.__delitem__
    findings = await rebuild(sqlite_database, buckets)
    assert (findings.stored, findings.partial, findings.problems) == (0, 0, [])
    assert await rows_in(sqlite_database) == []


async def test_what_another_installation_wrote_is_left_alone_until_it_is_adopted(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
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


async def test_a_ledger_that_knows_no_file_becomes_the_installation_that_it_adopts(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
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


async def test_what_was_given_up_does_not_come_back(database: str, buckets: dict[str, ListedBucket]) -> None:
    file_id = put(buckets, "k", into="A")
    rows = GivenUpFile.objects.using(database)
    await ask(database, lambda: rows.create(id=file_id, given_up_at=Now()))
    again = put(buckets, "k", into="B")
    findings = await rebuild(database, buckets)
    assert (findings.left_alone, findings.partial, findings.problems) == (1, 1, [])
    assert str((await files_in(database))["k"].pk) == again


async def test_the_ledger_is_level_again_only_when_everything_is_restored(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
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


async def test_what_was_being_received_when_a_copy_was_made_is_restored_when_it_is_asked_for(
    database: str, buckets: dict[str, ListedBucket]
) -> None:
    file_id = put(buckets, "k")
    entry = dataclasses.replace(intent("k"), id=file_id)
    async with ledger_on(database, lease_seconds=0.01) as ledger:
        await ledger.intend(entry)
    files = File.objects.using(database)
    await ask(database, lambda: files.update(lease_until=Now() - timedelta(hours=1)))
    assert (await rebuild(database, buckets)).left_alone == 1
    assert (await rebuild(database, buckets, older_copy=True, dry_run=True)).left_alone == 1
    assert (await rebuild(database, buckets, older_copy=True)).stored == 1
    assert (await files_in(database))["k"].state == FileState.STORED
