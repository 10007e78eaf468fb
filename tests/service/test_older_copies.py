"""A snapshot, dump, or standby replaces a later ledger: its unfinished uploads stay, for they may be acknowledged."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

from django.db.models.functions import Now
from structlog.testing import capture_logs

from file.audit.rebuild import Rebuild
from file.ledger.database.backup import _copy_pages, copy_ledger
from file.ledger.keyed import account_hashes
from file.logic.values import FILE_INSTALLATION
from file.models import File
from file.s3.bucket import S3Bucket
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import registry_of
from tests.service.conftest import Accounts, Proxied, put, put_stored, serving, serving_client
from tests.service.owners import assert_stored, keys_in, metadata_of, overwrite
from tests.service.receipts import answer_when, statuses
from tests.service.services import HeldBody, until
from tests.service.sizes import ONE_PART, QUICK, content
from tests.service.test_older_ledger import (
    EARLY,
    ledger_at,
    looks_fresh,
    new_ledger,
    noticed,
    older_copy,
    ownership_of,
    rebuild,
    upload,
)
from tests.service.verifying import look_around, opened, problems_of
from tests.unit.ledger.looking import ask, files_in


async def early_copy(among: list[StoreAccount], proxy: FaultProxy, database: str, folder: Path) -> tuple[Path, bytes]:
    """`k` is being received while the copy is made, and acknowledged afterwards; then `later` is stored."""
    copy, body = folder / "copy.sqlite3", HeldBody()
    async with serving(*among, database=database) as service, service.client(timeout=60) as client:
        await put_stored(service, key="before")
        uploading = asyncio.create_task(client.put("/files/k", content=body))
        await proxy.wait_until("part", ended=True)
        await asyncio.to_thread(_copy_pages, folder / "database.sqlite3", copy, None)
        body.goes_on.set()
        assert (await uploading).status_code == 201
        await put_stored(service, key="later")
    return copy, body.bytes


async def test_uploads_that_may_be_acknowledged_stay_when_a_service_starts_on_a_copy(
    accounts: Accounts, proxy: FaultProxy, sqlite_database: str, tmp_path: Path
) -> None:
    among = [accounts["A"], proxy.account]
    copy, body = await early_copy(among, proxy, sqlite_database, tmp_path)
    async with ledger_at(copy) as older:
        received = File.objects.using(older).filter(state="receiving")
        await ask(older, lambda: received.update(lease_until=Now() - timedelta(days=1)))
        with capture_logs() as logs:
            async with serving(*among, database=older, **QUICK):
                await answer_when(lambda: noticed(logs), bool)
        assert [entry["event"] for entry in logs if entry["event"] == "uploads_taken_over"] == []
        # Without --older-copy the mark and the unfinished uploads stay.
        found = await rebuild(older, *among)
        assert (found.stored, found.received, found.is_whole) == (1, 1, True)
        assert (await ownership_of(older)).behind_at is not None
        assert (await rebuild(older, *among, older_copy=True)).stored == 1
        assert (await ownership_of(older)).behind_at is None
        assert sorted(await files_in(older)) == ["before", "k", "later"]
    assert_stored(among, {"before": content(ONE_PART), "later": content(ONE_PART), "k": body})


async def test_a_copy_is_healed_when_a_key_was_reused(accounts: Accounts, sqlite_database: str, tmp_path: Path) -> None:
    among, copy = [accounts["A"], accounts["B"]], tmp_path / "copy.sqlite3"
    async with serving_client(*among, database=sqlite_database, **QUICK) as (service, client):
        await put_stored(service)
        await asyncio.to_thread(copy_ledger, tmp_path / "database.sqlite3", copy)
        assert (await client.delete("/files/k")).status_code == 200
        await put_stored(service)
    async with ledger_at(copy) as older:
        assert [problem.code for problem in (await rebuild(older, *among)).problems] == ["key_taken"]
        async with serving_client(*among, database=older, **QUICK) as (_, client):
            assert (await client.delete("/files/k")).status_code == 200  # the file that no longer exists
            assert (await rebuild(older, *among)).stored == 1
            assert (await client.get("/files/k")).content == content(ONE_PART)


async def test_copies_of_an_earlier_release_are_ours(accounts: Accounts, sqlite_database: str, tmp_path: Path) -> None:
    among = [accounts["A"], accounts["B"]]
    async with serving(*among, database=sqlite_database) as service:
        await put_stored(service)
    lost, metadata = (await ownership_of(sqlite_database)).own, metadata_of(accounts["A"], "k")
    del metadata[FILE_INSTALLATION]
    overwrite(accounts["A"], content(ONE_PART), "k", Metadata=metadata)
    async with new_ledger(tmp_path / "new.sqlite3") as new:
        found = await rebuild(new, *among, adopted=[lost])
        assert (found.stored, found.others) == (1, {})


class Hooked(S3Bucket):
    """An account that calls `hook` at the end of each listing."""

    hook: Callable[[], Awaitable[None]]

    async def pages(self, under: str = "") -> AsyncGenerator[Sequence[str]]:
        async for page in super().pages(under):
            yield page
        await self.hook()


async def test_a_mark_stays_when_it_comes_in_a_rebuild(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    """Another process still writes to the later ledger."""
    a, copy = accounts["A"], tmp_path / "copy.sqlite3"
    async with serving(a, database=sqlite_database) as service:
        await asyncio.to_thread(copy_ledger, tmp_path / "database.sqlite3", copy)
        await put_stored(service, key="lost")
        async with ledger_at(copy) as older:
            assert await looks_fresh(older, a) == [False]

            async def hook() -> None:
                await put_stored(service, key="meanwhile")
                assert await looks_fresh(older, a) == [False]

            async with opened(older, [a]) as (_, [bucket]):
                hooked = Hooked(bucket.client, requests=1)
                hooked.hook = hook
                assert (await Rebuild(older, registry_of([hooked]), hashes=account_hashes()).run()).is_level
            assert sorted(await files_in(older)) == ["lost"]
            assert (await ownership_of(older)).behind_at is not None


async def test_what_was_refused_stays_refused_when_its_object_comes_back(
    accounts: Accounts, proxied: Proxied, proxy: FaultProxy, sqlite_database: str
) -> None:
    """The owner restores a backup of the bucket that was made between a put and its roll-back."""
    a, slow, goes_on = accounts["A"], proxied("A"), threading.Event()
    proxy.add(Fault.refuses("AccessDenied", operation="put", times=None))
    slow.add(Fault.holds_reply(goes_on, operation="put"))
    patient = {**QUICK, "stall_seconds": 10.0}
    async with serving(slow.account, proxy.account, **patient, database=sqlite_database) as service:
        uploading = asyncio.create_task(put(service, ONE_PART))
        await until(lambda: bool(keys_in(a)))
        kept = metadata_of(a)
        goes_on.set()
        answer = await uploading
        assert (answer.status_code, statuses(answer.json())) == (502, {"A": "removed", "B": "removed"})
    overwrite(a, content(ONE_PART), Metadata=kept)
    assert problems_of(await look_around(sqlite_database, a, clean=True)) == [("A", "k", "left_behind", "removed")]
    assert (await ownership_of(sqlite_database)).behind_at is None


async def test_a_lost_ledger_is_logged_although_the_new_one_has_files_already(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    a = accounts["A"]
    async with serving(a, database=sqlite_database) as service:
        await upload(service, EARLY)
    async with new_ledger(tmp_path / "new.sqlite3") as new:
        async with serving(a, database=new) as service:
            await upload(service, ["first"])
        with capture_logs() as logs:
            assert await looks_fresh(new, a) == [True]
        assert [entry["event"] for entry in logs] == ["ledger_is_new"]


async def test_late_files_are_noticed_when_another_object_may_not_be_read(
    accounts: Accounts, proxied: Proxied, sqlite_database: str, tmp_path: Path
) -> None:
    proxy, copy = proxied("A"), await older_copy([accounts["A"]], sqlite_database, tmp_path)
    overwrite(accounts["A"], b"secret", "owners-own")
    proxy.add(Fault.refuses("AccessDenied", operation="head", key="owners-own", times=None))
    async with ledger_at(copy) as older:
        assert await looks_fresh(older, proxy.account) == [False]
