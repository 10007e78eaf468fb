"""The ack is the caller's: who is waited for, who follows, what ledger, answer and accounts say of it."""

import threading
from typing import Any

import pytest

from file.logic.values import Ack
from testkit.faults.faults import Fault
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    SHORT,
    Accounts,
    Proxied,
    assert_nothing_left,
    assert_stored,
    assert_told,
    content,
    serving,
)
from tests.service.receipts import listed_state, receipt_of, receipt_when, statuses

SIZES = [ONE_PART, MANY_PARTS]


@pytest.mark.parametrize("ack", ["all", "quorum", "any", "1", "2", "3"])
async def test_every_account_has_the_file_when_all_are_well_whatever_the_ack(accounts: Accounts, ack: str) -> None:
    async with serving(*accounts.values(), grace_seconds=10.0) as service, service.client() as client:
        for size in SIZES:
            answer = await client.put(f"/files/k{size}", content=content(size), headers={"upload-ack": ack})
            told = assert_told(answer, 201, dict.fromkeys("ABC"))
            assert told["status"] == "stored"
            assert statuses(await receipt_of(client, told["id"])) == dict.fromkeys("ABC", "stored")
    assert_stored(accounts.values(), {f"k{size}": content(size) for size in SIZES})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("setting", "header", "status"),
    [("all", "quorum", 202), ("all", "any", 202), ("any", None, 202), ("2", None, 202), ("any", "all", 502)],
)
async def test_the_ack_of_the_request_counts_and_else_the_setting_when_an_account_is_down(
    accounts: Accounts, proxied: Proxied, setting: str, header: str | None, status: int, size: int
) -> None:
    down = proxied("B")
    down.refuse_connections()
    others = [accounts["A"], accounts["C"]]
    changes: dict[str, Any] = {**SHORT, "ack": Ack(setting), "grace_seconds": 10.0}
    headers = {} if header is None else {"upload-ack": header}
    async with (
        serving(accounts["A"], down.account, accounts["C"], **changes) as service,
        service.client() as client,
    ):
        answer = await client.put("/files/k", content=content(size), headers=headers)
        if status == 502:
            assert_told(answer, 502, {"A": "taken_back", "B": "account_unreachable", "C": "taken_back"})
            assert await listed_state(client, "k") is None
            assert (await client.get("/files/k")).status_code == 404
        else:
            told = assert_told(answer, 202, {"A": None, "B": "account_unreachable", "C": None})
            assert (told["status"], told["accounts"]["B"]["error"]["retryable"]) == ("partial", True)
            later = await receipt_of(client, told["id"])
            assert (later["status"], statuses(later)) == ("partial", {"A": "stored", "B": "pending", "C": "stored"})
            assert later["accounts"]["B"]["error"]["code"] == "account_unreachable"
            assert await listed_state(client, "k") == "partial"
            assert (await client.get("/files/k")).content == content(size)
    assert_nothing_left([accounts["B"]])
    if status == 202:
        assert_stored(others, {"k": content(size)})
    else:
        assert_nothing_left(others)


async def test_only_the_accounts_that_are_named_are_asked_anything(accounts: Accounts, proxied: Proxied) -> None:
    proxies = {name: proxied(name) for name in accounts}
    three = [proxy.account for proxy in proxies.values()]
    async with serving(*three) as service, service.client() as client:
        for names, size in (("C, A", ONE_PART), ("A,C", MANY_PARTS)):
            headers = {"upload-accounts": names, "upload-ack": "2"}
            answer = await client.put(f"/files/k{size}", content=content(size), headers=headers)
            told = assert_told(answer, 201, {"A": None, "C": None})
            assert statuses(await receipt_of(client, told["id"])) == {"A": "stored", "C": "stored"}
        form = await client.post("/upload", files={"file": ("x", b"x")}, headers={"upload-accounts": "C"})
        assert_told(form, 201, {"C": None})
        assert proxies["B"].requests == []
        assert {request.key for request in proxies["A"].seen("put")} == {f"k{ONE_PART}"}
        assert (await client.get(f"/files/k{MANY_PARTS}")).content == content(MANY_PARTS)
    assert_nothing_left([accounts["B"]])
    bodies = {f"k{size}": content(size) for size in SIZES}
    assert_stored([accounts["A"]], bodies)
    assert_stored([accounts["C"]], {**bodies, form.json()["key"]: b"x"})


