"""Accounts come and go while the service runs, and from one start to the next: real processes, real accounts."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest

from testkit.account import StoreAccount
from testkit.serviceprocess import ServiceProcess
from tests.service import services
from tests.service.conftest import (
    ONE_PART,
    Accounts,
    Proxied,
    Start,
    assert_nothing_left,
    assert_stored,
    assert_told,
    content,
)
from tests.service.receipts import answer_when, receipt_of, receipt_when, statuses
from tests.service.services import client_of
from tests.unit.ledger.commands import run_manage

FILES = 20
Manage = Callable[..., CompletedProcess[str]]


@pytest.fixture
def new_service(tmp_path: Path, database_url: str) -> services.NewService:
    """All of them on one ledger."""

    def new(*accounts: StoreAccount) -> ServiceProcess:
        return services.service(tmp_path, database_url, *accounts)

    return new


@pytest.fixture
def manage(database_url: str) -> Manage:
    """`manage.py accounts`, with these accounts in the environment. A among them."""

    def run(accounts: list[StoreAccount], *arguments: str) -> CompletedProcess[str]:
        environment = {name: value for account in accounts for name, value in account.environment().items()}
        assert "AWS_ACCOUNT_A" in environment
        ran = run_manage(database_url, "accounts", *arguments, **environment)
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran

    return run


async def told_by(manage: Manage, accounts: list[StoreAccount], *arguments: str) -> dict[str, Any]:
    """What it says, with its exit code."""
    ran = await asyncio.to_thread(manage, accounts, *arguments, "--json")
    assert ran.stdout, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told | {"code": ran.returncode}


async def put_all(client: httpx.AsyncClient, count: int = FILES, **headers: str) -> dict[str, bytes]:
    """Key to body of so many files."""
    bodies = {f"k{number}": content(ONE_PART + number) for number in range(count)}
    for key, body in bodies.items():
        answer = await client.put(f"/files/{key}", content=body, headers=headers)
        assert answer.status_code in (201, 202), answer.text
    return bodies


async def erase(client: httpx.AsyncClient, key: str) -> None:
    """From every account: 202 until it is done."""
    gone = await answer_when(lambda: client.delete(f"/files/{key}"), lambda answer: answer.status_code != 202)
    assert (gone.status_code, gone.json()["status"]) == (200, "erased"), gone.text


async def stop(process: ServiceProcess) -> None:
    assert await asyncio.to_thread(process.stop) == 0


async def test_a_new_account_has_all_files_when_it_was_filled(
    accounts: Accounts, new_service: services.NewService, manage: Manage, start: Start
) -> None:
    a, b, c = accounts.values()
    process = new_service(a, b)
    await start(process)
    async with client_of(process) as client:
        bodies = await put_all(client)
        await erase(client, "k0")
        del bodies["k0"]
    await stop(process)
    process = new_service(a, b, c)
    await start(process)
    assert_nothing_left([c])
    done = await told_by(manage, [a, b, c], "add", "C", "--backfill")
    assert (done["code"], done["files"], done["added"], done["whole"]) == (0, FILES - 1, FILES - 1, True)

    async def state() -> dict[str, Any]:
        found: dict[str, Any] = (await told_by(manage, [a, b, c]))["accounts"]["C"]
        return found

    filled = await answer_when(state, lambda told: told["stored"] == FILES - 1)
    assert (filled["state"], filled["pending"], filled["blocked"]) == ("active", 0, {})
    assert_stored([a, b, c], bodies)
    async with client_of(process) as client:
        listed = (await client.get("/files")).json()["files"]
        assert {file["status"] for file in listed} == {"stored"}
        assert statuses(await receipt_of(client, listed[0]["id"])) == dict.fromkeys("ABC", "stored")
    assert (await told_by(manage, [a, b, c], "add", "C", "--backfill"))["added"] == 0


async def test_an_account_is_empty_and_gets_nothing_when_it_was_drained(
    accounts: Accounts, new_service: services.NewService, manage: Manage, start: Start
) -> None:
    three = list(accounts.values())
    process = new_service(*three)
    await start(process)
    async with client_of(process) as client:
        bodies = await put_all(client, 5)
        only = await client.put("/files/only", content=b"only", headers={"upload-accounts": "C"})
        assert_told(only, 201, {"C": None})
        first = await told_by(manage, three, "retire", "C", "--drain")
        assert (first["code"], first["leaving"], first["only_there"], first["done"]) == (1, 5, 1, False)
        again = await answer_when(
            lambda: told_by(manage, three, "retire", "C", "--drain"), lambda told: told["unfinished"] == 0
        )
        assert (again["code"], again["only_there"]) == (1, 1)
        assert_stored([accounts["C"]], {"only": b"only"})
        assert (await client.get("/files/only")).content == b"only"
        # New uploads do not go there, and none may ask for it.
        later = await answer_when(
            lambda: client.put("/files/later", content=b"later"), lambda answer: answer.status_code != 409
        )
        assert_told(later, 201, {"A": None, "B": None})
        refused = await client.put("/files/refused", content=b"x", headers={"upload-accounts": "A, C"})
        assert (refused.status_code, refused.json()["code"]) == (422, "accounts_refused")
        for key, body in bodies.items():
            found = await client.get(f"/files/{key}")
            assert found.content == body
        told = await receipt_of(client, later.json()["id"])
        assert statuses(told) == {"A": "stored", "B": "stored"}
        await erase(client, "only")
        assert (await told_by(manage, three, "retire", "C", "--drain"))["code"] == 0
        assert_nothing_left([accounts["C"]])
        assert_stored([accounts["A"], accounts["B"]], {**bodies, "later": b"later"})
        states = (await told_by(manage, three))["accounts"]
        assert {name: state["state"] for name, state in states.items()} == {
            "A": "active",
            "B": "active",
            "C": "retired (empty)",
        }
        # It is taken back, without a start.
        assert (await told_by(manage, three, "add", "C"))["was_retired"]
        numbers = iter(range(1000))
        back = await answer_when(
            lambda: client.put(f"/files/back-{next(numbers)}", content=b"x"),
            lambda answer: len(answer.json()["accounts"]) == 3,
        )
        assert_told(back, 201, dict.fromkeys("ABC"))


async def test_what_an_account_keeps_can_be_read_and_erased_when_it_was_retired(
    accounts: Accounts, new_service: services.NewService, manage: Manage, start: Start
) -> None:
    three = list(accounts.values())
    process = new_service(*three)
    await start(process)
    async with client_of(process) as client:
        bodies = await put_all(client, 2)
        assert (await told_by(manage, three, "retire", "C", "--keep"))["code"] == 0
        await stop(process)
        process = new_service(*three)
        await start(process)
    async with client_of(process) as client:  # what was retired counts from the first upload on
        assert_told(await client.put("/files/later", content=b"x"), 201, {"A": None, "B": None})
        assert_stored([accounts["C"]], bodies)
        await erase(client, "k0")
        assert_stored([accounts["C"]], {"k1": bodies["k1"]})


async def test_nothing_is_forgotten_when_an_account_is_missing_for_a_while(
    accounts: Accounts, proxied: Proxied, new_service: services.NewService, manage: Manage, start: Start
) -> None:
    proxy = proxied("C")
    a, b, c = accounts["A"], accounts["B"], proxy.account
    process = new_service(a, b, c)
    await start(process)
    async with client_of(process) as client:
        assert (await client.put("/files/erased", content=b"erased")).status_code == 201
        proxy.refuse_connections()
        pending = await client.put("/files/pending", content=b"pending", headers={"upload-ack": "2"})
        assert pending.status_code == 202, pending.text
    await stop(process)
    process = new_service(a, b)
    await start(process)
    async with client_of(process) as client:
        blocked = await receipt_when(
            client, pending.json()["id"], lambda told: told["accounts"]["C"]["status"] == "blocked"
        )
        assert blocked["accounts"]["C"]["error"]["code"] == "account_missing"

        def waits(answer: httpx.Response) -> bool:
            return bool(answer.json()["accounts"]["C"].get("error") == {"code": "account_missing"})

        waiting = await answer_when(lambda: client.delete("/files/erased"), waits)
        assert waiting.status_code == 202
        state = (await told_by(manage, [a, b]))["accounts"]["C"]
        assert (state["state"], state["configured"]) == ("missing from the environment", False)
        assert (state["blocked"], state["erasing"]) == ({"account_missing": 1}, {"account_missing": 1})
    await stop(process)
    proxy.accept_connections()
    process = new_service(a, b, c)
    await start(process)
    async with client_of(process) as client:
        await receipt_when(client, pending.json()["id"], lambda told: told["status"] == "stored")
        await erase(client, "erased")
    assert_stored(accounts.values(), {"pending": b"pending"})


async def test_an_account_goes_on_under_another_name_when_it_was_renamed(
    accounts: Accounts, proxied: Proxied, new_service: services.NewService, manage: Manage, start: Start
) -> None:
    proxy = proxied("C")
    a, b, c = accounts["A"], accounts["B"], proxy.account
    d = StoreAccount(**{**{field: getattr(c, field) for field in c.__slots__}, "name": "D"})
    process = new_service(a, b, c)
    await start(process)
    async with client_of(process) as client:
        first = (await client.put("/files/first", content=b"first")).json()["id"]
        proxy.refuse_connections()
        second = (await client.put("/files/second", content=b"second", headers={"upload-ack": "2"})).json()["id"]
    refused = await asyncio.to_thread(manage, [a, b, c], "rename", "C", "D")
    assert (refused.returncode, "AWS_ACCOUNT_D is not set" in refused.stderr) == (1, True)
    await stop(process)
    proxy.accept_connections()
    done = await answer_when(
        lambda: asyncio.to_thread(manage, [a, b, d], "rename", "C", "D", "--json"), lambda ran: ran.returncode == 0
    )
    assert json.loads(done.stdout) == {"account": "C", "new_name": "D", "renamed": 2}
    process = new_service(a, b, d)
    await start(process)
    async with client_of(process) as client:
        told = await receipt_when(client, second, lambda told: told["status"] == "stored")
        assert statuses(told) == statuses(await receipt_of(client, first)) == dict.fromkeys("ABD", "stored")
    assert_stored(accounts.values(), {"first": b"first", "second": b"second"})
