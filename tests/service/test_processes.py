"""Several processes on one ledger, and PostgreSQL that is not migrated yet or goes away under the service."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testkit.serviceprocess import ServiceProcessError
from tests.databases import Postgres
from tests.service import services
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    Accounts,
    Start,
    assert_stored,
    assert_told,
    content,
)
from tests.service.services import client_of, put_when_free, until_nothing_is_left
from tests.unit.ledger.commands import run_manage

UPLOADS = 200
AT_ONCE = 16
ROUNDS = 5


async def listed(client: httpx.AsyncClient) -> dict[str, str]:
    """Key to state of every file."""
    answer = await client.get("/files", params={"limit": 1000})
    assert answer.json()["next"] is None
    return {file["key"]: file["status"] for file in answer.json()["files"]}


async def test_two_processes_agree_when_they_share_a_ledger(
    accounts: Accounts, tmp_path: Path, database_url: str, start: Start
) -> None:
    two = [services.service(tmp_path, database_url, accounts["A"], accounts["B"]) for _ in range(2)]
    for process in two:
        await start(process)
    async with client_of(two[0]) as first, client_of(two[1]) as second:
        stored = await same_keys_at_once(first, second)
        stored |= await many_at_once(first, second)
        assert await listed(first) == await listed(second) == dict.fromkeys(stored, "stored")
        for key in list(stored)[:10]:
            assert (await second.get(f"/files/{key}")).content == stored[key]
    assert_stored([accounts["A"], accounts["B"]], stored)


async def same_keys_at_once(*clients: httpx.AsyncClient) -> dict[str, bytes]:
    """One of them has it, the others are told so."""
    stored = {}
    for number in range(ROUNDS):
        bodies = [bytes([place]) * 99 for place in range(len(clients) * 3)]
        answers = await asyncio.gather(
            *(
                clients[place % len(clients)].put(f"/files/same{number}", content=body)
                for place, body in enumerate(bodies)
            )
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [201] + [409] * (len(bodies) - 1)
        [winner] = [place for place, answer in enumerate(answers) if answer.status_code == 201]
        stored[f"same{number}"] = bodies[winner]
    return stored


async def many_at_once(*clients: httpx.AsyncClient) -> dict[str, bytes]:
    bodies = {f"many{number:03}": f"{number}".encode() for number in range(UPLOADS)}
    room = asyncio.Semaphore(AT_ONCE)

    async def upload(client: httpx.AsyncClient, key: str) -> httpx.Response:
        async with room:
            return await client.put(f"/files/{key}", content=bodies[key])

    answers = await asyncio.gather(*(upload(clients[place % len(clients)], key) for place, key in enumerate(bodies)))
    assert {answer.status_code for answer in answers} == {201}, [a.text for a in answers if a.status_code != 201]
    return bodies


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server of the test's own, that can be taken away under the service."""
    with Postgres() as server:
        yield server


async def test_a_service_on_postgresql_starts_once_it_is_migrated_and_lives_through_a_stop_of_the_database(
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
            assert (refused.status_code, refused.json()["code"]) == (503, "ledger_unavailable")
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
    process = services.service(tmp_path, own_postgres.url("service"), accounts["A"], accounts["B"])
    await start(process)
    body = services.HeldBody()
    async with client_of(process) as client:
        sending = asyncio.create_task(client.put("/files/k", content=body))
        await services.until(lambda: bool(accounts["A"].contents().uploads and accounts["B"].contents().uploads))
        await asyncio.to_thread(own_postgres.stop)
        body.goes_on.set()
        answer = await sending
        assert (answer.status_code, answer.json()["code"]) == (503, "ledger_unavailable")
        await asyncio.to_thread(own_postgres.start)
        await until_nothing_is_left([accounts["A"], accounts["B"]])
        assert_told(await put_when_free(process, b"x"), 201, {"A": None, "B": None})
    assert_stored([accounts["A"], accounts["B"]], {"k": b"x"})
