"""A SQLite ledger that is locked, read-only or full, over HTTP: 503, nothing lost, nothing left, and then on again."""

import asyncio
import os
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from django.db import connections

from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from tests.databases import locked, sqlite_copy, with_options
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    Accounts,
    Proxied,
    assert_nothing_left,
    assert_stored,
    assert_told,
    content,
    serving,
)
from tests.service.receipts import answer_when
from tests.service.services import is_not_busy, until, until_nothing_is_left

DISK_BYTES = 1024 * 1024


@asynccontextmanager
async def client_on(database: str, *accounts: StoreAccount) -> AsyncIterator[httpx.AsyncClient]:
    """Of a service with its ledger there."""
    settings = {"database": database, "lease_seconds": 1.5, "wait_seconds": 1.0, "settle_seconds": 0.2}
    async with serving(*accounts, **settings) as service, service.client() as client:
        yield client


def assert_unavailable(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable"), answer.text
    assert "retry-after" in answer.headers
    assert answer.json()["retryable"] is True


async def test_an_upload_is_refused_and_nothing_left_when_somebody_else_locks_the_file(
    accounts: Accounts, sqlite_database: str
) -> None:
    with with_options(sqlite_database, timeout=0.3):
        async with client_on(sqlite_database, accounts["A"], accounts["B"]) as client:
            with locked(sqlite_database):
                for size in (ONE_PART, MANY_PARTS):
                    assert_unavailable(await client.put("/files/k", content=content(size)))
                assert (await client.get("/files/k")).status_code == 404  # readers do not wait for writers
            assert_nothing_left(accounts.values())
            assert_told(await client.put("/files/k", content=b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


@pytest.mark.parametrize("size", [ONE_PART, MANY_PARTS])
async def test_an_upload_is_cleaned_up_when_the_lock_comes_before_its_outcome(
    accounts: Accounts, proxied: Proxied, sqlite_database: str, size: int
) -> None:
    """The accounts have the file, and nobody was told so: it is as if it had never been."""
    proxy = proxied("A")
    operation = "put" if size == ONE_PART else "complete"
    is_locked = threading.Event()
    proxy.add(Fault.holds_reply(is_locked, operation=operation))
    with with_options(sqlite_database, timeout=0.3):
        async with client_on(sqlite_database, proxy.account, accounts["B"]) as client:
            sending = asyncio.create_task(client.put("/files/k", content=content(size)))
            await proxy.wait_until(operation)
            with locked(sqlite_database):
                is_locked.set()
                assert_unavailable(await sending)
                assert [key for key, _ in accounts["B"].contents().versions] == ["k"]
            await until_nothing_is_left(accounts.values())
            again = await answer_when(lambda: client.put("/files/k", content=b"x"), is_not_busy)
            assert_told(again, 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


async def test_an_upload_is_refused_when_the_database_is_read_only(accounts: Accounts, sqlite_database: str) -> None:
    command = connections.settings[sqlite_database]["OPTIONS"]["init_command"]
    with ExitStack() as read_only:
        read_only.enter_context(with_options(sqlite_database, init_command=f"{command} PRAGMA query_only=ON;"))
        async with client_on(sqlite_database, accounts["A"], accounts["B"]) as client:
            for size in (ONE_PART, MANY_PARTS):
                assert_unavailable(await client.put("/files/k", content=content(size)))
            assert_nothing_left(accounts.values())
            read_only.close()
            assert_told(await client.put("/files/k", content=b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def database_on_small_disk(small_disk: Path) -> Iterator[str]:
    with sqlite_copy(small_disk / "ledger.sqlite3") as alias:
        yield alias


def fill(path: Path) -> None:
    """Until nothing fits on the disk any more."""
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(b"x" * 4096):
            continue
    assert os.statvfs(path.parent).f_bavail == 0


async def keys(client: httpx.AsyncClient) -> set[str]:
    return {file["key"] for file in (await client.get("/files", params={"limit": 1000})).json()["files"]}


async def until_refused(client: httpx.AsyncClient) -> tuple[dict[str, bytes], httpx.Response]:
    """What was stored before: SQLite has some room left in its files."""
    stored: dict[str, bytes] = {}
    filler = {"x-amz-meta-filler": "x" * 1500}
    while (answer := await client.put(f"/files/k{len(stored)}", content=b"x", headers=filler)).status_code == 201:
        stored[f"k{len(stored)}"] = b"x"
    return stored, answer


async def test_what_was_acknowledged_stays_and_nothing_is_left_when_the_disk_is_full(
    accounts: Accounts, small_disk: Path, database_on_small_disk: str
) -> None:
    two = accounts["A"], accounts["B"]
    async with client_on(database_on_small_disk, *two) as client:
        assert_told(await client.put("/files/before", content=b"x"), 201, {"A": None, "B": None})
        fill(small_disk / "filler")
        stored, refused = await until_refused(client)
        stored["before"] = b"x"
        assert_unavailable(refused)
        assert_unavailable(await client.put("/files/more", content=content(MANY_PARTS)))
        assert await keys(client) == set(stored)
        (small_disk / "filler").unlink()
        again = await answer_when(
            lambda: client.put("/files/after", content=b"x"), lambda answer: answer.status_code != 503
        )
        assert_told(again, 201, {"A": None, "B": None})
        stored["after"] = b"x"
        # One that was refused at its outcome lies in the accounts until its lease is over.
        await until(lambda: all(len(account.contents().versions) == len(stored) for account in two))
        assert await keys(client) == set(stored)
    assert_stored(two, stored)
