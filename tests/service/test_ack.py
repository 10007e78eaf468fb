"""The ack decides for which accounts the answer waits, and which get the file later."""

import threading

import pytest

from file.logic.values import Ack
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.service.conftest import Accounts, Proxied, serving_client
from tests.service.owners import assert_nothing_left, assert_stored
from tests.service.receipts import assert_told, listed_state, receipt_of, receipt_when, statuses
from tests.service.sizes import MANY_PARTS, ONE_PART, QUICK, SHORT, SIZES, content, each_size


@pytest.mark.parametrize("ack", ["all", "quorum", "any", "1", "2", "3"])
async def test_every_account_has_the_file_when_all_are_well_whatever_the_ack(accounts: Accounts, ack: str) -> None:
    async with serving_client(*accounts.values(), grace_seconds=10.0) as (_, client):
        for size in SIZES:
            answer = await client.put(f"/files/k{size}", content=content(size), headers={"upload-ack": ack})
            told = assert_told(answer, 201, dict.fromkeys("ABC"))
            assert told["status"] == "stored"
            assert statuses(await receipt_of(client, told["id"])) == dict.fromkeys("ABC", "stored")
    assert_stored(accounts.values(), {f"k{size}": content(size) for size in SIZES})


@each_size
@pytest.mark.parametrize(
    ("setting", "header", "status"),
    [("all", "quorum", 202), ("all", "any", 202), ("any", None, 202), ("2", None, 202), ("any", "all", 502)],
)
async def test_the_ack_of_the_request_counts_and_else_the_setting_when_an_account_is_down(
    accounts: Accounts, proxy: FaultProxy, setting: str, header: str | None, status: int, size: int
) -> None:
    proxy.refuse_connections()
    others = [accounts["A"], accounts["C"]]
    headers = {} if header is None else {"upload-ack": header}
    async with serving_client(others[0], proxy.account, others[1], **{**QUICK, "ack": Ack(setting)}) as (_, client):
        answer = await client.put("/files/k", content=content(size), headers=headers)
        if status == 502:
            assert_told(answer, 502, {"A": "taken_back", "B": "account_unreachable", "C": "taken_back"})
            assert await listed_state(client, "k") is None
            assert (await client.get("/files/k")).status_code == 404
            assert_nothing_left(others)
        else:
            told = assert_told(answer, 202, {"A": None, "B": "account_unreachable", "C": None})
            assert (told["status"], told["accounts"]["B"]["error"]["retryable"]) == ("partial", True)
            later = await receipt_of(client, told["id"])
            assert (later["status"], statuses(later)) == ("partial", {"A": "stored", "B": "pending", "C": "stored"})
            assert later["accounts"]["B"]["error"]["code"] == "account_unreachable"
            assert await listed_state(client, "k") == "partial"
            assert (await client.get("/files/k")).content == content(size)
            assert_stored(others, {"k": content(size)})
    assert_nothing_left([accounts["B"]])


async def test_only_the_chosen_accounts_get_requests(accounts: Accounts, proxied: Proxied) -> None:
    proxies = {name: proxied(name) for name in accounts}
    async with serving_client(*(proxy.account for proxy in proxies.values())) as (_, client):
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
    accounts: Accounts, proxy: FaultProxy, size: int, operation: str
) -> None:
    goes_on = threading.Event()
    proxy.add(Fault.holds_reply(goes_on, operation=operation))
    patient = {"grace_seconds": 0.2, "stall_seconds": 200.0, "complete_seconds": 200.0}  # longer than the client waits
    async with serving_client(accounts["A"], proxy.account, accounts["C"], **patient) as (service, client):
        # The two others are needed, so that the answer does not wait for this one.
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


async def test_an_account_is_blocked_when_it_fails_after_the_answer(accounts: Accounts, proxy: FaultProxy) -> None:
    """Its multipart upload does not stay open."""
    goes_on = threading.Event()
    proxy.add(Fault.holds_reply(goes_on, operation="part", part_number=1))
    proxy.add(Fault.refuses("AccessDenied", operation="complete", times=None))
    async with serving_client(accounts["A"], proxy.account, accounts["C"], grace_seconds=0.1) as (_, client):
        answer = await client.put("/files/k", content=content(MANY_PARTS), headers={"upload-ack": "2"})
        told = answer.json()
        assert (answer.status_code, statuses(told)["B"]) == (202, "pending"), told
        goes_on.set()
        later = await receipt_when(client, told["id"], lambda receipt: "error" in receipt["accounts"]["B"])
        assert (later["status"], later["accounts"]["B"]["error"]["code"]) == ("partial", "access_refused")
        assert later["accounts"]["B"]["status"] == "blocked"
    assert_nothing_left([accounts["B"]])
    assert_stored([accounts["A"], accounts["C"]], {"k": content(MANY_PARTS)})


async def test_no_account_has_the_file_when_a_quorum_cannot_be_reached(accounts: Accounts, proxied: Proxied) -> None:
    down = [proxied("A"), proxied("B")]
    for proxy in down:
        proxy.refuse_connections()
    async with serving_client(*(proxy.account for proxy in down), accounts["C"], **SHORT) as (_, client):
        for size in SIZES:
            answer = await client.put(f"/files/k{size}", content=content(size), headers={"upload-ack": "quorum"})
            assert_told(answer, 502, {"A": "account_unreachable", "B": "account_unreachable", "C": "taken_back"})
    assert_nothing_left(accounts.values())
