"""The whole service over real HTTP into real accounts, and the question that ends each test: what lies there now?"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connections

from file.logic.values import KiB, MiB
from file.s3.client import BRIEF_SECONDS
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.serviceprocess import ServiceProcess
from tests.buckets import s3_buckets
from tests.databases import Postgres, sqlite_template
from tests.files import bytes_of
from tests.serving import Running, running
from tests.unit.api.conftest import module_service, shared  # noqa: F401 - fixtures: one service for a module of tests

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]
Start = Callable[[ServiceProcess], Awaitable[None]]

PART_BYTES = 5 * MiB
ONE_PART = 5 * KiB
MANY_PARTS = PART_BYTES + 256 * KiB  # well beyond what is still one put

# Patient where nothing stalls, for the machine may be slow; what an account may take to fail is SHORT.
PATIENT = {"part_size": PART_BYTES, "max_request_bytes": 0, "settle_seconds": 0.3, "stall_seconds": 10.0}
SHORT = {
    "stall_seconds": 1.5,
    "account_bytes_per_second": 4 * MiB,
    "complete_seconds": 1.5,
    "remove_seconds": 1.5,
    "settle_seconds": 0.3,
}


@asynccontextmanager
async def serving(*accounts: StoreAccount, **settings: Any) -> AsyncIterator[Running]:
    """The service with these accounts; `settings` as in `tests.serving`, and `brief_seconds` (see `S3Client`)."""
    brief_seconds = settings.pop("brief_seconds", BRIEF_SECONDS)
    async with (
        s3_buckets(*accounts, brief_seconds=brief_seconds) as buckets,
        running(buckets, **{**PATIENT, **settings}) as service,
    ):
        yield service


@cache
def asking(account: StoreAccount) -> Any:
    """An account's own boto3 client: making one takes longer than asking."""
    return account.boto3()


@cache
def content(size: int) -> bytes:
    return bytes_of(size)


async def put(service: Running, size: int, key: str = "k") -> httpx.Response:
    async with service.client() as client:
        return await client.put(f"/files/{key}", content=content(size))


async def until_nobody_goes_on(service: Running) -> None:
    async with asyncio.timeout(20):
        while service.application.uploads.stragglers.under_way:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.02)


def assert_told(answer: httpx.Response, status: int, codes: Mapping[str, str | None]) -> dict[str, Any]:
    """The answer has this status, and an account's own code for each of them (None: it has the file)."""
    told: dict[str, Any] = answer.json()
    assert answer.status_code == status, told
    found = {name: outcome.get("error", {}).get("code") for name, outcome in told["accounts"].items()}
    assert found == codes, json.dumps(told, indent=1)
    return told


def assert_nothing_left(accounts: Iterable[StoreAccount]) -> None:
    """No object, no version, no delete marker, no open upload."""
    for account in accounts:
        contents = account.contents()
        assert not contents, f"{account.name}: {contents}"


def assert_stored(accounts: Iterable[StoreAccount], bodies: Mapping[str, bytes]) -> None:
    """Exactly these objects, and no open upload."""
    for account in accounts:
        contents = account.contents()
        assert contents.uploads == [], account.name
        assert sorted(key for key, _ in contents.versions) == sorted(bodies), account.name
        client = asking(account)
        for key, body in bodies.items():
            found = client.get_object(Bucket=account.s3_bucket_name, Key=key)["Body"].read()
            assert found == body, f"{account.name}: {key} differs"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty database that several processes may share."""
    if request.param == "sqlite":
        yield f"sqlite:///{shutil.copyfile(sqlite_template(), tmp_path / 'ledger.sqlite3')}"
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    with server.copy() as alias:
        yield server.url(str(connections.settings[alias]["NAME"]))


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`await start(process)`; what was started is killed with the test."""
    processes: list[ServiceProcess] = []

    async def start(process: ServiceProcess) -> None:
        processes.append(process)
        await asyncio.to_thread(process.start)

    yield start
    for process in processes:
        await asyncio.to_thread(process.kill)
