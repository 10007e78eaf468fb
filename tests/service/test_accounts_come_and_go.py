"""Accounts come and go while the service runs, and from one start to the next: real processes, real accounts."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.account import StoreAccount
from tests.service import services
from tests.service.conftest import Accounts, Proxied, Start
from tests.service.owners import assert_nothing_left, assert_stored
from tests.service.receipts import answer_when, assert_told, receipt_of, receipt_when, statuses
from tests.service.services import client_of
from tests.service.sizes import ONE_PART, content
from tests.unit.api.expectations import assert_problem

FILES = 20
Serving = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
Manage = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def serving(tmp_path: Path, database_url: str, start: Start) -> Serving:
    """`async with serving(a, b) as client`: a service process, until the block ends. All of a test have one ledger."""

    @asynccontextmanager
    async def serving(*accounts: StoreAccount) -> AsyncIterator[httpx.AsyncClient]:
        process = await start(services.service(tmp_path, database_url, *accounts))
        async with client_of(process) as client:
            yield client
        assert await asyncio.to_thread(process.stop) == 0

    return serving


@pytest.fixture
def manage(database_url: str) -> Manage:
    """`manage.py accounts` with these accounts: its JSON, with the exit code as `code`."""

    async def run(accounts: list[StoreAccount], *arguments: str) -> dict[str, Any]:
        code, told = await services.manage_json(database_url, accounts, "accounts", *arguments)
        return told | {"code": code}

    return run


async def put_all(client: httpx.AsyncClient, count: int = FILES) -> dict[str, bytes]:
    """The body of each file by key."""
    bodies = {f"k{number}": content(ONE_PART + number) for number in range(count)}
    for key, body in bodies.items():
        answer = await client.put(f"/files/{key}", content=body)
        assert answer.status_code == 201, answer.text
    return bodies


async def erase(client: httpx.AsyncClient, key: str) -> None:
    """From every account: 202 until it is done."""
    gone = await answer_when(lambda: client.delete(f"/files/{key}"), lambda answer: answer.status_code != 202)
    assert (gone.status_code, gone.json()["status"]) == (200, "erased"), gone.text


async def test_a_new_account_has_all_files_when_filled(accounts: Accounts, serving: Serving, manage: Manage) -> None:
    a, b, c = accounts.values()
    async with serving(a, b) as client:
        bodies = await put_all(client)
        await erase(client, "k0")
        del bodies["k0"]
    async with serving(a, b, c) as client:
        assert_nothing_left([c])
        done = await manage([a, b, c], "add", "C", "--backfill")
        assert (done["code"], done["files"], done["added"], done["whole"]) == (0, FILES - 1, FILES - 1, True)
        told = await answer_when(lambda: manage([a, b, c]), lambda told: told["accounts"]["C"]["stored"] == FILES - 1)
        filled = told["accounts"]["C"]
        assert (filled["state"], filled["pending"], filled["blocked"]) == ("active", 0, {})
        assert_stored([a, b, c], bodies)
        listed = (await client.get("/files")).json()["files"]
        assert {file["status"] for file in listed} == {"stored"}
        assert statuses(await receipt_of(client, listed[0]["id"])) == dict.fromkeys("ABC", "stored")
        assert (await manage([a, b, c], "add", "C", "--backfill"))["added"] == 0


async def test_an_account_stays_empty_when_it_was_drained(accounts: Accounts, serving: Serving, manage: Manage) -> None:
    three = list(accounts.values())
    async with serving(*three) as client:
        bodies = await put_all(client, 5)
        only = await client.put("/files/only", content=b"only", headers={"upload-accounts": "C"})
        assert_told(only, 201, {"C": None})
        first = await manage(three, "retire", "C", "--drain")
        assert (first["code"], first["leaving"], first["only_there"], first["done"]) == (1, 5, 1, False)
        again = await answer_when(lambda: manage(three, "retire", "C", "--drain"), lambda told: told["unfinished"] == 0)
        assert (again["code"], again["only_there"]) == (1, 1)
        assert_stored([accounts["C"]], {"only": b"only"})
        assert (await client.get("/files/only")).content == b"only"
        # New uploads cannot choose it, once the service knows. Until then a wrong digest prevents that it is stored.
        refusing = {"upload-accounts": "A, C", "content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
        refused = await answer_when(
            lambda: client.put("/files/refused", content=b"x", headers=refusing),
            lambda answer: answer.json()["code"] != "digest_mismatch",
        )
        assert_problem(refused, 422, "accounts_refused")
        later = await client.put("/files/later", content=b"later")  # and do not go there
        assert_told(later, 201, {"A": None, "B": None})
        for key, body in bodies.items():
            assert (await client.get(f"/files/{key}")).content == body
        assert statuses(await receipt_of(client, later.json()["id"])) == {"A": "stored", "B": "stored"}
        await erase(client, "only")
        assert (await manage(three, "retire", "C", "--drain"))["code"] == 0
        assert_nothing_left([accounts["C"]])
        assert_stored([accounts["A"], accounts["B"]], {**bodies, "later": b"later"})
        states = (await manage(three))["accounts"]
        assert [states[name]["state"] for name in "ABC"] == ["active", "active", "retired (empty)"]
        # It becomes active again without a restart.
        assert (await manage(three, "add", "C"))["was_retired"]
        numbers = iter(range(1000))
        back = await answer_when(
            lambda: client.put(f"/files/back-{next(numbers)}", content=b"x"),
            lambda answer: len(answer.json()["accounts"]) == 3,
        )
        assert_told(back, 201, dict.fromkeys("ABC"))


async def test_a_retired_account_keeps_files_until_erased(accounts: Accounts, serving: Serving, manage: Manage) -> None:
    three = list(accounts.values())
    async with serving(*three) as client:
        bodies = await put_all(client, 2)
        assert (await manage(three, "retire", "C", "--keep"))["code"] == 0
    async with serving(*three) as client:  # the retirement counts from the first upload on
        assert_told(await client.put("/files/later", content=b"x"), 201, {"A": None, "B": None})
        assert_stored([accounts["C"]], bodies)
        await erase(client, "k0")
        assert_stored([accounts["C"]], {"k1": bodies["k1"]})


async def test_nothing_is_forgotten_when_an_account_is_missing_for_a_while(
    accounts: Accounts, proxied: Proxied, serving: Serving, manage: Manage
) -> None:
    proxy = proxied("C")
    a, b, c = accounts["A"], accounts["B"], proxy.account
    async with serving(a, b, c) as client:
        assert (await client.put("/files/erased", content=b"erased")).status_code == 201
        proxy.refuse_connections()
        pending = await client.put("/files/pending", content=b"pending", headers={"upload-ack": "2"})
        assert pending.status_code == 202, pending.text
    async with serving(a, b) as client:
        pending_id = pending.json()["id"]
        blocked = await receipt_when(client, pending_id, lambda told: told["accounts"]["C"]["status"] == "blocked")
        assert blocked["accounts"]["C"]["error"]["code"] == "account_missing"

        def waits(answer: httpx.Response) -> bool:
            return bool(answer.json()["accounts"]["C"].get("error") == {"code": "account_missing"})

        waiting = await answer_when(lambda: client.delete("/files/erased"), waits)
        assert waiting.status_code == 202
        state = (await manage([a, b]))["accounts"]["C"]
        assert (state["state"], state["configured"]) == ("missing from the environment", False)
        assert (state["blocked"], state["erasing"]) == ({"account_missing": 1}, {"account_missing": 1})
    proxy.accept_connections()
    async with serving(a, b, c) as client:
        await receipt_when(client, pending_id, lambda told: told["status"] == "stored")
        await erase(client, "erased")
    assert_stored(accounts.values(), {"pending": b"pending"})


async def test_an_account_goes_on_under_another_name_when_it_was_renamed(
    accounts: Accounts, proxied: Proxied, serving: Serving, database_url: str
) -> None:
    proxy = proxied("C")
    a, b, c = accounts["A"], accounts["B"], proxy.account
    d = replace(c, name="D")
    async with serving(a, b, c) as client:
        first = (await client.put("/files/first", content=b"first")).json()["id"]
        proxy.refuse_connections()
        second = (await client.put("/files/second", content=b"second", headers={"upload-ack": "2"})).json()["id"]
        refused = await services.manage(database_url, [a, b, c], "accounts", "rename", "C", "D")
        assert (refused.returncode, "AWS_ACCOUNT_D is not set" in refused.stderr) == (1, True), refused.stderr
        assert "Traceback" not in refused.stderr
    proxy.accept_connections()
    renaming = database_url, [a, b, d], "accounts", "rename", "C", "D", "--json"
    done = await answer_when(lambda: services.manage(*renaming), lambda ended: ended.returncode == 0)
    assert json.loads(done.stdout) == {"account": "C", "new_name": "D", "renamed": 2}
    async with serving(a, b, d) as client:
        told = await receipt_when(client, second, lambda told: told["status"] == "stored")
        assert statuses(told) == statuses(await receipt_of(client, first)) == dict.fromkeys("ABD", "stored")
    assert_stored(accounts.values(), {"first": b"first", "second": b"second"})
