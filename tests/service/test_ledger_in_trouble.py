"""A SQLite ledger is locked, read-only, or full: uploads get 503, nothing is lost or left, later they succeed again."""

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

from file.logic.values import MiB
from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from tests.databases import locked, sqlite_copy, with_options
from tests.service.conftest import Accounts, Proxied, serving_client
from tests.service.owners import assert_nothing_left, assert_stored, keys_in
from tests.service.receipts import answer_when, assert_told, listed
from tests.service.services import is_not_busy, until, until_nothing_is_left
from tests.service.sizes import MANY_PARTS, SIZES, content, each_publication
from tests.unit.api.expectations import assert_problem


@asynccontextmanager
async def client_on(database: str, *accounts: StoreAccount) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with this ledger."""
    settings = {"database": database, "lease_seconds": 1.5, "wait_seconds": 1.0, "settle_seconds": 0.2}
    async with serving_client(*accounts, **settings) as (_, client):
        yield client


def assert_unavailable(answer: httpx.Response) -> None:
    assert_problem(answer, 503, "ledger_unavailable")
    assert "retry-after" in answer.headers
    assert answer.json()["retryable"] is True


async def test_an_upload_is_refused_when_another_process_has_the_lock(accounts: Accounts, sqlite_database: str) -> None:
    with with_options(sqlite_database, timeout=0.3):
        async with client_on(sqlite_database, accounts["A"], accounts["B"]) as client:
            with locked(sqlite_database):
                for size in SIZES:
                    assert_unavailable(await client.put("/files/k", content=content(size)))
                assert (await client.get("/files/k")).status_code == 404  # readers do not wait for writers
            assert_nothing_left(accounts.values())
            assert_told(await client.put("/files/k", content=b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


@each_publication
async def test_an_upload_is_cleaned_up_when_the_lock_comes_before_its_outcome(
    accounts: Accounts, proxied: Proxied, sqlite_database: str, operation: str, size: int
) -> None:
    """The accounts have the file, but the client got no success: it is removed."""
    proxy, is_locked = proxied("A"), threading.Event()
    proxy.add(Fault.holds_reply(is_locked, operation=operation))
    with with_options(sqlite_database, timeout=0.3):
        async with client_on(sqlite_database, proxy.account, accounts["B"]) as client:
            sending = asyncio.create_task(client.put("/files/k", content=content(size)))
            await proxy.wait_until(operation)
            with locked(sqlite_database):
                is_locked.set()
                assert_unavailable(await sending)
                assert keys_in(accounts["B"]) == ["k"]
            await until_nothing_is_left(accounts.values())
            again = await answer_when(lambda: client.put("/files/k", content=b"x"), is_not_busy)
            assert_told(again, 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


async def test_an_upload_is_refused_when_the_database_is_read_only(accounts: Accounts, sqlite_database: str) -> None:
    command = connections.settings[sqlite_database]["OPTIONS"]["init_command"]
    with ExitStack() as read_only:
        read_only.enter_context(with_options(sqlite_database, init_command=f"{command} PRAGMA query_only=ON;"))
        async with client_on(sqlite_database, accounts["A"], accounts["B"]) as client:
            for size in SIZES:
                assert_unavailable(await client.put("/files/k", content=content(size)))
            assert_nothing_left(accounts.values())
            read_only.close()
            assert_told(await client.put("/files/k", content=b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={MiB}", "tmpfs", str(folder)]
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
    """Until the disk is full."""
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(b"x" * 4096):
            continue
    assert os.statvfs(path.parent).f_bavail == 0


async def until_refused(client: httpx.AsyncClient) -> tuple[dict[str, bytes], httpx.Response]:
    """The files that were stored before, because SQLite's files have some free space; and the refusal."""
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
        assert (await listed(client)).keys() == stored.keys()
        (small_disk / "filler").unlink()
        again = await answer_when(
            lambda: client.put("/files/after", content=b"x"), lambda answer: answer.status_code != 503
        )
        assert_told(again, 201, {"A": None, "B": None})
        stored["after"] = b"x"
        # A file whose outcome could not be written stays in the accounts until its lease is over.
        await until(lambda: all(len(account.contents().versions) == len(stored) for account in two))
        assert (await listed(client)).keys() == stored.keys()
    assert_stored(two, stored)
