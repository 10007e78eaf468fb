"""What lies in the accounts, or is open there, that the ledger does not know: told, and only ours is ever removed."""

import asyncio
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from file.audit.findings import Findings
from file.logic.naming import new_file_id
from file.logic.values import FILE_ACCOUNTS, FILE_ID, MiB
from file.models import File, GivenUpFile, OpenUpload, Replica
from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from tests.buckets import NewBucket, s3_buckets
from tests.service.conftest import ONE_PART, PATIENT, SHORT, Accounts, Proxied, asking, content, put, serving
from tests.service.receipts import answer_when
from tests.service.services import HeldBody
from tests.service.verifying import body_of, delete, look_around, metadata_of, overwrite, problems_of, states_of
from tests.serving import Running, running
from tests.unit.ledger.looking import ask, files_in

AN_HOUR = timedelta(hours=1)
QUICK = {**SHORT, "lease_seconds": 1.0}


def keys_in(account: StoreAccount) -> list[str]:
    return sorted(key for key, _ in account.contents().versions)


def unknown_in(findings: Findings) -> list[tuple[str, str, bool]]:
    """Account, key, and whether it is an open upload."""
    return sorted((s.account, s.object_key, s.upload_id is not None) for s in findings.unknown)


async def upload(service: Running, *keys: str) -> None:
    for key in keys:
        assert (await put(service, ONE_PART, key)).status_code == 201


def begin(account: StoreAccount, key: str) -> str:
    """Open an upload, as an owner does it."""
    answer = asking(account).create_multipart_upload(Bucket=account.s3_bucket_name, Key=key)
    upload_id: str = answer["UploadId"]
    return upload_id


async def test_nothing_is_told_when_all_is_ours(accounts: Accounts, sqlite_database: str) -> None:
    async with serving(*accounts.values(), database=sqlite_database) as service:
        await upload(service, "k", "ü/ñ 空", "other")
    findings = await look_around(sqlite_database, *accounts.values(), clean=True)
    assert findings.is_right
    assert [(own.objects, own.unknown, own.left_behind) for own in findings.accounts.values()] == [(3, 0, 0)] * 3
    assert unknown_in(findings) == []


async def test_strangers_are_told_and_never_touched(accounts: Accounts, sqlite_database: str) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving(a, b, database=sqlite_database) as service:
        await upload(service, "k")
    overwrite(a, b"theirs", "theirs")
    overwrite(a, b"theirs", "of/no id", Metadata={FILE_ID: "nonsense"})
    overwrite(a, content(ONE_PART), "a copy of ours", Metadata=metadata_of(a))
    begin(b, "their upload")
    begin(b, "k")  # under a key of ours, long after
    await ask(
        sqlite_database,
        lambda: File.objects.using(sqlite_database).update(created_at=Now() - AN_HOUR, stored_at=Now() - AN_HOUR),
    )
    before = [account.contents() for account in (a, b)]
    findings = await look_around(sqlite_database, a, b, clean=True)
    assert unknown_in(findings) == [
        ("A", "a copy of ours", False),
        ("A", "of/no id", False),
        ("A", "theirs", False),
        ("B", "k", True),
        ("B", "their upload", True),
    ]
    assert findings.is_right  # that is their owners' business
    assert [account.contents() for account in (a, b)] == before


async def left_behind(database: str, *accounts: StoreAccount) -> str:
    """An object of a file that the ledger gave up. Returns the file's id."""
    file_id = new_file_id()
    rows = GivenUpFile.objects.using(database)
    await ask(database, lambda: rows.create(id=file_id, given_up_at=Now()))
    for account in accounts:
        overwrite(account, b"left", "left", Metadata={FILE_ID: file_id, FILE_ACCOUNTS: "A,B"})
    return file_id


async def test_what_was_left_behind_is_removed_when_it_is_asked_for(accounts: Accounts, sqlite_database: str) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving(a, b, database=sqlite_database) as service:
        await upload(service, "k")
        file_id = await left_behind(sqlite_database, a)
    runs: list[tuple[dict[str, Any], str]] = [
        ({}, "left"),
        ({"clean": True, "dry_run": True}, "removed"),
        ({"clean": True}, "removed"),
    ]
    for options, became in runs:
        assert "left" in keys_in(a)
        findings = await look_around(sqlite_database, a, b, **options)
        assert problems_of(findings) == [("A", "left", "left_behind", became)]
        assert findings.problems[0].file_id == file_id
        assert not findings.is_right
    assert keys_in(a) == keys_in(b) == ["k"]
    assert (await look_around(sqlite_database, a, b)).is_right


async def test_only_our_version_is_removed_when_others_lie_under_the_key(
    new_bucket: NewBucket, sqlite_database: str
) -> None:
    versioned = new_bucket("A", "strangers-versioned", versioned=True)
    versioned.empty()
    theirs = overwrite(versioned, b"theirs", "left")
    await left_behind(sqlite_database, versioned)
    findings = await look_around(sqlite_database, versioned, clean=True)
    assert problems_of(findings) == [("A", "left", "left_behind", "removed")]
    assert [version for version in versioned.contents().versions if version[0] == "left"] == [("left", theirs)]
    versioned.empty()


