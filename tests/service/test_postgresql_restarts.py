"""PostgreSQL restarts while files are uploaded: nothing acknowledged is lost, nothing is left."""

import asyncio
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest
from django.db import connections

from tests.databases import Postgres
from tests.service.conftest import Accounts, Start
from tests.service.owners import keys_in
from tests.service.receipts import answer_when, listed
from tests.service.services import client_of, service, until

CLIENTS = 8
RESTARTS = 3
FILES = 25  # acknowledged between two restarts


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server only for this test, which restarts it."""
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
    process = await start(service(tmp_path, url, *accounts.values()))
    told: dict[str, int] = {}
    numbers, ending = count(), asyncio.Event()

    async def client(http: httpx.AsyncClient) -> None:
        while not ending.is_set():
            key = f"k{next(numbers)}"
            told[key] = (await http.put(f"/files/{key}", content=key.encode())).status_code

    def acknowledged() -> set[str]:
        return {key for key, status in told.items() if status == 201}

    async def more_are_acknowledged() -> None:
        target = len(acknowledged()) + FILES
        await until(lambda: len(acknowledged()) >= target)

    async with client_of(process) as http:
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(client(http))
            for _ in range(RESTARTS):
                await more_are_acknowledged()
                await asyncio.to_thread(server.restart)
            await more_are_acknowledged()
            ending.set()
        assert set(told.values()) <= {201, 503}
        # Some files that were answered with 503 may exist, too.
        files = await answer_when(lambda: listed(http), lambda found: found.keys() >= acknowledged())
        await until(lambda: all(keys_in(account) == sorted(files) for account in accounts.values()))
        for key in acknowledged():
            assert (await http.get(f"/files/{key}")).content == key.encode()
