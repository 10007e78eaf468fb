"""The service as a process of its own, with real accounts: how it starts, what it logs, and how it ends.

Here Python starts it by itself; in other tests it is forked with the libraries imported (`testkit/forking`).
"""

import asyncio
import json
import os
import select
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from testkit.serviceprocess import SECRET_KEY, TOKEN, ServiceProcess, ServiceProcessError
from tests.service.conftest import (
    MANY_PARTS,
    ONE_PART,
    Accounts,
    Proxied,
    assert_nothing_left,
    assert_stored,
    content,
)
from tests.service.services import until_refused
from tests.serving import HEADERS, PLAIN
from tests.unit.api.rawhttp import Answer, Connection, head

SHUTDOWN_SECONDS = 1.0
REMOVE_SECONDS = 2.0
LAST_ANSWERS_SECONDS = 5.0
SLACK_SECONDS = 15.0  # a loaded machine is slow

NewServer = Callable[..., ServiceProcess]
Started = Callable[..., Awaitable[ServiceProcess]]


@pytest.fixture
def new_server(tmp_path: Path) -> NewServer:
    """A service that is not started yet, with these accounts and `environment`."""

    def new(*accounts: StoreAccount, port: int | None = None, **environment: str) -> ServiceProcess:
        quick = {
            "UPLOAD_SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS),
            "UPLOAD_REMOVE_SECONDS": str(REMOVE_SECONDS),
            "UPLOAD_SETTLE_SECONDS": "0.3",
            "UPLOAD_MAX_REQUEST_BYTES": "0",
        }
        return ServiceProcess(tmp_path, accounts, {**quick, **environment}, port=port, cold=True)

    return new


@pytest.fixture
async def started(new_server: NewServer) -> AsyncIterator[Started]:
    """`await started(...)`: a running service, as `new_server` has it, ended with the test."""
    async with AsyncExitStack() as running:

        async def start(*accounts: StoreAccount, **environment: str) -> ServiceProcess:
            service = new_server(*accounts, **environment)
            running.push_async_callback(asyncio.to_thread, service.stop)
            await asyncio.to_thread(service.start)
            return service

        yield start


async def exit_code(service: ServiceProcess, within_seconds: float) -> int:
    """Of a service that was told to end."""
    assert service.process_id is not None
    ending = os.pidfd_open(service.process_id)
    try:
        ended, _, _ = await asyncio.to_thread(select.select, [ending], [], [], within_seconds)
    finally:
        os.close(ending)
    assert ended, f"It was still running after {within_seconds} seconds."
    return await asyncio.to_thread(service.stop)


async def connection_to(service: ServiceProcess) -> Connection:
    url = httpx.URL(service.url)
    assert url.port is not None
    return Connection(*await asyncio.open_connection(url.host, url.port))


async def answer_of_another(service: ServiceProcess) -> int:
    """What a new client gets, while the service drains: a status, or 0 for a connection that is refused."""
    try:
        async with httpx.AsyncClient(headers=HEADERS, **PLAIN) as client:
            return (await client.put(f"{service.url}/files/another", content=b"x")).status_code
    except httpx.TransportError:
        return 0


def lines_of(service: ServiceProcess) -> list[dict[str, Any]]:
    """The log, without what is said to people at the start."""
    return [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]


async def test_upload_is_finished_when_the_service_is_told_to_end_meanwhile(
    accounts: Accounts, proxied: Proxied, started: Started
) -> None:
    proxy = proxied("B")
    service = await started(accounts["A"], proxy.account, accounts["C"], UPLOAD_SHUTDOWN_SECONDS="20")
    body = content(8 * 1024 * 1024 + MANY_PARTS)
    connection = await connection_to(service)
    await connection.send(head("PUT", "/files/k", f"content-length: {len(body)}"), body[:-1])
    await proxy.wait_until("part", ended=True)
    service.signal(signal.SIGTERM)
    await until_refused(service)
    assert await answer_of_another(service) in (0, 503)
    await connection.send(body[-1:])
    answer = await connection.answer()
    assert answer.status_code == 201, answer
    assert answer.headers["connection"] == "close"
    assert await exit_code(service, LAST_ANSWERS_SECONDS + SLACK_SECONDS) == 0
    await connection.close()
    assert_stored(accounts.values(), {"k": body})


async def test_upload_is_given_up_and_nothing_is_left_when_its_client_does_not_finish_in_time(
    accounts: Accounts, proxied: Proxied, started: Started
) -> None:
    proxy = proxied("C")
    service = await started(accounts["A"], accounts["B"], proxy.account)
    loop = asyncio.get_running_loop()
    size = 8 * 1024 * 1024 + MANY_PARTS
    connection = await connection_to(service)
    await connection.send(head("PUT", "/files/k", f"content-length: {size}"), content(size)[:-1])
    await proxy.wait_until("part", ended=True)
    began = loop.time()
    service.signal(signal.SIGTERM)
    answer = await connection.answer()
    assert_shutting_down(answer)
    assert loop.time() - began < SHUTDOWN_SECONDS + REMOVE_SECONDS + SLACK_SECONDS
    assert await exit_code(service, LAST_ANSWERS_SECONDS + SLACK_SECONDS) == 0
    await connection.close()
    assert_nothing_left(accounts.values())


