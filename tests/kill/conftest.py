"""A service that is killed and started again, and the uploads during which it is killed."""

import asyncio
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from django.db import connections

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.serviceprocess import configuration
from tests.databases import Postgres, sqlite_template
from tests.kill.agreement import Ledger, PostgresqlLedger, SqliteLedger, assert_settled
from tests.kill.deadly.__main__ import PART_BYTES
from tests.kill.nursery import Nursery
from tests.service.sizes import content
from tests.serving import HEADERS, PLAIN

LEASE_SECONDS = 2.0
LAST_PART_BYTES = 256 * 1024  # a byte more than one part is still one put
DEATH_SECONDS = 60.0
SETTLED_SECONDS = 75.0  # beyond the lease; a loaded machine is slow

NewVictim = Callable[..., "Victim"]
Proxies = dict[str, FaultProxy]


@dataclass(frozen=True)
class Shape:
    """An upload: form or raw, with this number of parts and this ack."""

    way: str
    parts: int
    ack: str

    def __str__(self) -> str:
        return f"{self.way}-{self.parts}-{self.ack}"

    @property
    def body(self) -> bytes:
        return content(1024 if self.parts == 1 else (self.parts - 1) * PART_BYTES + LAST_PART_BYTES)


EVERY_SHAPE = [Shape(way, parts, ack) for way in ("form", "raw") for parts in (1, 3) for ack in ("all", "any")]
# In this half every two values occur together.
_HALF = [shape for shape in EVERY_SHAPE if (shape.way == "form") ^ (shape.parts == 1) ^ (shape.ack == "any")]
# Killed at each request: `make test` takes the half, `make faults` all. At each commit: always all.
KILLED_AT_REQUESTS = EVERY_SHAPE if os.environ.get("FAULTS") == "all" else _HALF


class Victim:
    """A service in its own process, and its ledger, which outlives it."""

    def __init__(self, process: Nursery, ledger: Ledger) -> None:
        self.process = process
        self.ledger = ledger

    async def upload(self, shape: Shape, name: str) -> int:
        """The status; 0 if the connection broke, as it does when a service is killed."""
        headers = {**HEADERS, "upload-ack": shape.ack}
        try:
            async with httpx.AsyncClient(base_url=self.process.url, headers=headers, timeout=60, **PLAIN) as client:
                if shape.way == "raw":
                    answer = await client.put(f"/files/{name}", content=shape.body)
                else:
                    answer = await client.post("/upload", data={"filename": name}, files={"file": (name, shape.body)})
        except httpx.TransportError:
            return 0
        return answer.status_code

    async def start(self, commit: str = "", *, may_die: bool = False) -> None:
        """See `Nursery.start`."""
        await asyncio.to_thread(self.process.start, commit, may_die=may_die)

    async def kill(self) -> None:
        await asyncio.to_thread(self.process.kill)

    async def death(self) -> None:
        """Wait until it was killed."""
        try:
            code = await asyncio.wait_for(asyncio.to_thread(self.process.wait), DEATH_SECONDS)
        except TimeoutError:
            await self.kill()  # or the thread would wait on, and the test's loop for the thread
            raise
        assert code == -signal.SIGKILL, f"it ended with {code}"

    async def death_and_lapse(self, *proxies: FaultProxy) -> None:
        """Wait until it was killed; then the faults of the proxies are over, and all leases have run out."""
        await self.death()
        for proxy in proxies:
            proxy.clear()
        self.ledger.let_leases_lapse()

    async def settled(self, *, lastly: bool = False) -> None:
        """See `assert_settled`."""
        await asyncio.to_thread(assert_settled, self.ledger, LEASE_SECONDS + SETTLED_SECONDS, lastly=lastly)


async def answered_then_dead(
    victim: Victim, shape: Shape, name: str, answered: threading.Event, proxy: FaultProxy
) -> None:
    """Upload, let the slow account go on when the client has its answer, and wait for the death."""
    try:
        assert await victim.upload(shape, name) == 202
    finally:
        answered.set()
    await victim.death_and_lapse(proxy)


@pytest.fixture
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    """On SQLite, or on the database of an indirect parameter."""
    if getattr(request, "param", "sqlite") == "sqlite":
        path = tmp_path / "ledger.sqlite3"
        shutil.copyfile(sqlite_template(), path)
        yield SqliteLedger(path)
        return
    server: Postgres = request.getfixturevalue("postgres_server")
    with server.copy() as alias:
        yield PostgresqlLedger(server, str(connections.settings[alias]["NAME"]))


@pytest.fixture
def new_victim(tmp_path: Path, ledger: Ledger) -> Iterator[NewVictim]:
    """`new_victim(*accounts)` is a service with these accounts that is not started yet."""
    made: list[Victim] = []

    def new(*accounts: StoreAccount, **environment: str) -> Victim:
        quick = {
            "UPLOAD_MAX_REQUEST_BYTES": "0",
            "UPLOAD_LEASE_SECONDS": str(LEASE_SECONDS),
            "UPLOAD_SETTLE_SECONDS": "0.2",
        }
        settings = configuration(ledger.url, accounts, {**quick, **environment})
        made.append(Victim(Nursery(settings, tmp_path / f"service{len(made)}.log"), ledger))
        return made[-1]

    yield new
    for victim in made:
        victim.process.close()


@pytest.fixture
def proxies(accounts: dict[str, StoreAccount], proxied: Callable[[str], FaultProxy]) -> Proxies:
    return {name: proxied(name) for name in accounts}
