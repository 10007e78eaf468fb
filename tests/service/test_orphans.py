"""Objects and open uploads that the ledger does not know: they are reported, and removed only if they are ours."""

import asyncio
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from file.audit.findings import Findings
from file.logic.naming import new_file_id
from file.logic.values import FILE_ACCOUNTS, FILE_ID, MiB
from file.models import File, GivenUpFile, OpenUpload, Replica
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import s3_buckets
from tests.service.conftest import Accounts, Proxied, put, put_stored, serving
from tests.service.owners import begin_upload, body_of, delete, keys_in, metadata_of, overwrite
from tests.service.receipts import answer_when
from tests.service.services import HeldBody
from tests.service.sizes import ONE_PART, PATIENT, QUICK, content
from tests.service.verifying import look_around, problems_of, states_of, upload
from tests.serving import running
from tests.unit.ledger.looking import ask, files_in

AN_HOUR = timedelta(hours=1)


def unknown_in(findings: Findings) -> list[tuple[str, str, bool]]:
    """Account, key, and whether it is an open upload."""
    return sorted((s.account, s.object_key, s.upload_id is not None) for s in findings.unknown)


async def test_nothing_is_reported_when_all_is_known(accounts: Accounts, sqlite_database: str) -> None:
    await upload(sqlite_database, *accounts.values(), keys=("k", "ü/ñ 空", "other"))
    findings = await look_around(sqlite_database, *accounts.values(), clean=True)
    assert findings.is_right
    assert [(own.objects, own.unknown, own.left_behind) for own in findings.accounts.values()] == [(3, 0, 0)] * 3
    assert unknown_in(findings) == []


async def test_strangers_are_reported_and_never_touched(accounts: Accounts, sqlite_database: str) -> None:
    a, b = accounts["A"], accounts["B"]
    await upload(sqlite_database, a, b)
    overwrite(a, b"theirs", "theirs")
    overwrite(a, b"theirs", "of/no id", Metadata={FILE_ID: "nonsense"})
    overwrite(a, content(ONE_PART), "a copy of ours", Metadata=metadata_of(a))
    begin_upload(b, "their upload")
    begin_upload(b, "k")  # under one of our keys, long after
    files = File.objects.using(sqlite_database)
    await ask(sqlite_database, lambda: files.update(created_at=Now() - AN_HOUR, stored_at=Now() - AN_HOUR))
    before = [account.contents() for account in (a, b)]
    findings = await look_around(sqlite_database, a, b, clean=True)
    assert unknown_in(findings) == [
        ("A", "a copy of ours", False),
        ("A", "of/no id", False),
        ("A", "theirs", False),
        ("B", "k", True),
        ("B", "their upload", True),
    ]
    assert findings.is_right  # objects of the owners are no problem
    assert [account.contents() for account in (a, b)] == before


async def left_behind(database: str, *accounts: StoreAccount) -> str:
    """An object of a file that the ledger gave up; returns the file's id."""
    file_id = new_file_id()
    rows = GivenUpFile.objects.using(database)
    await ask(database, lambda: rows.create(id=file_id, given_up_at=Now()))
    for account in accounts:
        overwrite(account, b"left", "left", Metadata={FILE_ID: file_id, FILE_ACCOUNTS: "A,B"})
    return file_id


async def test_a_leftover_is_removed_only_by_a_clean_run(accounts: Accounts, sqlite_database: str) -> None:
    a, b = accounts["A"], accounts["B"]
    await upload(sqlite_database, a, b)
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


async def test_only_our_version_is_removed_when_others_are_there(versioned: StoreAccount, sqlite_database: str) -> None:
    theirs = overwrite(versioned, b"theirs", "left")
    await left_behind(sqlite_database, versioned)
    findings = await look_around(sqlite_database, versioned, clean=True)
    assert problems_of(findings) == [("A", "left", "left_behind", "removed")]
    assert versioned.contents().versions == [("left", theirs)]


async def test_an_object_of_a_late_put_is_removed(accounts: Accounts, proxied: Proxied, sqlite_database: str) -> None:
    a, proxy = accounts["A"], proxied("B")
    proxy.add(Fault.loses_reply(operation="put", times=None), Fault.refuses("AccessDenied", operation="head"))
    async with serving(a, proxy.account, **QUICK, database=sqlite_database) as service:
        answer = await put(service, ONE_PART)
        assert answer.status_code == 502, answer.text
        given_up = GivenUpFile.objects.using(sqlite_database)
        await answer_when(lambda: ask(sqlite_database, given_up.exists), bool)
        [file_id] = await ask(sqlite_database, lambda: [str(row.pk) for row in given_up.all()])
    overwrite(a, content(ONE_PART), "k", Metadata={FILE_ID: file_id, FILE_ACCOUNTS: "A,B"})
    assert problems_of(await look_around(sqlite_database, a, clean=True)) == [("A", "k", "left_behind", "removed")]
    assert keys_in(a) == []


