"""The whole service over real HTTP, with real accounts."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connections

from file.s3.client import BRIEF_SECONDS
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.processes import ROOT, start_process
from testkit.serviceprocess import ServiceProcess
from tests.buckets import NewBucket, s3_buckets
from tests.databases import Postgres, sqlite_template
from tests.processes import processes_with
from tests.service.sizes import ONE_PART, PATIENT, content
from tests.serving import Running, running
from tests.unit.api.conftest import module_service, shared  # noqa: F401 - fixtures: one service for a module of tests

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]
StartProgram = Callable[..., subprocess.Popen[str]]
Start = Callable[[ServiceProcess], Awaitable[ServiceProcess]]


@asynccontextmanager
async def serving(*accounts: StoreAccount, **settings: Any) -> AsyncIterator[Running]:
    """The service with these accounts; `settings` as in `tests.serving`, and `brief_seconds` (see `S3Client`)."""
    brief_seconds = settings.pop("brief_seconds", BRIEF_SECONDS)
    async with (
        s3_buckets(*accounts, brief_seconds=brief_seconds) as buckets,
        running(buckets, **{**PATIENT, **settings}) as service,
    ):
        yield service


@asynccontextmanager
async def serving_client(*accounts: StoreAccount, **settings: Any) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    """As `serving`, with an open client."""
    async with serving(*accounts, **settings) as service, service.client() as client:
        yield service, client


async def put_stored(service: Running, size: int = ONE_PART, key: str = "k") -> str:
    """Stores a file in every account and returns its id."""
    answer = await put(service, size, key)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def put(service: Running, size: int, key: str = "k") -> httpx.Response:
    async with service.client() as client:
        return await client.put(f"/files/{key}", content=content(size))


async def until_stragglers_ended(service: Running) -> None:
    async with asyncio.timeout(20):
        while service.application.uploads.stragglers.under_way:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.02)


@pytest.fixture
def proxy(proxied: Proxied) -> FaultProxy:
    """In front of account B."""
    return proxied("B")


@pytest.fixture(scope="session")
def _versioned(kept_bucket: NewBucket) -> StoreAccount:
    return kept_bucket("A", "service-versioned", versioned=True)


@pytest.fixture
def versioned(_versioned: StoreAccount) -> StoreAccount:
    """Account A with an empty bucket that keeps versions."""
    _versioned.empty()
    return _versioned


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
def start_program(tmp_path: Path) -> Iterator[StartProgram]:
    """`start_program("demo", "--option", NAME="value")` is `python -m demo`, with this variable in its environment.

    A process that it leaves behind fails the test.
    """
    mark = {"MENTUM_TEST_PROGRAM": str(tmp_path)}

    def start(*words: str, **environment: str) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = start_process(
            [sys.executable, "-m", *words],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path), **mark, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return process

    yield start
    [(name, value)] = mark.items()
    left = processes_with(name, value)
    for process_id in left:
        os.kill(process_id, signal.SIGKILL)
    assert not left


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """`process = await start(service(...))`; the process is killed at the end of the test."""
    processes: list[ServiceProcess] = []

    async def start(process: ServiceProcess) -> ServiceProcess:
        processes.append(process)
        await asyncio.to_thread(process.start)
        return process

    yield start
    for process in processes:
        await asyncio.to_thread(process.kill)