async def test_what_lands_late_of_an_upload_that_was_given_up_is_removed(
    accounts: Accounts, proxied: Proxied, sqlite_database: str
) -> None:
    a, proxy = accounts["A"], proxied("B")
    proxy.add(Fault.loses_reply(operation="put", times=None), Fault.refuses("AccessDenied", operation="head"))
    async with serving(a, proxy.account, **QUICK, database=sqlite_database) as service:
        answer = await put(service, ONE_PART)
        assert answer.status_code == 502, answer.text
        given_up = GivenUpFile.objects.using(sqlite_database)
        await answer_when(lambda: ask(sqlite_database, given_up.exists), bool)
        [file_id] = await ask(sqlite_database, lambda: [str(row.pk) for row in given_up.all()])
    overwrite(a, content(ONE_PART), "k", Metadata={FILE_ID: file_id, FILE_ACCOUNTS: "A,B"})
    findings = await look_around(sqlite_database, a, clean=True)
    assert problems_of(findings) == [("A", "k", "left_behind", "removed")]
    assert keys_in(a) == []


async def test_an_erased_file_is_removed_again_when_its_owner_put_it_back(
    accounts: Accounts, sqlite_database: str
) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving(a, b, database=sqlite_database) as service:
        await upload(service, "k")
        metadata = metadata_of(a)
        async with service.client() as client:
            assert (await client.delete("/files/k")).status_code == 200
    overwrite(a, content(ONE_PART), "k", Metadata=metadata)
    findings = await look_around(sqlite_database, a, b, clean=True)
    assert problems_of(findings) == [("A", "k", "left_behind", "removed")]
    assert keys_in(a) == []


async def test_a_file_that_is_being_received_is_no_stranger(
    accounts: Accounts, proxied: Proxied, sqlite_database: str
) -> None:
    proxy = proxied("B")
    among = (accounts["A"], proxy.account)
    body = HeldBody()
    async with serving(*among, database=sqlite_database) as service, service.client(timeout=60) as client:
        await upload(service, "done")
        uploading = asyncio.create_task(client.put("/files/k", content=body))
        await proxy.wait_until("part", ended=True)
        findings = await look_around(sqlite_database, *among, clean=True)
        assert [own.open_uploads for own in findings.accounts.values()] == [1, 1]
        assert (findings.is_right, unknown_in(findings)) == (True, [])
        body.goes_on.set()
        assert (await uploading).status_code == 201
    assert body_of(accounts["A"]) == body.bytes


async def test_an_upload_is_aborted_when_it_is_ours_and_nobody_goes_on_with_it(
    accounts: Accounts, sqlite_database: str
) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving(a, b, database=sqlite_database) as service:
        await upload(service, "noted", "lost")
    noted, lost, theirs = begin(a, "noted"), begin(b, "lost"), begin(b, "lost and theirs")
    files = await files_in(sqlite_database)
    notes = OpenUpload.objects.using(sqlite_database)
    await ask(
        sqlite_database,
        lambda: notes.create(file=files["noted"], account="A", upload_id=noted, created_at=Now()),
    )
    # As if it had been received until a moment ago.
    received = {"created_at": Now() - AN_HOUR, "stored_at": Now() + timedelta(seconds=5), "part_size": MiB}
    await ask(sqlite_database, lambda: File.objects.using(sqlite_database).filter(key="lost").update(**received))
    found = [("A", "noted", "upload_left_open", "left"), ("B", "lost", "upload_left_open", "left")]
    assert problems_of(await look_around(sqlite_database, a, b)) == found
    assert len(b.contents().uploads) == 2
    removed = [(*each[:3], "removed") for each in found]
    assert problems_of(await look_around(sqlite_database, a, b, clean=True, dry_run=True)) == removed
    assert ("lost", lost) in b.contents().uploads
    findings = await look_around(sqlite_database, a, b, clean=True)
    assert problems_of(findings) == removed
    assert unknown_in(findings) == [("B", "lost and theirs", True)]
    assert (a.contents().uploads, b.contents().uploads) == ([], [("lost and theirs", theirs)])
    assert await ask(sqlite_database, notes.count) == 0


async def test_an_upload_that_catch_up_has_open_is_left_alone(accounts: Accounts, sqlite_database: str) -> None:
    a = accounts["A"]
    async with serving(a, accounts["B"], database=sqlite_database) as service:
        await upload(service, "k")
    delete(a)
    replicas = Replica.objects.using(sqlite_database)
    await ask(sqlite_database, lambda: replicas.filter(account="A").update(state="pending"))
    begin(a, "k")
    findings = await look_around(sqlite_database, a, clean=True)
    assert (findings.is_right, findings.accounts["A"].open_uploads) == (True, 1)
    assert len(a.contents().uploads) == 1


async def test_only_what_lies_under_the_prefix_is_looked_at(accounts: Accounts, sqlite_database: str) -> None:
    a = accounts["A"]
    overwrite(a, b"another service's", "theirs/k", Metadata={FILE_ID: new_file_id(), FILE_ACCOUNTS: "A"})
    async with (
        s3_buckets(a, prefix="ours/") as buckets,
        running(buckets, **PATIENT, database=sqlite_database) as service,
    ):
        await upload(service, "k")
    overwrite(a, b"a stranger's", "ours/x")
    begin(a, "theirs/k")
    findings = await look_around(sqlite_database, a, changes={"prefix": "ours/"}, clean=True)
    assert unknown_in(findings) == [("A", "ours/x", False)]
    assert keys_in(a) == ["ours/k", "ours/x", "theirs/k"]
    assert (await states_of(sqlite_database))["A"] == ("stored", None)


async def test_a_walk_that_fails_is_told(accounts: Accounts, proxied: Proxied, sqlite_database: str) -> None:
    proxy = proxied("B")
    proxy.add(Fault.refuses("AccessDenied", operation="list_uploads", times=None))
    findings = await look_around(sqlite_database, accounts["A"], proxy.account)
    error = findings.accounts["B"].error
    assert error is not None
    assert error.code == "access_refused"
    assert findings.accounts["A"].error is None
    assert not findings.is_right
