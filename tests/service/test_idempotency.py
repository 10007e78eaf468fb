"""A request that is sent again is carried out once, on both ways in; and a PUT of what is there already is none."""

import asyncio
import base64
import hashlib
import threading
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from testkit.faults.faults import Fault
from testkit.serviceprocess import TOKEN
from tests.kill.agreement import assert_agreement, assert_settled
from tests.kill.conftest import SETTLED_SECONDS, NewVictim, ledger, new_victim
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    SHORT,
    Accounts,
    Proxied,
    assert_nothing_left,
    assert_stored,
    content,
    serving,
)
from tests.service.receipts import answer_when, receipt_of
from tests.service.services import client_of
from tests.unit.api.rawhttp import exchange, head

__all__ = ["ledger", "new_victim"]

WAYS = ["form", "raw"]
SIZES = [ONE_PART, MANY_PARTS]
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
    assert without_times(answer.json()) == without_times(first.json())


def without_times(told: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in told.items() if not name.endswith("_at")}


def digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
async def test_the_first_success_is_told_again_when_a_request_is_repeated(
    accounts: Accounts, way: str, size: int
) -> None:
    async with serving(*accounts.values(), tokens=TOKENS) as service, service.client() as client:
        first = await send(client, way, content(size))
        assert first.status_code == 201
        for _ in range(2):
            assert_repeats(await send(client, way, content(size)), first)
        other_bytes = await send(client, way, content(size)[:-1] + b"!")
        other_size = await send(client, way, content(size)[:-1])
        other_name = await send(client, way, content(size), name="other")
        for answer in (other_bytes, other_size, other_name):
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        of_another = await send(client, way, content(size), name="theirs", **OTHER)
        assert of_another.status_code == 201
        assert of_another.json()["id"] != first.json()["id"]
        assert_repeats(await send(client, way, content(size), name="theirs", **OTHER), of_another)
        assert service.application.uploads.budget.used == 0
    keys = [first.json()["key"], of_another.json()["key"]]
    assert_stored(accounts.values(), dict.fromkeys(keys, content(size)))


async def test_a_partial_success_is_told_as_it_is_now_when_the_request_is_repeated(
    accounts: Accounts, proxied: Proxied
) -> None:
    late = proxied("B")
    goes_on = threading.Event()
    late.add(Fault.holds_reply(goes_on, operation="put"))
    async with (
        serving(accounts["A"], late.account, grace_seconds=0.1) as service,
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


@pytest.mark.parametrize("way", WAYS)
async def test_a_repetition_is_told_to_wait_when_the_first_is_under_way(
    accounts: Accounts, proxied: Proxied, way: str
) -> None:
    slow = proxied("A")
    second_was_told = threading.Event()
    slow.add(Fault.holds_reply(second_was_told, operation="put"))
    async with serving(slow.account, accounts["B"]) as service, service.client() as client:
        first = asyncio.create_task(send(client, way, b"x"))
        await slow.wait_until("put")
        second = await send(client, way, b"x")
        second_was_told.set()
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_busy")
        assert int(second.headers["retry-after"]) > 0
        assert second.json()["retryable"] is True
        told = await first
        assert_repeats(await send(client, way, b"x"), told)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
async def test_the_first_is_no_obstacle_when_it_failed(
    accounts: Accounts, proxied: Proxied, way: str, size: int
) -> None:
    failing = proxied("B")
    failing.refuse_connections()
    async with serving(accounts["A"], failing.account, **SHORT) as service, service.client() as client:
        assert (await send(client, way, content(size))).status_code == 502
        mismatch = await send(client, "raw", b"x", name="k2", **{"content-digest": digest(b"y")})
        assert mismatch.status_code == 422
        failing.accept_connections()
        again = await send(client, way, content(size))
        assert again.status_code == 201
        assert "idempotent-replayed" not in again.headers
    assert_stored([accounts["A"], accounts["B"]], {again.json()["key"]: content(size)})


async def test_one_upload_is_made_when_equal_requests_come_at_once(accounts: Accounts) -> None:
    async with serving(*accounts.values()) as service, service.client() as client:
        answers = await asyncio.gather(*(send(client, "form", b"x") for _ in range(20)))
        assert {answer.status_code for answer in answers} <= {201, 409}
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
        final = await send(client, "form", b"x")
        assert final.status_code == 201
    assert_stored(accounts.values(), {final.json()["key"]: b"x"})


@pytest.mark.parametrize("way", WAYS)
async def test_the_first_is_no_obstacle_when_its_process_was_killed(
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


@pytest.mark.parametrize("size", SIZES)
async def test_a_put_is_answered_with_the_receipt_when_the_very_file_is_there(accounts: Accounts, size: int) -> None:
    async with serving(*accounts.values()) as service, service.client() as client:
        first = await send(client, "raw", content(size), idempotency_key=None)
        assert first.status_code == 201
        again = await send(client, "raw", content(size), idempotency_key=None)
        assert again.status_code == 200
        assert again.json() == await receipt_of(client, first.json()["id"])
        for other in (content(size)[:-1], content(size)[:-1] + b"!", b""):
            answer = await send(client, "raw", other, idempotency_key=None)
            assert (answer.status_code, answer.json()["code"]) == (409, "key_taken")
            assert "retry-after" not in answer.headers
    assert_stored(accounts.values(), {"k": content(size)})


async def test_the_body_is_not_waited_for_when_the_declared_digest_tells_enough(accounts: Accounts) -> None:
    """Of a file beyond one part: what fits one is read before the ledger is asked."""
    size = MANY_PARTS
    length = f"content-length: {size}"
    async with serving(*accounts.values()) as service, service.client() as client:
        first = await send(client, "raw", content(size), idempotency_key=None)
        assert first.status_code == 201
        other = await exchange(
            service, head("PUT", "/files/k", length, f"content-digest: {digest(b'other')}"), content(size)[:-1]
        )
        assert (other.status_code, other.json()["code"]) == (409, "key_taken")
        again = await exchange(
            service, head("PUT", "/files/k", length, f"content-digest: {digest(content(size))}"), content(size)
        )
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert_stored(accounts.values(), {"k": content(size)})


async def test_nothing_is_left_when_a_repetition_is_cut_off(accounts: Accounts) -> None:
    async with serving(accounts["A"]) as service, service.client() as client:
        for key in ("k1", "k2"):
            response = await client.put(
                "/files/" + key, content=b"x", headers={"idempotency-key": "two words, and a third"}
            )
        assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
        assert service.application.uploads.budget.used == 0
    assert_nothing_left([accounts["B"]])
    assert_stored([accounts["A"]], {"k1": b"x"})
