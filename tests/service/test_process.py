"""The service as a process with real accounts: how it starts, what it logs, and how it ends.

Here Python starts it by itself; in other tests it is forked with the libraries imported (`testkit/forking`).
"""

import asyncio
import json
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from file.logic.values import MiB
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.serviceprocess import SECRET_KEY, TOKEN, ServiceProcess, ServiceProcessError
from tests.service.conftest import Accounts, Proxied, Start
from tests.service.owners import assert_nothing_left, assert_stored
from tests.service.services import client_of, exit_code, put, until_refused
from tests.service.sizes import MANY_PARTS, ONE_PART, content
from tests.unit.api.rawhttp import Answer, connected, head

SHUTDOWN_SECONDS = 1.0
REMOVE_SECONDS = 2.0
LAST_ANSWERS_SECONDS = 5.0
SLACK_SECONDS = 15.0  # a loaded machine is slow

NewServer = Callable[..., ServiceProcess]
Started = Callable[..., Awaitable[ServiceProcess]]


@pytest.fixture
def new_server(tmp_path: Path) -> NewServer:
    """A service with these accounts and `environment` that is not started yet."""
    quick = {
        "UPLOAD_SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS),
        "UPLOAD_REMOVE_SECONDS": str(REMOVE_SECONDS),
        "UPLOAD_SETTLE_SECONDS": "0.3",
        "UPLOAD_MAX_REQUEST_BYTES": "0",
    }
    return lambda *accounts, **environment: ServiceProcess(tmp_path, accounts, {**quick, **environment}, cold=True)


@pytest.fixture
def started(new_server: NewServer, start: Start) -> Started:
    """`await started(...)`: the same, running."""
    return lambda *accounts, **environment: start(new_server(*accounts, **environment))


