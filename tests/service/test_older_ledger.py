"""An older copy of the ledger, an empty ledger, and two installations on one bucket: acknowledged files stay.

Nothing that the ledger does not know is deleted, or adopted without a command; an old ledger is noticed.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.models.functions import Now
from structlog.testing import capture_logs

from file.audit.findings import RebuildFindings
from file.audit.freshness import Freshness
from file.audit.orphans import CleaningRefusedError
from file.audit.rebuild import Rebuild
from file.ledger.audit.known import KnownObjects
from file.ledger.audit.replicas import Replicas
from file.ledger.database.backup import copy_ledger
from file.ledger.database.opening import open_ledger
from file.ledger.installations import NO_INSTALLATION, Installations, Ownership
from file.ledger.keyed import account_hashes
from file.ledger.work.claims import Claims
from file.logic.naming import new_file_id
from file.logic.values import FILE_ACCOUNTS, FILE_ID, FILE_INSTALLATION
from file.management.reports.verify import as_lines
from file.models import File
from file.s3.bucket import S3Bucket
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from tests.buckets import registry_of
from tests.databases import Postgres, registered
from tests.intents import intent
from tests.service.conftest import Accounts, put_stored, serving, serving_client
from tests.service.owners import assert_stored, metadata_of, overwrite
from tests.service.receipts import answer_when
from tests.service.services import HeldBody, manage, manage_json
from tests.service.sizes import ONE_PART, content
from tests.service.verifying import look_around, opened, problems_of, verify
from tests.serving import Running
from tests.unit.ledger.aliases import sqlite_alias
from tests.unit.ledger.commands import sqlite_url
from tests.unit.ledger.looking import ask, files_in, ledger_on

EARLY, LATE = ("m", "n"), ("a1", "z", "ü/ñ 空")


@asynccontextmanager
async def ledger_at(path: Path) -> AsyncIterator[str]:
    """The alias of an existing SQLite ledger. Django's connections do not work in event loops."""
    with ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, sqlite_alias(path))
        await asyncio.to_thread(stack.close)


@asynccontextmanager
async def new_ledger(path: Path) -> AsyncIterator[str]:
    """A ledger with an installation of its own; the other ledgers of the tests are copies of one."""
    async with ledger_at(path) as alias:
        await asyncio.to_thread(open_ledger, alias)
        yield alias


class Narrow(S3Bucket):
    """An account that lists two keys a page."""

    async def keys_behind(self, object_key: str) -> Sequence[str]:
        return (await super().keys_behind(object_key))[:2]


async def upload(service: Running, keys: Iterable[str]) -> None:
    """Also a form, for which the service makes the key."""
    for key in keys:
        await put_stored(service, key=key)
    async with service.client() as client:
        form = await client.post("/upload", files={"file": ("form.txt", content(ONE_PART))})
        assert form.status_code == 201


async def older_copy(
    accounts: Iterable[StoreAccount],
    database: str,
    folder: Path,
    early: Iterable[str] = EARLY,
    late: Iterable[str] = LATE,
) -> Path:
    """A copy of the ledger that knows the `early` files, but not the `late` ones."""
    copy = folder / "copy.sqlite3"
    async with serving(*accounts, database=database) as service:
        await upload(service, early)
        await asyncio.to_thread(copy_ledger, folder / "database.sqlite3", copy)
        await upload(service, late)
    return copy


def everything(accounts: Iterable[StoreAccount]) -> list[Any]:
    return [account.contents() for account in accounts]


async def ownership_of(database: str) -> Ownership:
    async with opened(database, ()) as (threads, _):
        return await Installations(threads, database).read()


async def rebuild(database: str, *accounts: StoreAccount, **options: Any) -> RebuildFindings:
    async with opened(database, accounts) as (_, buckets):
        return await Rebuild(database, registry_of(buckets), **{"hashes": account_hashes(), **options}).run()


async def looks_fresh(
    database: str, *accounts: StoreAccount, seen: Callable[[S3Bucket], S3Bucket] = lambda bucket: bucket
) -> list[bool]:
    """What the service does at its start, and every few hours."""
    async with opened(database, accounts) as (threads, buckets):
        parts = KnownObjects(threads, database), Installations(threads, database), Replicas(threads, database)
        freshness = Freshness(*parts, registry_of(buckets), first_seconds=0.0)
        return [await freshness.look(seen(bucket)) for bucket in buckets]


