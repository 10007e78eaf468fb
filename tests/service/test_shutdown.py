"""The service is told to end while work without a client is under way: this work gets its time, too."""

import os
import signal
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.serviceprocess import ServiceProcess
from tests.service.conftest import Accounts, Start
from tests.service.owners import assert_stored
from tests.service.services import exit_code, put, service, until_refused
from tests.unit.api.rawhttp import connected, head

# The service has much more time than it needs, so that an end within this bound did not wait for its limits.
BOUND_SECONDS = 40.0
PATIENT = {"UPLOAD_SHUTDOWN_SECONDS": "100", "UPLOAD_STALL_SECONDS": "100", "UPLOAD_ACK_GRACE_SECONDS": "0"}
Began = Callable[[ServiceProcess, FaultProxy], Awaitable[None]]


def replicas(ledger: Path) -> dict[str, str]:
    """State by account."""
    with closing(sqlite3.connect(ledger)) as connection:
        return dict(connection.execute("SELECT account, state FROM file_replica"))


async def signalled(process: ServiceProcess, number: signal.Signals) -> None:
    assert process.process_id is not None
    os.kill(process.process_id, number)
    await until_refused(process)


async def answered_without(process: ServiceProcess, proxy: FaultProxy) -> None:
    """An upload whose answer does not wait for B."""
    answer = await put(process, b"content", **{"upload-ack": "any"})
    assert answer is not None
    assert answer.status_code == 202


async def left_by_its_client(process: ServiceProcess, proxy: FaultProxy) -> None:
    """An upload whose client goes after the last byte."""
    async with connected(process) as connection:
        await connection.send(head("PUT", "/files/k", "content-length: 7"), b"content")
        await proxy.wait_until("put")


@pytest.fixture
async def process(accounts: Accounts, proxy: FaultProxy, start: Start, tmp_path: Path, ledger: Path) -> ServiceProcess:
    """With the accounts A and B."""
    return await start(service(tmp_path, f"sqlite:///{ledger}", accounts["A"], proxy.account, **PATIENT))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.mark.parametrize("begin", [answered_without, left_by_its_client])
async def test_an_account_gets_the_file_when_the_service_ends_meanwhile(
    accounts: Accounts, proxy: FaultProxy, process: ServiceProcess, ledger: Path, begin: Began
) -> None:
    goes_on = threading.Event()
    proxy.add(Fault.holds_reply(goes_on, operation="put"))
    await begin(process, proxy)
    await signalled(process, signal.SIGTERM)
    goes_on.set()
    assert await exit_code(process, BOUND_SECONDS) == 0
    assert replicas(ledger) == {"A": "stored", "B": "stored"}
    assert_stored([accounts["A"], accounts["B"]], {"k": b"content"})


async def test_accounts_are_let_go_on_a_second_signal(proxy: FaultProxy, process: ServiceProcess, ledger: Path) -> None:
    proxy.add(Fault.stalls(operation="put", times=None))
    await answered_without(process, proxy)
    for number in (signal.SIGTERM, signal.SIGINT):
        await signalled(process, number)
    assert await exit_code(process, BOUND_SECONDS) == 0
    assert replicas(ledger) == {"A": "stored", "B": "pending"}
    log = process.log.read_text()
    assert "account_followed" in log
    assert "follow_failed" not in log
