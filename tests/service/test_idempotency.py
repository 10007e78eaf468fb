"""A repeated request, as PUT or as form, is executed once; a PUT of a file that is already there stores nothing."""

import asyncio
import base64
import hashlib
import threading

import httpx
import pytest

from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.serviceprocess import TOKEN
from tests.kill.agreement import assert_agreement, assert_settled
from tests.kill.conftest import SETTLED_SECONDS, NewVictim, ledger, new_victim
from tests.service.conftest import Accounts, Proxied, put, put_stored, serving, serving_client
from tests.service.owners import assert_nothing_left, assert_stored
from tests.service.receipts import answer_when, receipt_of
from tests.service.services import client_of
from tests.service.sizes import MANY_PARTS, SHORT, content, each_size
from tests.unit.api.expectations import assert_problem
from tests.unit.api.rawhttp import exchange, head

__all__ = ["ledger", "new_victim"]

each_way = pytest.mark.parametrize("way", ["form", "raw"])
OTHER_TOKEN = "another-token-of-the-tests"
TOKENS = {"tests": TOKEN, "others": OTHER_TOKEN}
OTHER = {"authorization": f"Bearer {OTHER_TOKEN}"}


async def send(
    client: httpx.AsyncClient, way: str, body: bytes, *, name: str = "k", idempotency_key: str | None = "once", **h: str
) -> httpx.Response:
    headers = {**h, **({} if idempotency_key is None else {"idempotency-key": idempotency_key})}
    if way == "raw":
        return await client.put(f"/files/{name}", content=body, headers=headers)
    return await client.post("/upload", data={"filename": name}, files={"file": (name, body)}, headers=headers)


def assert_repeats(answer: httpx.Response, first: httpx.Response) -> None:
    assert answer.status_code == first.status_code, answer.text
    assert answer.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    told, expected = (
        {name: value for name, value in each.json().items() if not name.endswith("_at")} for each in (answer, first)
    )
    assert told == expected


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@each_size
@each_way
async def test_the_first_answer_is_repeated_when_a_request_is_repeated(accounts: Accounts, way: str, size: int) -> None:
    async with serving_client(*accounts.values(), tokens=TOKENS) as (service, client):
        first = await send(client, way, content(size))
        assert first.status_code == 201
        for _ in range(2):
            assert_repeats(await send(client, way, content(size)), first)
        others = [(content(size)[:-1] + b"!", "k"), (content(size)[:-1], "k"), (content(size), "other")]
        for body, name in others:
            assert_problem(await send(client, way, body, name=name), 422, "idempotency_key_reused")
        of_another = await send(client, way, content(size), name="theirs", **OTHER)
        assert of_another.status_code == 201
        assert of_another.json()["id"] != first.json()["id"]
        assert_repeats(await send(client, way, content(size), name="theirs", **OTHER), of_another)
        assert service.application.uploads.budget.used == 0
    keys = [first.json()["key"], of_another.json()["key"]]
    assert_stored(accounts.values(), dict.fromkeys(keys, content(size)))


async def test_the_answer_is_up_to_date_when_a_partial_one_is_repeated(accounts: Accounts, proxy: FaultProxy) -> None:
    goes_on = threading.Event()
    proxy.add(Fault.holds_reply(goes_on, operation="put"))
    async with (
        serving(accounts["A"], proxy.account, grace_seconds=0.1) as service,
        service.client(headers={"upload-ack": "any", "authorization": f"Bearer {TOKEN}"}) as client,
    ):
        first = await send(client, "raw", b"x")
        assert first.status_code == 202
        at_once = await send(client, "raw", b"x")
        assert (at_once.status_code, at_once.json()["id"]) == (202, first.json()["id"])
        goes_on.set()
        again = await answer_when(lambda: send(client, "raw", b"x"), lambda answer: answer.status_code != 202)
        assert (again.status_code, again.json()["status"]) == (201, "stored")
        assert again.json() == await receipt_of(client, first.json()["id"])