async def test_an_erased_file_is_removed_again_when_it_was_restored(accounts: Accounts, sqlite_database: str) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving(a, b, database=sqlite_database) as service:
        await put_stored(service)
        metadata = metadata_of(a)
        async with service.client() as client:
            assert (await client.delete("/files/k")).status_code == 200
    overwrite(a, content(ONE_PART), "k", Metadata=metadata)
    assert problems_of(await look_around(sqlite_database, a, b, clean=True)) == [("A", "k", "left_behind", "removed")]
    assert keys_in(a) == []


async def test_an_unfinished_upload_is_no_stranger(accounts: Accounts, proxy: FaultProxy, sqlite_database: str) -> None:
    among = (accounts["A"], proxy.account)
    body = HeldBody()
    async with serving(*among, database=sqlite_database) as service, service.client(timeout=60) as client:
        await put_stored(service, key="done")
        uploading = asyncio.create_task(client.put("/files/k", content=body))
        await proxy.wait_until("part", ended=True)
        findings = await look_around(sqlite_database, *among, clean=True)
        assert [own.open_uploads for own in findings.accounts.values()] == [1, 1]
        assert (findings.is_right, unknown_in(findings)) == (True, [])
        body.goes_on.set()
        assert (await uploading).status_code == 201
    assert body_of(accounts["A"]) == body.bytes


async def test_an_upload_is_aborted_when_it_is_ours_and_abandoned(accounts: Accounts, sqlite_database: str) -> None:
    a, b = accounts["A"], accounts["B"]
    await upload(sqlite_database, a, b, keys=("noted", "lost"))
    noted, lost, theirs = begin_upload(a, "noted"), begin_upload(b, "lost"), begin_upload(b, "lost and theirs")
    files = await files_in(sqlite_database)
    notes = OpenUpload.objects.using(sqlite_database)
    await ask(
        sqlite_database, lambda: notes.create(file=files["noted"], account="A", upload_id=noted, created_at=Now())
    )
    # As if it had been received until now.
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


async def test_an_upload_of_catch_up_stays_open(accounts: Accounts, sqlite_database: str) -> None:
    a = accounts["A"]
    await upload(sqlite_database, a, accounts["B"])
    delete(a)
    replicas = Replica.objects.using(sqlite_database)
    await ask(sqlite_database, lambda: replicas.filter(account="A").update(state="pending"))
    begin_upload(a, "k")
    findings = await look_around(sqlite_database, a, clean=True)
    assert (findings.is_right, findings.accounts["A"].open_uploads) == (True, 1)
    assert len(a.contents().uploads) == 1


async def test_only_objects_under_the_prefix_are_examined(accounts: Accounts, sqlite_database: str) -> None:
    a = accounts["A"]
    overwrite(a, b"another service's", "theirs/k", Metadata={FILE_ID: new_file_id(), FILE_ACCOUNTS: "A"})
    async with (
        s3_buckets(a, prefix="ours/") as buckets,
        running(buckets, **PATIENT, database=sqlite_database) as service,
    ):
        await put_stored(service)
    overwrite(a, b"a stranger's", "ours/x")
    begin_upload(a, "theirs/k")
    findings = await look_around(sqlite_database, a, changes={"prefix": "ours/"}, clean=True)
    assert unknown_in(findings) == [("A", "ours/x", False)]
    assert keys_in(a) == ["ours/k", "ours/x", "theirs/k"]
    assert (await states_of(sqlite_database))["A"] == ("stored", None)


async def test_a_listing_that_fails_is_reported(accounts: Accounts, proxy: FaultProxy, sqlite_database: str) -> None:
    proxy.add(Fault.refuses("AccessDenied", operation="list_uploads", times=None))
    findings = await look_around(sqlite_database, accounts["A"], proxy.account)
    assert findings.accounts["A"].error is None
    assert findings.accounts["B"].error is not None
    assert findings.accounts["B"].error.code == "access_refused"
    assert not findings.is_right