def lines_of(service: ServiceProcess) -> list[dict[str, Any]]:
    """The log without the text for people at the start."""
    return [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")]


async def test_upload_is_finished_when_service_ends(accounts: Accounts, proxy: FaultProxy, started: Started) -> None:
    service = await started(accounts["A"], proxy.account, accounts["C"], UPLOAD_SHUTDOWN_SECONDS="20")
    body = content(8 * MiB + MANY_PARTS)
    async with connected(service) as connection:
        await connection.send(head("PUT", "/files/k", f"content-length: {len(body)}"), body[:-1])
        await proxy.wait_until("part", ended=True)
        service.signal(signal.SIGTERM)
        await until_refused(service)
        another = await put(service, b"x", "another")
        assert another is None or another.status_code == 503
        await connection.send(body[-1:])
        answer = await connection.answer()
        assert answer.status_code == 201, answer
        assert answer.headers["connection"] == "close"
        assert await exit_code(service, LAST_ANSWERS_SECONDS + SLACK_SECONDS) == 0
    assert_stored(accounts.values(), {"k": body})


async def test_upload_is_given_up_and_nothing_is_left_when_its_client_does_not_finish_in_time(
    accounts: Accounts, proxied: Proxied, started: Started
) -> None:
    proxy = proxied("C")
    service = await started(accounts["A"], accounts["B"], proxy.account)
    body = content(8 * MiB + MANY_PARTS)
    async with connected(service) as connection:
        await connection.send(head("PUT", "/files/k", f"content-length: {len(body)}"), body[:-1])
        await proxy.wait_until("part", ended=True)
        service.signal(signal.SIGTERM)
        async with asyncio.timeout(SHUTDOWN_SECONDS + REMOVE_SECONDS + SLACK_SECONDS):
            assert_shutting_down(await connection.answer())
        assert await exit_code(service, LAST_ANSWERS_SECONDS + SLACK_SECONDS) == 0
    assert_nothing_left(accounts.values())


def assert_shutting_down(answer: Answer) -> None:
    assert answer.status_code == 503, answer
    assert answer.json()["code"] == "shutting_down"
    assert "retry-after" in answer.headers


async def test_service_ends_at_once_on_a_second_signal(accounts: Accounts, proxied: Proxied, started: Started) -> None:
    proxy = proxied("A")
    proxy.add(Fault.stalls(operation="put"))
    service = await started(proxy.account, accounts["B"], UPLOAD_SHUTDOWN_SECONDS="60", UPLOAD_STALL_SECONDS="60")
    async with connected(service) as connection:
        await connection.send(head("PUT", "/files/k", "content-length: 1"), b"x")
        await proxy.wait_until("put")
        service.signal(signal.SIGTERM)
        await until_refused(service)
        service.signal(signal.SIGINT)
        assert_shutting_down(await connection.answer())
        assert await exit_code(service, REMOVE_SECONDS + SLACK_SECONDS) == 0
    assert_nothing_left([accounts["A"], accounts["B"]])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_service_ends_at_once_when_it_is_idle(
    accounts: Accounts, started: Started, number: signal.Signals
) -> None:
    service = await started(accounts["A"])
    service.signal(number)
    assert await exit_code(service, SLACK_SECONDS) == 0


async def test_log_has_every_outcome_and_no_secret(accounts: Accounts, proxy: FaultProxy, started: Started) -> None:
    proxy.add(Fault.loses_reply(operation="put", key="lost", times=None))
    proxy.add(Fault.refuses("AccessDenied", operation="head", key="lost", times=None))
    service = await started(accounts["A"], proxy.account, accounts["C"], UPLOAD_LOG_LEVEL="debug")
    async with client_of(service) as client:
        for key, size, status in (("stored", ONE_PART, 201), ("stored", 1, 409), ("lost", ONE_PART, 502)):
            assert (await client.put(f"/files/{key}", content=content(size))).status_code == status
        assert (await client.get("/_/accounts")).status_code == 200
        assert (await client.put("/files/k", headers={"authorization": "Bearer of-a-stranger"})).status_code == 401
    await asyncio.to_thread(service.stop)
    text = service.log.read_text()
    secrets = [TOKEN, "of-a-stranger", SECRET_KEY, "Signature", "AWS4-HMAC"]
    for account in accounts.values():
        secrets += [account.secret_access_key, account.access_key_id]
    assert [secret for secret in secrets if secret in text] == []
    greeting, *rest = text.splitlines()
    assert greeting.startswith("Every file goes to the accounts A, B, C.")
    assert [line for line in rest if not line.startswith("{")] == [], text[-3000:]
    outcomes = [line for line in lines_of(service) if line["event"] in ("account_stored", "account_failed")]
    assert sorted((line["key"], line["account"], line.get("code", "")) for line in outcomes) == [
        *[("lost", "A", "taken_back"), ("lost", "B", "access_refused"), ("lost", "C", "taken_back")],
        *[("stored", name, "") for name in "ABC"],
    ]
    [lost] = [line for line in outcomes if line["key"] == "lost" and line["account"] == "B"]
    assert (lost["removal"], lost["object_key"]) == ("removal_pending", "lost")
    requests = [line for line in lines_of(service) if line["event"] == "request"]
    assert [line["status"] for line in requests if line["method"] == "PUT"] == [201, 409, 502, 401]
    assert all(line["request_id"] for line in [*outcomes, *requests])


@pytest.mark.parametrize(
    ("variable", "subject"),
    [(None, ""), ("UPLOAD_METRICS_ADDRESS", "UPLOAD_METRICS_ADDRESS: ")],
    ids=["service", "metrics"],
)
def test_start_fails_with_one_line_when_the_port_is_in_use(
    accounts: Accounts, new_server: NewServer, variable: str | None, subject: str
) -> None:
    with socket.socket() as taken:
        service = new_server(accounts["A"])
        taken.bind(("127.0.0.1", service.port if variable is None else 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        if variable is not None:
            service.environment[variable] = address
        with pytest.raises(ServiceProcessError, match="did not start"):
            service.start()
    assert service.stop() == 1
    assert service.log.read_text() == f"CommandError: {subject}cannot serve on {address}: Address already in use\n"


async def test_printed_token_opens_the_service_when_none_is_set(accounts: Accounts, started: Started) -> None:
    service = await started(accounts["A"], DEBUG="true", UPLOAD_TOKENS="")
    line = next(line for line in service.log.read_text().splitlines() if line.startswith("Try it:"))
    token = line.partition("Bearer ")[2].partition('"')[0]
    async with client_of(service) as client:
        refused = await client.put("/files/k", content=b"x")
        stored = await client.put("/files/k", content=b"x", headers={"authorization": f"Bearer {token}"})
    assert (refused.status_code, stored.status_code) == (401, 201)
    assert_stored([accounts["A"]], {"k": b"x"})
