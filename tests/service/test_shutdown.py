"""The service is told to end while something goes on that no request waits for any more: it has its time, too."""

import asyncio
import os
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from testkit.faults.faults import Fault
from testkit.serviceprocess import ServiceProcess
from tests.service.conftest import Accounts, Proxied, Start, assert_stored
from tests.service.services import put, service, until_refused
from tests.unit.api.rawhttp import Connection, head

# It has much more time than it may take: an end within the bound is one that waited for nothing else.
BOUND_SECONDS = 40.0
PATIENT = {"UPLOAD_SHUTDOWN_SECONDS": "100", "UPLOAD_STALL_SECONDS": "100", "UPLOAD_ACK_GRACE_SECONDS": "0"}


def replicas(ledger: Path) -> dict[str, str]:
    """Account to state."""
    with closing(sqlite3.connect(ledger)) as connection:
        return dict(connection.execute("SELECT account, state FROM file_replica"))


async def end(process: ServiceProcess, *numbers: signal.Signals, goes_on: threading.Event | None = None) -> None:
    """Tell it to end, once for each signal, then let what is held go on; return when it has ended, in time."""
    assert process.process_id is not None
    ending = os.pidfd_open(process.process_id)
    try:
        for number in numbers:
            os.kill(process.process_id, number)
            await until_refused(process)  # of two that come at once the process sees one
        if goes_on is not None:
            goes_on.set()
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(ending, gone.set)
        await asyncio.wait_for(gone.wait(), BOUND_SECONDS)
        asyncio.get_running_loop().remove_reader(ending)
    finally:
        os.close(ending)
    assert await asyncio.to_thread(process.stop) == 0


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


async def test_an_account_gets_the_file_when_it_is_behind_the_answer(
    accounts: Accounts, proxied: Proxied, start: Start, tmp_path: Path, ledger: Path
) -> None:
    behind = proxied("B")
    goes_on = threading.Event()
    behind.add(Fault.holds_reply(goes_on, operation="put"))
    process = service(tmp_path, f"sqlite:///{ledger}", accounts["A"], behind.account, **PATIENT)
    await start(process)
    answer = await put(process, b"content", **{"upload-ack": "any"})
    assert answer is not None
    assert answer.status_code == 202
    await end(process, signal.SIGTERM, goes_on=goes_on)
    assert replicas(ledger) == {"A": "stored", "B": "stored"}
    assert_stored([accounts["A"], accounts["B"]], {"k": b"content"})


async def test_an_upload_is_finished_when_its_client_has_gone(
    accounts: Accounts, proxied: Proxied, start: Start, tmp_path: Path, ledger: Path
) -> None:
    slow = proxied("B")
    goes_on = threading.Event()
    slow.add(Fault.holds_reply(goes_on, operation="put"))
    process = service(tmp_path, f"sqlite:///{ledger}", accounts["A"], slow.account, **PATIENT)
    await start(process)
    host, _, port = process.url.removeprefix("http://").partition(":")
    connection = Connection(*await asyncio.open_connection(host, int(port)))
    await connection.send(head("PUT", "/files/k", "content-length: 7"), b"content")
    await slow.wait_until("put")
    await connection.close()
    await end(process, signal.SIGTERM, goes_on=goes_on)
    assert replicas(ledger) == {"A": "stored", "B": "stored"}
    assert_stored([accounts["A"], accounts["B"]], {"k": b"content"})


async def test_an_account_is_let_go_when_a_second_signal_comes(
    accounts: Accounts, proxied: Proxied, start: Start, tmp_path: Path, ledger: Path
) -> None:
    behind = proxied("B")
    behind.add(Fault.stalls(operation="put", times=None))
    process = service(tmp_path, f"sqlite:///{ledger}", accounts["A"], behind.account, **PATIENT)
    await start(process)
    answer = await put(process, b"content", **{"upload-ack": "any"})
    assert answer is not None
    assert answer.status_code == 202
    await end(process, signal.SIGTERM, signal.SIGINT)
    assert replicas(ledger) == {"A": "stored", "B": "pending"}
    log = process.log.read_text()
    assert "account_followed" in log
    assert "follow_failed" not in log