@each_way
async def test_a_repetition_must_wait_when_the_first_goes_on(accounts: Accounts, proxied: Proxied, way: str) -> None:
    slow, goes_on = proxied("A"), threading.Event()
    slow.add(Fault.holds_reply(goes_on, operation="put"))
    async with serving_client(slow.account, accounts["B"]) as (_, client):
        first = asyncio.create_task(send(client, way, b"x"))
        await slow.wait_until("put")
        second = await send(client, way, b"x")
        goes_on.set()
        assert_problem(second, 409, "idempotency_key_busy")
        assert int(second.headers["retry-after"]) > 0
        assert second.json()["retryable"] is True
        told = await first
        assert_repeats(await send(client, way, b"x"), told)


@each_size
@each_way
async def test_the_first_is_ignored_when_it_failed(accounts: Accounts, proxy: FaultProxy, way: str, size: int) -> None:
    proxy.refuse_connections()
    async with serving_client(accounts["A"], proxy.account, **SHORT) as (_, client):
        assert (await send(client, way, content(size))).status_code == 502
        assert (await send(client, "raw", b"x", name="k2", **{"content-digest": digest(b"y")})).status_code == 422
        proxy.accept_connections()
        again = await send(client, way, content(size))
        assert again.status_code == 201
        assert "idempotent-replayed" not in again.headers
    assert_stored([accounts["A"], accounts["B"]], {again.json()["key"]: content(size)})


async def test_one_upload_is_made_when_equal_requests_come_at_once(accounts: Accounts) -> None:
    async with serving_client(*accounts.values()) as (_, client):
        answers = await asyncio.gather(*(send(client, "form", b"x") for _ in range(20)))
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
        final = await send(client, "form", b"x")
        assert final.status_code == 201
    assert_stored(accounts.values(), {final.json()["key"]: b"x"})


@each_way
async def test_the_first_is_ignored_when_its_process_was_killed(
    accounts: Accounts, proxied: Proxied, new_victim: NewVictim, way: str
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.stalls(operation="put"))
    victim = new_victim(proxy.account, accounts["B"])
    await victim.start()
    async with client_of(victim.process) as client:
        first = asyncio.create_task(send(client, way, b"x"))
        await proxy.wait_until("put")
        await victim.kill()
        with pytest.raises(httpx.TransportError):
            await first
    await victim.start()
    async with client_of(victim.process) as client:
        again = await answer_when(lambda: send(client, way, b"x"), lambda answer: answer.status_code != 409)
        assert again.status_code == 201
        assert "idempotent-replayed" not in again.headers
    await asyncio.to_thread(assert_settled, victim.ledger, SETTLED_SECONDS)
    assert_agreement(victim.ledger, [accounts["A"], accounts["B"]], told=["k"])


@each_size
async def test_a_put_is_answered_with_the_receipt_when_the_same_file_is_there(accounts: Accounts, size: int) -> None:
    async with serving_client(*accounts.values()) as (service, client):
        file_id = await put_stored(service, size)
        again = await put(service, size)
        assert (again.status_code, again.json()) == (200, await receipt_of(client, file_id))
        for other in (content(size)[:-1], content(size)[:-1] + b"!", b""):
            answer = await send(client, "raw", other, idempotency_key=None)
            assert_problem(answer, 409, "key_taken")
            assert "retry-after" not in answer.headers
    assert_stored(accounts.values(), {"k": content(size)})


async def test_the_body_is_not_waited_for_when_the_declared_digest_tells_enough(accounts: Accounts) -> None:
    """Only with many parts: a file of one part is read before the ledger is asked."""
    body = content(MANY_PARTS)

    def declaring(of: bytes) -> bytes:
        return head("PUT", "/files/k", f"content-length: {len(body)}", f"content-digest: {digest(of)}")

    async with serving(*accounts.values()) as service:
        file_id = await put_stored(service, MANY_PARTS)
        assert_problem(await exchange(service, declaring(b"other"), body[:-1]), 409, "key_taken")
        again = await exchange(service, declaring(body), body)
        assert (again.status_code, again.json()["id"]) == (200, file_id)
    assert_stored(accounts.values(), {"k": body})


async def test_nothing_is_left_when_a_repetition_is_cut_off(accounts: Accounts) -> None:
    async with serving_client(accounts["A"]) as (service, client):
        for name in ("k1", "k2"):
            response = await send(client, "raw", b"x", name=name, idempotency_key="two words, and a third")
        assert_problem(response, 422, "idempotency_key_reused")
        assert service.application.uploads.budget.used == 0
    assert_nothing_left([accounts["B"]])
    assert_stored([accounts["A"]], {"k1": b"x"})