def assert_shutting_down(answer: Answer) -> None:
    assert answer.status_code == 503, answer
    assert answer.json()["code"] == "shutting_down"
    assert "retry-after" in answer.headers


async def test_service_ends_at_once_when_a_second_signal_comes(
    accounts: Accounts, proxied: Proxied, started: Started
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.stalls(operation="put"))
    service = await started(proxy.account, accounts["B"], UPLOAD_SHUTDOWN_SECONDS="60", UPLOAD_STALL_SECONDS="60")
    connection = await connection_to(service)
    await connection.send(head("PUT", "/files/k", "content-length: 1"), b"x")
    await proxy.wait_until("put")
    service.signal(signal.SIGTERM)
    await until_refused(service)
    service.signal(signal.SIGINT)
    assert_shutting_down(await connection.answer())
    assert await exit_code(service, REMOVE_SECONDS + SLACK_SECONDS) == 0
    await connection.close()
    assert_nothing_left([accounts["A"], accounts["B"]])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_service_ends_at_once_when_nothing_is_under_way(
    accounts: Accounts, started: Started, number: signal.Signals
) -> None:
    service = await started(accounts["A"])
    service.signal(number)
    assert await exit_code(service, SLACK_SECONDS) == 0


async def test_log_tells_every_outcome_in_json_and_no_secret(
    accounts: Accounts, proxied: Proxied, started: Started
) -> None:
    proxy = proxied("B")
    proxy.add(Fault.loses_reply(operation="put", key="lost", times=None))
    proxy.add(Fault.refuses("AccessDenied", operation="head", key="lost", times=None))
    service = await started(accounts["A"], proxy.account, accounts["C"], UPLOAD_LOG_LEVEL="debug")
    async with httpx.AsyncClient(base_url=service.url, headers=HEADERS, **PLAIN) as client:
        for key, size, status in (("stored", ONE_PART, 201), ("stored", 1, 409), ("lost", ONE_PART, 502)):
            assert (await client.put(f"/files/{key}", content=content(size))).status_code == status
        assert (await client.get("/_/accounts")).status_code == 200
        assert (await client.put("/files/k", headers={"authorization": "Bearer of-a-stranger"})).status_code == 401
    await asyncio.to_thread(service.stop)
    text = service.log.read_text()
    secrets = [
        TOKEN,
        "of-a-stranger",
        SECRET_KEY,
        "Signature",
        "AWS4-HMAC",
    ]
    for account in accounts.values():
        secrets += [account.secret_access_key, account.access_key_id]
    assert [secret for secret in secrets if secret in text] == []
    greeting, *rest = text.splitlines()
    assert greeting.startswith("Every file goes to the accounts A, B, C.")
    assert [line for line in rest if not line.startswith("{")] == [], text[-3000:]
    outcomes = [line for line in lines_of(service) if line["event"] in ("account_stored", "account_failed")]
    assert sorted((line["key"], line["account"], line.get("code", "")) for line in outcomes) == [
        ("lost", "A", "taken_back"),
        ("lost", "B", "access_refused"),
        ("lost", "C", "taken_back"),
        ("stored", "A", ""),
        ("stored", "B", ""),
        ("stored", "C", ""),
    ]
    [lost] = [line for line in outcomes if line["key"] == "lost" and line["account"] == "B"]
    assert (lost["removal"], lost["object_key"]) == ("removal_pending", "lost")
    requests = [line for line in lines_of(service) if line["event"] == "request"]
    assert [line["status"] for line in requests if line["method"] == "PUT"] == [201, 409, 502, 401]
    assert all(line["request_id"] for line in [*outcomes, *requests])


def test_start_fails_with_one_line_when_the_port_is_in_use(accounts: Accounts, new_server: NewServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        service = new_server(accounts["A"], port=port)
        with pytest.raises(ServiceProcessError, match="did not start"):
            service.start()
    assert service.stop() == 1
    assert service.log.read_text() == f"CommandError: cannot serve on 127.0.0.1:{port}: Address already in use\n"


def test_start_fails_with_one_line_when_the_port_of_the_metrics_is_in_use(
    accounts: Accounts, new_server: NewServer
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        service = new_server(accounts["A"], UPLOAD_METRICS_ADDRESS=address)
        with pytest.raises(ServiceProcessError, match="did not start"):
            service.start()
    assert service.stop() == 1
    told = f"CommandError: UPLOAD_METRICS_ADDRESS: cannot serve on {address}: Address already in use\n"
    assert service.log.read_text() == told


async def test_printed_token_opens_the_service_when_none_is_set(accounts: Accounts, started: Started) -> None:
    service = await started(accounts["A"], DEBUG="true", UPLOAD_TOKENS="")
    line = next(line for line in service.log.read_text().splitlines() if line.startswith("Try it:"))
    token = line.partition("Bearer ")[2].partition('"')[0]
    async with httpx.AsyncClient(base_url=service.url, **PLAIN) as client:
        refused = await client.put("/files/k", content=b"x", headers=HEADERS)
        stored = await client.put("/files/k", content=b"x", headers={"authorization": f"Bearer {token}"})
    assert (refused.status_code, stored.status_code) == (401, 201)
    assert_stored([accounts["A"]], {"k": b"x"})