async def assert_healed(database: str, *accounts: StoreAccount) -> None:
    """Every file is known and in its place, and cleaning finds nothing."""
    assert (await verify(database, *accounts)).is_right
    findings = await look_around(database, *accounts, clean=True)
    assert (findings.is_right, findings.problems) == (True, [])
    assert await looks_fresh(database, *accounts) == [True] * len(accounts)


async def test_an_older_copy_is_harmless_and_healed(accounts: Accounts, sqlite_database: str, tmp_path: Path) -> None:
    among = list(accounts.values())
    copy = await older_copy(among, sqlite_database, tmp_path)
    before = everything(among)
    async with ledger_at(copy) as older:
        findings = await look_around(older, *among, clean=True)
        lost = [problem for problem in problems_of(findings) if problem[0] == "A"]
        assert lost[1:] == [("A", key, "not_in_ledger", "left") for key in LATE]
        assert [own.not_in_ledger for own in findings.accounts.values()] == [4, 4, 4]
        assert not findings.is_right
        assert any("ledger rebuild --older-copy" in line for line in as_lines(findings, dry_run=False))
        with pytest.raises(CleaningRefusedError):
            await look_around(older, *among, clean=True)
        assert everything(among) == before
        found = await rebuild(older, *among)
        assert (found.stored, found.known) == (4, 3)
        await assert_healed(older, *among)
    assert everything(among) == before


async def test_an_older_copy_is_noticed_at_the_start(accounts: Accounts, sqlite_database: str, tmp_path: Path) -> None:
    among = list(accounts.values())
    copy = await older_copy(among, sqlite_database, tmp_path)
    assert await looks_fresh(sqlite_database, *among) == [True] * 3
    async with ledger_at(copy) as older:
        with capture_logs() as logs:
            async with serving(*among, database=older, first_look_seconds=0.0, figures_seconds=0.1) as service:
                told = await answer_when(lambda: noticed(logs), bool)
                async with service.client() as client:
                    await answer_when(lambda: client.get("/_/metrics"), lambda m: "mentum_ledger_behind 1.0" in m.text)
        assert told[0]["log_level"] == "error"
        assert "ledger rebuild" in told[0]["cure"]
        assert (await ownership_of(older)).behind_at is not None
        with pytest.raises(CleaningRefusedError):
            await look_around(older, *among, clean=True)


async def noticed(logs: list[Any]) -> list[Any]:
    return [entry for entry in logs if entry["event"] == "ledger_is_behind"]


