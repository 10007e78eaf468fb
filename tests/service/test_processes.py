"""Several processes on one ledger, and PostgreSQL that is not migrated yet or stops while the service runs."""

import asyncio
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from testkit.serviceprocess import ServiceProcessError
from tests.databases import Postgres
from tests.service import services
from tests.service.conftest import Accounts, Start
from tests.service.owners import assert_stored
from tests.service.receipts import assert_told, listed
from tests.service.services import client_of, put_when_free, until_nothing_is_left
from tests.service.sizes import MANY_PARTS, ONE_PART, content
from tests.unit.api.expectations import assert_problem
from tests.unit.ledger.commands import run_manage

UPLOADS = 200
AT_ONCE = 16
ROUNDS = 5


async def test_two_processes_share_a_ledger(
    accounts: Accounts, tmp_path: Path, database_url: str, start: Start
) -> None:
    two = [await start(services.service(tmp_path, database_url, accounts["A"], accounts["B"])) for _ in range(2)]
    async with client_of(two[0]) as first, client_of(two[1]) as second:
        stored = await same_keys_at_once(first, second)
        stored |= await many_at_once(first, second)
        assert await listed(first) == await listed(second) == dict.fromkeys(stored, "stored")
        for key in list(stored)[:10]:
            assert (await second.get(f"/files/{key}")).content == stored[key]
    assert_stored([accounts["A"], accounts["B"]], stored)


async def same_keys_at_once(*clients: httpx.AsyncClient) -> dict[str, bytes]:
    """One upload of each key succeeds, the others get 409."""
    stored = {}
    for key in (f"same{number}" for number in range(ROUNDS)):
        bodies = [bytes([place]) * 99 for place in range(len(clients) * 3)]
        sent = (client.put(f"/files/{key}", content=body) for client, body in zip(cycle(clients), bodies, strict=False))
        codes = [answer.status_code for answer in await asyncio.gather(*sent)]
        assert sorted(codes) == [201] + [409] * (len(bodies) - 1)
        stored[key] = bodies[codes.index(201)]
    return stored


async def many_at_once(*clients: httpx.AsyncClient) -> dict[str, bytes]:
    bodies = {f"many{number:03}": f"{number}".encode() for number in range(UPLOADS)}
    room = asyncio.Semaphore(AT_ONCE)

    async def upload(client: httpx.AsyncClient, key: str) -> httpx.Response:
        async with room:
            return await client.put(f"/files/{key}", content=bodies[key])

    sent = (upload(client, key) for client, key in zip(cycle(clients), bodies, strict=False))
    answers = await asyncio.gather(*sent)
    assert {answer.status_code for answer in answers} == {201}, [a.text for a in answers if a.status_code != 201]
    return bodies


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server only for one test, which may stop it."""
    with Postgres() as server:
        yield server


async def test_a_service_on_postgresql_starts_after_the_migration_and_survives_a_stop_of_the_database(
    accounts: Accounts, tmp_path: Path, own_postgres: Postgres, start: Start
) -> None:
    own_postgres.execute("CREATE DATABASE service")
    url = own_postgres.url("service")
    process = services.service(tmp_path, url, accounts["A"], accounts["B"])
    with pytest.raises(ServiceProcessError, match="lacks migrations"):
        await start(process)
    [line] = [line for line in process.log.read_text().splitlines() if line.strip()]
    assert line.startswith("CommandError: DATABASE_URL: the database lacks migrations (file.")
    assert line.endswith("run: python manage.py migrate")
    migrated = await asyncio.to_thread(run_manage, url, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    await start(process)
    async with client_of(process) as client:
        assert_told(await client.put("/files/before", content=b"x"), 201, {"A": None, "B": None})
        assert (await client.get("/files/before")).content == b"x"
        assert await listed(client) == {"before": "stored"}
        await asyncio.to_thread(own_postgres.stop)
        for size in (ONE_PART, MANY_PARTS):
            refused = await client.put("/files/k", content=content(size))
            assert_problem(refused, 503, "ledger_unavailable")
            assert "retry-after" in refused.headers
        assert (await client.get("/files/before")).status_code == 503
        assert (await client.get("/_/ready")).status_code == 200
        assert_stored([accounts["A"], accounts["B"]], {"before": b"x"})
        await asyncio.to_thread(own_postgres.start)
        assert_told(await put_when_free(process, content(ONE_PART)), 201, {"A": None, "B": None})
        assert await listed(client) == {"before": "stored", "k": "stored"}
    assert_stored([accounts["A"], accounts["B"]], {"before": b"x", "k": content(ONE_PART)})


async def test_nothing_is_lost_or_left_when_the_database_stops_within_an_upload(
    accounts: Accounts, tmp_path: Path, own_postgres: Postgres, start: Start
) -> None:
    own_postgres.execute("CREATE DATABASE service TEMPLATE template_of_tests")
    process = await start(services.service(tmp_path, own_postgres.url("service"), accounts["A"], accounts["B"]))
    body = services.HeldBody()
    async with client_of(process) as client:
        sending = asyncio.create_task(client.put("/files/k", content=body))
        await services.until(lambda: bool(accounts["A"].contents().uploads and accounts["B"].contents().uploads))
        await asyncio.to_thread(own_postgres.stop)
        body.goes_on.set()
        assert_problem(await sending, 503, "ledger_unavailable")
        await asyncio.to_thread(own_postgres.start)
        await until_nothing_is_left([accounts["A"], accounts["B"]])
        assert_told(await put_when_free(process, b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})