@pytest.mark.parametrize(("size", "operation"), [(ONE_PART, "put"), (MANY_PARTS, "complete"), (MANY_PARTS, "part")])
async def test_an_account_follows_by_itself_when_it_answers_after_the_grace(
    accounts: Accounts, proxied: Proxied, size: int, operation: str
) -> None:
    late = proxied("B")
    goes_on = threading.Event()
    late.add(Fault.holds_reply(goes_on, operation=operation))
    async with (
        # It may take longer than the client waits.
        serving(
            accounts["A"], late.account, accounts["C"], grace_seconds=0.2, stall_seconds=200.0, complete_seconds=200.0
        ) as service,
        service.client() as client,
    ):
        # The two others are needed, so that only this one can be late; the answer does not wait for it.
        answer = await client.put("/files/k", content=content(size), headers={"upload-ack": "2"})
        told = answer.json()
        assert (answer.status_code, told["status"], statuses(told)["B"]) == (202, "partial", "pending"), told
        assert await listed_state(client, "k") == "partial"
        goes_on.set()
        later = await receipt_when(client, told["id"], lambda receipt: receipt["status"] == "stored")
        assert statuses(later) == dict.fromkeys("ABC", "stored")
        assert later["accounts"]["B"]["etag"] == later["accounts"]["A"]["etag"]
        assert await listed_state(client, "k") == "stored"
        assert service.application.uploads.stragglers.under_way == 0
        assert service.application.uploads.budget.used == 0
    assert_stored(accounts.values(), {"k": content(size)})


async def test_an_account_is_pending_with_its_error_when_it_fails_after_the_answer(
    accounts: Accounts, proxied: Proxied
) -> None:
    """And nothing of the half-finished upload stays open in it."""
    failing = proxied("B")
    goes_on = threading.Event()
    failing.add(Fault.holds_reply(goes_on, operation="part", part_number=1))
    failing.add(Fault.refuses("AccessDenied", operation="complete", times=None))
    async with (
        serving(accounts["A"], failing.account, accounts["C"], grace_seconds=0.1) as service,
        service.client() as client,
    ):
        answer = await client.put("/files/k", content=content(MANY_PARTS), headers={"upload-ack": "2"})
        told = answer.json()
        assert (answer.status_code, statuses(told)["B"]) == (202, "pending"), told
        goes_on.set()
        later = await receipt_when(client, told["id"], lambda receipt: "error" in receipt["accounts"]["B"])
        assert (later["status"], later["accounts"]["B"]["error"]["code"]) == ("partial", "access_refused")
        assert later["accounts"]["B"]["status"] == "blocked"
    assert_nothing_left([accounts["B"]])
    assert_stored([accounts["A"], accounts["C"]], {"k": content(MANY_PARTS)})


async def test_a_lost_file_of_one_account_is_not_the_others_when_a_quorum_cannot_be_had(
    accounts: Accounts, proxied: Proxied
) -> None:
    down = [proxied("A"), proxied("B")]
    for proxy in down:
        proxy.refuse_connections()
    three = [*(proxy.account for proxy in down), accounts["C"]]
    async with serving(*three, **SHORT) as service, service.client() as client:
        for size in SIZES:
            answer = await client.put(f"/files/k{size}", content=content(size), headers={"upload-ack": "quorum"})
            assert_told(answer, 502, {"A": "account_unreachable", "B": "account_unreachable", "C": "taken_back"})
    assert_nothing_left(accounts.values())
