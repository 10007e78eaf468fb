"""PostgreSQL goes away and comes back while files are uploaded: nothing acknowledged is lost, nothing is left."""

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from django.db import connections

from tests.databases import Postgres
from tests.service.conftest import Accounts, Start, asking
from tests.service.receipts import answer_when
from tests.service.services import client_of, service, until

CLIENTS = 8
RESTARTS = 3
FILES = 25  # acknowledged between two restarts


@pytest.fixture
def server() -> Iterator[Postgres]:
    """Not the one of all tests: it is restarted."""
    with Postgres() as running:
        yield running


@pytest.fixture
def url(server: Postgres) -> Iterator[str]:
    with server.copy() as alias:
        yield server.url(str(connections.settings[alias]["NAME"]))


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_left_when_it_restarts_under_load(
    accounts: Accounts, server: Postgres, url: str, start: Start, tmp_path: Path
) -> None:
    process = service(tmp_path, url, *accounts.values())
    await start(process)
    told: dict[str, int] = {}
    numbers, ending = count(), asyncio.Event()

    async def client(http: httpx.AsyncClient) -> None:
        while not ending.is_set():
            key = f"k{next(numbers)}"
            told[key] = (await http.put(f"/files/{key}", content=key.encode())).status_code

    def acknowledged() -> set[str]:
        return {key for key, status in told.items() if status == 201}

    async with client_of(process) as http:
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(http))
            for _ in range(RESTARTS):
                more = len(acknowledged()) + FILES
                await until(lambda more=more: len(acknowledged()) >= more)  # type: ignore[misc]
                await asyncio.to_thread(server.restart)
            more = len(acknowledged()) + FILES
            await until(lambda: len(acknowledged()) >= more)
            ending.set()
        assert set(told.values()) <= {201, 503}
        files = await answer_when(lambda: listed(http), lambda found: found >= acknowledged())

        def agrees() -> bool:
            return all(set(keys_in(accounts, name)) == files for name in accounts)

        await until(agrees)
        for key in acknowledged():
            assert (await http.get(f"/files/{key}")).content == key.encode()


async def listed(http: httpx.AsyncClient) -> set[str]:
    """Every file that exists for a reader; some of those that were answered 503 may."""
    files = (await http.get("/files", params={"limit": 1000})).json()["files"]
    return {file["key"] for file in files}


def keys_in(accounts: Accounts, name: str) -> list[str]:
    found = asking(accounts[name]).list_objects_v2(Bucket=accounts[name].s3_bucket_name)
    return [entry["Key"] for entry in found.get("Contents", [])]
