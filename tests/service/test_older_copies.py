"""Copies of a ledger as a snapshot, a dump or a standby makes them, put in place of a later ledger: what was being
received in them may have been acknowledged since, and is kept.
"""

import asyncio
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
from tests.service.conftest import ONE_PART, SHORT, Accounts, Proxied, assert_stored, content, put, serving
from tests.service.receipts import answer_when, statuses
from tests.service.services import HeldBody
from tests.service.test_older_ledger import (
    EARLY,
    LATE,
    ledger_at,
    looks_fresh,
    new_ledger,
    ownership_of,
    rebuild,
    upload,
)
from tests.service.verifying import look_around, metadata_of, opened, overwrite, problems_of
from tests.unit.ledger.looking import ask, files_in

QUICK = {**SHORT, "lease_seconds": 1.0}


async def older_copy(among: list[StoreAccount], proxy: FaultProxy, database: str, folder: Path) -> tuple[Path, bytes]:
    """`k` is being received while the copy is made, and acknowledged a moment later; then `later` comes."""
    copy, body = folder / "copy.sqlite3", HeldBody()
    async with serving(*among, database=database) as service, service.client(timeout=60) as client:
        assert (await put(service, ONE_PART, "before")).status_code == 201
        uploading = asyncio.create_task(client.put("/files/k", content=body))
        await proxy.wait_until("part", ended=True)
        await asyncio.to_thread(_copy_pages, folder / "database.sqlite3", copy, None)
        body.goes_on.set()
        assert (await uploading).status_code == 201
        assert (await put(service, ONE_PART, "later")).status_code == 201
    return copy, body.bytes


async def test_a_service_that_starts_on_a_copy_takes_nothing_for_dead_that_it_may_have_acknowledged(
    accounts: Accounts, proxied: Proxied, sqlite_database: str, tmp_path: Path
) -> None:
    proxy = proxied("B")
    among = [accounts["A"], proxy.account]
    copy, body = await older_copy(among, proxy, sqlite_database, tmp_path)
    async with ledger_at(copy) as older:
        received = File.objects.using(older).filter(state="receiving")
        await ask(older, lambda: received.update(lease_until=Now() - timedelta(days=1)))
        with capture_logs() as logs:

            async def noticed() -> list[object]:
                return [entry for entry in logs if entry["event"] == "ledger_is_behind"]

            async with serving(*among, database=older, **QUICK):
                await answer_when(noticed, bool)
        assert [entry["event"] for entry in logs if entry["event"] == "uploads_taken_over"] == []
        # Without --older-copy the mark stays, and with it what was being received.
        found = await rebuild(older, *among)
        assert (found.stored, found.received, found.is_whole) == (1, 1, True)
        assert (await ownership_of(older)).behind_at is not None
        assert (await rebuild(older, *among, older_copy=True)).stored == 1
        assert (await ownership_of(older)).behind_at is None
        assert sorted(await files_in(older)) == ["before", "k", "later"]
    assert_stored(among, {"before": content(ONE_PART), "later": content(ONE_PART), "k": body})