@pytest.mark.timeout(300)
async def test_commands_do_not_clean_and_name_the_cure(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    among = list(accounts.values())
    url = sqlite_url(await older_copy(among, sqlite_database, tmp_path))
    before = everything(among)
    code, told = await manage_json(url, among, "verify", "--clean")
    assert (code, told["ledger_is_behind"], told["accounts"]["A"]["not_in_ledger"]) == (1, True, 4)
    run = await manage(url, among, "verify", "--clean")
    assert (run.returncode, run.stdout) == (1, "")
    assert "older than the objects in the accounts" in run.stderr
    assert "ledger rebuild" in run.stderr
    code, told = await manage_json(url, among, "ledger", "installation")
    assert (code, told["installation"], told["adopted"]) == (1, (await ownership_of(sqlite_database)).own, [])
    assert told["behind_at"] is not None
    assert (await manage(url, among, "ledger", "rebuild")).returncode == 0
    run = await manage(url, among, "ledger", "installation")
    assert (run.returncode, run.stdout) == (0, f"This installation: {told['installation']}\n")
    assert everything(among) == before
    run = await manage(url, among, "ledger", "rebuild", "--adopt", "nonsense")
    assert (run.returncode, run.stdout) == (2, "")
    assert "--adopt: 'nonsense' is not the id of an installation" in run.stderr


async def test_an_empty_ledger_deletes_and_adopts_nothing_until_an_operator_adopts_the_objects(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    among = [accounts["A"], accounts["B"]]
    async with serving(*among, database=sqlite_database) as service:
        await upload(service, EARLY)
        files = await files_in(sqlite_database)
    lost, before = (await ownership_of(sqlite_database)).own, everything(among)
    async with new_ledger(tmp_path / "new.sqlite3") as empty:
        with capture_logs() as logs:
            assert await looks_fresh(empty, *among) == [True, True]
        assert [(entry["event"], entry["installations"]) for entry in logs] == [("ledger_is_new", [lost])] * 2
        assert f"--adopt {lost}" in logs[0]["cure"]
        findings = await look_around(empty, *among, clean=True)
        assert (findings.problems, {found.installation for found in findings.unknown}) == ([], {lost})
        found = await rebuild(empty, *among)
        assert (found.stored, found.partial, found.others) == (0, 0, {lost: 6})
        assert await files_in(empty) == {}
        assert everything(among) == before
        found = await rebuild(empty, *among, adopted=[lost])
        assert (found.stored, found.others) == (3, {})
        assert await files_in(empty) == files
        assert (await ownership_of(empty)).own == lost
        await assert_healed(empty, *among)
        async with serving(*among, database=empty) as service:  # it continues as the lost installation
            await upload(service, ["new"])
    assert metadata_of(accounts["A"], "new")[FILE_INSTALLATION] == lost


async def test_two_installations_on_a_bucket_leave_each_others_files_alone(accounts: Accounts, tmp_path: Path) -> None:
    a = accounts["A"]
    async with new_ledger(tmp_path / "one.sqlite3") as one, new_ledger(tmp_path / "other.sqlite3") as other:
        for database, key in ((one, "ones"), (other, "others")):
            async with serving(a, database=database) as service:
                await put_stored(service, key=key)
        owners = {database: (await ownership_of(database)).own for database in (one, other)}
        assert len(set(owners.values())) == 2
        for database, theirs, key in ((one, other, "others"), (other, one, "ones")):
            findings = await look_around(database, a, clean=True)
            assert findings.is_right
            assert [(s.object_key, s.installation) for s in findings.unknown] == [(key, owners[theirs])]
            found = await rebuild(database, a)
            assert (found.stored, found.partial, found.known) == (0, 0, 1)
            assert found.others == {owners[theirs]: 1}
            assert await looks_fresh(database, a) == [True]  # logged on the first day, and not marked
            assert (await ownership_of(database)).behind_at is None
            async with serving_client(a, database=database) as (_, client):
                assert (await client.delete(f"/files/{key}")).status_code == 404
                assert (await client.put(f"/files/{key}", content=content(ONE_PART))).status_code == 409
        assert_stored([a], dict.fromkeys(("ones", "others"), content(ONE_PART)))
        async with serving_client(a, database=one) as (_, client):
            assert (await client.delete("/files/ones")).status_code == 200
        assert_stored([a], {"others": content(ONE_PART)})


async def test_a_postgresql_that_failed_over_to_an_older_copy_deletes_nothing_and_is_healed(
    accounts: Accounts, postgres_server: Postgres
) -> None:
    among = [accounts["A"], accounts["B"]]
    with ExitStack() as database:
        alias = await asyncio.to_thread(database.enter_context, postgres_server.copy())
        name = connections.settings[alias]["NAME"]
        async with serving(*among, database=alias) as service:
            await upload(service, EARLY)
        await asyncio.to_thread(postgres_server.execute, f"CREATE DATABASE {name}_older TEMPLATE {name}")
        try:
            async with serving(*among, database=alias) as service:
                await upload(service, LATE)
            before = everything(among)
            with ExitStack() as stack:
                place = registered(postgres_server.database(f"{name}_older"))
                older = await asyncio.to_thread(stack.enter_context, place)
                assert (await ownership_of(older)).own == (await ownership_of(alias)).own
                assert await looks_fresh(older, *among) == [False, False]
                with pytest.raises(CleaningRefusedError):
                    await look_around(older, *among, clean=True)
                assert (await rebuild(older, *among)).stored == 4
                await assert_healed(older, *among)
                await asyncio.to_thread(stack.close)
            assert everything(among) == before
        finally:
            await asyncio.to_thread(postgres_server.execute, f"DROP DATABASE {name}_older WITH (FORCE)")
            await asyncio.to_thread(database.close)


async def test_objects_of_earlier_releases_stay_until_they_are_adopted(
    accounts: Accounts, sqlite_database: str
) -> None:
    a = accounts["A"]
    async with serving(a, database=sqlite_database) as service:
        await upload(service, EARLY)
    overwrite(a, b"precious", "precious", Metadata={FILE_ID: new_file_id(), FILE_ACCOUNTS: "A"})
    findings = await look_around(sqlite_database, a, clean=True)
    assert problems_of(findings) == [("A", "precious", "not_in_ledger", "left")]
    assert any(f"--adopt {NO_INSTALLATION}" in line for line in as_lines(findings, dry_run=False))
    assert await looks_fresh(sqlite_database, a) == [True]  # it may be another service's
    found = await rebuild(sqlite_database, a)
    assert (found.stored, found.others) == (0, {NO_INSTALLATION: 1})
    assert (await rebuild(sqlite_database, a, adopted=[NO_INSTALLATION])).stored == 1
    await assert_healed(sqlite_database, a)


async def test_a_late_file_behind_many_objects_is_noticed_by_the_time_in_its_key(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    """Keys that the service makes begin with the time, so that later ones are behind all keys that the copy knows."""
    a = accounts["A"]
    copy = await older_copy([a], sqlite_database, tmp_path, early=[], late=[])
    for key in ("0", "00"):
        overwrite(a, b"", key)
    async with ledger_at(copy) as older:
        assert await looks_fresh(older, a, seen=lambda bucket: Narrow(bucket.client, requests=1)) == [False]


async def test_a_copy_may_clean_when_it_is_up_to_date(accounts: Accounts, sqlite_database: str, tmp_path: Path) -> None:
    a, copy = accounts["A"], tmp_path / "copy.sqlite3"
    async with serving(a, database=sqlite_database) as service:
        await upload(service, EARLY)
        metadata = metadata_of(a, "m")
        async with service.client() as client:
            assert (await client.delete("/files/m")).status_code == 200
    shutil.copyfile(tmp_path / "database.sqlite3", copy)
    overwrite(a, content(ONE_PART), "m", Metadata=metadata)
    async with ledger_at(copy) as same:
        assert await looks_fresh(same, a) == [True]
        assert problems_of(await look_around(same, a, clean=True)) == [("A", "m", "left_behind", "removed")]


async def test_a_copy_that_was_made_during_an_upload_does_not_treat_it_as_dead(
    accounts: Accounts, proxy: FaultProxy, sqlite_database: str, tmp_path: Path
) -> None:
    copy, body = tmp_path / "copy.sqlite3", HeldBody()
    among = [accounts["A"], proxy.account]
    async with serving(*among, database=sqlite_database) as service, service.client(timeout=60) as client:
        await upload(service, ["before"])
        uploading = asyncio.create_task(client.put("/files/k", content=body))
        await proxy.wait_until("part", ended=True)
        await asyncio.to_thread(copy_ledger, tmp_path / "database.sqlite3", copy)
        body.goes_on.set()
        assert (await uploading).status_code == 201
    async with ledger_at(copy) as older:
        assert sorted(key for key in await files_in(older) if "form" not in key) == ["before"]
        findings = await look_around(older, *among, clean=True)
        assert ("A", "k", "not_in_ledger", "left") in problems_of(findings)
        assert (await rebuild(older, *among)).stored == 1
        await assert_healed(older, *among)


async def test_an_upload_is_not_taken_over_while_the_ledger_is_behind(accounts: Accounts, sqlite_database: str) -> None:
    files = File.objects.using(sqlite_database)
    async with ledger_on(sqlite_database) as ledger:
        await ledger.intend(intent("k"))
        claims = Claims(ledger.writer, sqlite_database, under_way=(), claim_seconds=30)
        await ask(sqlite_database, lambda: files.update(lease_until=Now() - timedelta(hours=1)))
        installations = Installations(ledger.writer, sqlite_database)
        await installations.mark_behind()
        assert await claims.take_over() == 0
        await installations.mark_level((await installations.read()).behind_at)
        assert await claims.take_over() == 1
