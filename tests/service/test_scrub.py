"""The sweep finds wrong replicas while the service runs, marks and logs them, and does nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from file.audit.compare import Result
from file.audit.scrub import Scrub
from file.ledger.audit.replicas import Replicas
from file.ledger.audit.verification import Verification
from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from tests.buckets import registry_of
from tests.service.conftest import Accounts, Proxied
from tests.service.owners import delete, overwrite
from tests.service.receipts import answer_when
from tests.service.verifying import opened, states_of, upload
from tests.unit.ledger.looking import ledger_on, replicas_in

A_DAY_IN_A_SECOND = 86_400 * 20  # twenty a second


@asynccontextmanager
async def scrubbing(database: str, *accounts: StoreAccount, per_day: int = A_DAY_IN_A_SECOND) -> AsyncIterator[Scrub]:
    """On the writer of a ledger, as in the service."""
    async with opened(database, accounts) as (_, buckets), ledger_on(database) as ledger:
        replicas, verification = Replicas(ledger.writer, database), Verification(ledger.writer, database)
        yield Scrub(replicas, verification, registry_of(buckets), per_day=per_day)


@asynccontextmanager
async def under_way(scrub: Scrub) -> AsyncIterator[None]:
    task = asyncio.create_task(scrub.run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def verified(sweep: Scrub) -> Result:
    """The next verdict about A's replica: the sweep may have to start again behind its last one."""
    while (verdict := await sweep.verify_one("A")) is None:
        continue
    return verdict


async def test_wrong_replicas_are_marked_while_the_service_runs(accounts: Accounts, sqlite_database: str) -> None:
    await upload(sqlite_database, *accounts.values())
    delete(accounts["A"])
    overwrite(accounts["B"], b"theirs")
    with capture_logs() as log:
        async with scrubbing(sqlite_database, *accounts.values()) as sweep, under_way(sweep):
            await answer_when(
                lambda: states_of(sqlite_database), lambda states: states["A"][0] != "stored" != states["B"][0]
            )
            await answer_when(
                lambda: replicas_in(sqlite_database), lambda replicas: replicas["C"].verified_at is not None
            )
    states = await states_of(sqlite_database)
    assert (states["A"], states["B"]) == (("pending", "replica_missing"), ("blocked", "replaced"))
    assert (states["file"], states["C"]) == (("partial", None), ("stored", None))
    found = {(line["account"], line["code"], line["became"]) for line in log if line["event"] == "replica_is_wrong"}
    assert found == {("A", "replica_missing", "pending"), ("B", "replaced", "blocked")}


async def test_the_sweep_goes_on_when_one_fails(accounts: Accounts, proxied: Proxied, sqlite_database: str) -> None:
    proxy = proxied("A")
    await upload(sqlite_database, accounts["A"])
    proxy.add(Fault.refuses("AccessDenied", operation="head", times=2))
    with capture_logs() as log:
        async with scrubbing(sqlite_database, proxy.account) as sweep, under_way(sweep):
            await answer_when(
                lambda: replicas_in(sqlite_database), lambda replicas: replicas["A"].verified_at is not None
            )
    assert [line["code"] for line in log if line["event"] == "sampling_failed"] == ["access_refused"] * 2
    assert (await states_of(sqlite_database))["A"] == ("stored", None)


async def test_one_replica_is_verified_at_a_time(accounts: Accounts, sqlite_database: str) -> None:
    async with scrubbing(sqlite_database, *accounts.values()) as sweep:
        assert await sweep.verify_one("A") is None
        await upload(sqlite_database, *accounts.values())
        assert await verified(sweep) is Result.GOOD
        delete(accounts["A"])
        assert await verified(sweep) is Result.MISSING


async def test_nothing_is_sampled_when_it_is_switched_off(accounts: Accounts, sqlite_database: str) -> None:
    async with scrubbing(sqlite_database, accounts["A"], per_day=0) as sweep:
        await asyncio.wait_for(sweep.run(), timeout=10)