async def test_a_copy_is_healed_when_a_key_was_erased_and_used_again_since(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    among, copy = [accounts["A"], accounts["B"]], tmp_path / "copy.sqlite3"
    async with serving(*among, database=sqlite_database, **QUICK) as service, service.client() as client:
        assert (await put(service, ONE_PART, "k")).status_code == 201
        await asyncio.to_thread(copy_ledger, tmp_path / "database.sqlite3", copy)
        assert (await client.delete("/files/k")).status_code == 200
        assert (await put(service, ONE_PART, "k")).status_code == 201
    async with ledger_at(copy) as older:
        assert [problem.code for problem in (await rebuild(older, *among)).problems] == ["key_taken"]
        async with serving(*among, database=older, **QUICK) as service, service.client() as client:
            assert (await client.delete("/files/k")).status_code == 200  # the file that there is no more
            assert (await rebuild(older, *among)).stored == 1
            assert (await client.get("/files/k")).content == content(ONE_PART)


async def test_a_file_is_ours_when_an_earlier_release_wrote_some_of_its_copies(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    among = [accounts["A"], accounts["B"]]
    async with serving(*among, database=sqlite_database) as service:
        assert (await put(service, ONE_PART, "k")).status_code == 201
    lost, metadata = (await ownership_of(sqlite_database)).own, metadata_of(accounts["A"], "k")
    del metadata[FILE_INSTALLATION]
    overwrite(accounts["A"], content(ONE_PART), "k", Metadata=metadata)
    async with new_ledger(tmp_path / "new.sqlite3") as new:
        found = await rebuild(new, *among, adopted=[lost])
        assert (found.stored, found.others) == (1, {})


class Hooked(S3Bucket):
    """An account behind the end of whose listing something happens."""

    hook: Callable[[], Awaitable[None]]

    async def pages(self, under: str = "") -> AsyncGenerator[Sequence[str]]:
        async for page in super().pages(under):
            yield page
        await self.hook()


async def test_a_mark_that_comes_while_the_ledger_is_rebuilt_stays(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    """A process still writes to the later ledger."""
    a, copy = accounts["A"], tmp_path / "copy.sqlite3"
    async with serving(a, database=sqlite_database) as service:
        await asyncio.to_thread(copy_ledger, tmp_path / "database.sqlite3", copy)
        assert (await put(service, ONE_PART, "lost")).status_code == 201
        async with ledger_at(copy) as older:
            assert await looks_fresh(older, a) == [False]

            async def hook() -> None:
                assert (await put(service, ONE_PART, "meanwhile")).status_code == 201
                assert await looks_fresh(older, a) == [False]

            async with opened(older, [a]) as (_, [bucket]):
                hooked = Hooked(bucket.client, requests=1)
                hooked.hook = hook
                assert (await Rebuild(older, registry_of([hooked]), hashes=account_hashes()).run()).is_level
            assert sorted(await files_in(older)) == ["lost"]
            assert (await ownership_of(older)).behind_at is not None


def metadata_if_there(account: StoreAccount) -> dict[str, str]:
    return metadata_of(account) if account.contents().versions else {}


async def test_what_was_refused_stays_refused_when_its_object_comes_back(
    accounts: Accounts, proxied: Proxied, sqlite_database: str
) -> None:
    """Its owner puts a bucket's backup back, which was made between a put and its roll-back."""
    a, proxy, refusing = accounts["A"], proxied("A"), proxied("B")
    refusing.add(Fault.refuses("AccessDenied", operation="put", times=None))
    proxy.add(Fault.delays_reply(1.0, operation="put"))
    async with serving(proxy.account, refusing.account, **QUICK, database=sqlite_database) as service:
        uploading = asyncio.create_task(put(service, ONE_PART))
        kept = await answer_when(lambda: asyncio.to_thread(metadata_if_there, a), bool)
        answer = await uploading
        assert (answer.status_code, statuses(answer.json())) == (502, {"A": "removed", "B": "removed"})
    overwrite(a, content(ONE_PART), Metadata=kept)
    assert problems_of(await look_around(sqlite_database, a, clean=True)) == [("A", "k", "left_behind", "removed")]
    assert (await ownership_of(sqlite_database)).behind_at is None


async def test_a_ledger_that_was_lost_is_told_although_a_new_one_has_files_already(
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


async def test_one_object_that_may_not_be_seen_hides_no_other(
    accounts: Accounts, proxied: Proxied, sqlite_database: str, tmp_path: Path
) -> None:
    proxy, copy = proxied("A"), tmp_path / "copy.sqlite3"
    async with serving(accounts["A"], database=sqlite_database) as service:
        await upload(service, EARLY)
        await asyncio.to_thread(copy_ledger, tmp_path / "database.sqlite3", copy)
        await upload(service, LATE)
    overwrite(accounts["A"], b"secret", "owners-own")
    proxy.add(Fault.refuses("AccessDenied", operation="head", key="owners-own", times=None))
    async with ledger_at(copy) as older:
        assert await looks_fresh(older, proxy.account) == [False]
