"""Clients that read slowly or not at all: they hold their share and no more; others read, and catch-up goes on."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from file import metrics
from file.logic.values import READER_BYTES, KiB, Limits, MiB
from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from testkit.serviceprocess import TOKEN
from tests.buckets import s3_buckets
from tests.processes import memory_of
from tests.service.conftest import Accounts, Proxied
from tests.service.receipts import receipt_when
from tests.service.services import client_of
from tests.service.services import service as new_service
from tests.service.sizes import PATIENT, content
from tests.serving import Running, running
from tests.unit.api.expectations import assert_problem, until
from tests.unit.api.rawhttp import Listening, head

HOSTILE = "the-token-of-a-hostile-client"
SEVERAL = {"tests": TOKEN, "hostile": HOSTILE}
MEMORY = 32 * MiB
READERS = Limits(memory=MEMORY).readers
OF_AN_ACCOUNT = READERS * 3 // 4
LARGE = content(3 * MiB)  # more than the service takes before a client has read any of it
PATIENTLY = {"client_grace_seconds": 100.0}


class IdleReader:
    """A connection. The received bytes stay in the kernel: a look at them removes nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def head(self) -> bytes:
        """Of the answer; empty before it arrives, and after the connection broke."""
        try:
            arrived = self._connection.recv(4 * KiB, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionError):
            return b""
        return arrived.partition(b"\r\n\r\n")[0]

    def read_to_the_end(self) -> int:
        """The number of bytes before the connection ends or breaks."""
        self._connection.settimeout(10)
        received = 0
        with suppress(ConnectionError):
            while piece := self._connection.recv(64 * KiB):
                received += len(piece)
        return received


@contextmanager
def idle_readers(service: Listening, number: int, path: str, token: str) -> Iterator[list[IdleReader]]:
    """They have asked for the path, and read nothing."""
    place = urlsplit(service.url)
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.socket()) for _ in range(number)]
        for connection in connections:
            # Small: the service does not hold what the client's kernel has taken.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * KiB)
            connection.connect((place.hostname, place.port))
            connection.sendall(head("GET", path, token=token))
        yield [IdleReader(connection) for connection in connections]


async def until_answered(readers: list[IdleReader], status: int, number: int) -> list[IdleReader]:
    """Those that have an answer with this status, as soon as they are this number."""
    line = b"HTTP/1.1 %d " % status
    async with asyncio.timeout(30):
        while len(found := [reader for reader in readers if reader.head().startswith(line)]) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # there is no event for the content of sockets
    return found


@asynccontextmanager
async def serving(*accounts: StoreAccount, **settings: Any) -> AsyncIterator[Running]:
    """With the number of reads per account that the service has for this memory."""
    settings = {**PATIENT, "memory": MEMORY, "wait_seconds": 1.0, **settings}
    async with s3_buckets(*accounts, reads=READERS) as buckets, running(buckets, **settings) as service:
        yield service


async def store(service: Running, key: str, body: bytes) -> None:
    async with service.client() as client:
        assert (await client.put(f"/files/{key}", content=body)).status_code == 201


async def until_logged(logs: list[Any], event: str, **fields: str) -> None:
    async with asyncio.timeout(30):
        while not any(line["event"] == event and fields.items() <= line.items() for line in logs):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # a log has no event


# --- many who read nothing


async def test_others_read_when_one_token_has_many_connections_that_read_nothing(accounts: Accounts) -> None:
    async with serving(accounts["A"], accounts["B"], tokens=SEVERAL, **PATIENTLY) as service:
        await store(service, "large", LARGE)
        with idle_readers(service, 3 * READERS, "/files/large", HOSTILE) as readers:
            await until_answered(readers, 200, READERS // 2)
            refused = await until_answered(readers, 503, len(readers) - READERS // 2)
            assert b"retry-after: " in refused[0].head().lower()
            assert service.application.readings.places.held == {"hostile": READERS // 2}
            async with service.client() as client:
                assert (await client.get("/files/large")).content == LARGE
                other = {"authorization": f"Bearer {HOSTILE}"}
                assert (await client.head("/files/large", headers=other)).status_code == 200
                assert_problem(await client.get("/files/large", headers=other), 503, "busy")
            assert service.application.readings.places.held == {"hostile": READERS // 2}


async def test_catch_up_and_head_go_on_when_all_readers_are_idle(accounts: Accounts, proxied: Proxied) -> None:
    behind = proxied("B")
    behind.refuse_connections()
    quick = {"lease_seconds": 1.0, "grace_seconds": 0.2}
    async with serving(accounts["A"], behind.account, **PATIENTLY, **quick) as service:
        async with service.client() as client:
            stored = await client.put("/files/large", content=LARGE, headers={"upload-ack": "any"})
        assert stored.status_code == 202
        with idle_readers(service, 3 * READERS, "/files/large", TOKEN) as readers:
            await until_answered(readers, 200, OF_AN_ACCOUNT)
            await until_answered(readers, 503, len(readers) - OF_AN_ACCOUNT)
            behind.accept_connections()
            async with service.client() as client:
                assert (await client.head("/files/large")).status_code == 200
                await receipt_when(client, stored.json()["id"], lambda receipt: receipt["status"] == "stored")
            assert service.application.readings.places.held == {"tests": OF_AN_ACCOUNT}


# --- too slow, and slow for another reason


async def broken_off(reader: IdleReader, size: int) -> bool:
    return await asyncio.to_thread(reader.read_to_the_end) < size


async def test_a_reader_is_broken_off_when_it_reads_nothing(proxied: Proxied) -> None:
    proxy, before = proxied("A"), metrics.SLOW_READERS._value.get()
    async with serving(proxy.account, client_grace_seconds=0.5) as service:
        await store(service, "large", LARGE)
        with capture_logs() as logs, idle_readers(service, 1, "/files/large", TOKEN) as [reader]:
            await until_logged(logs, "request", code="reader_too_slow")
            await proxy.wait_until("get", ended=True)
            await until(lambda: not service.application.readings.places.held)
            assert await broken_off(reader, len(LARGE))
    assert metrics.SLOW_READERS._value.get() == before + 1


async def test_a_reader_gets_the_file_when_it_is_the_account_that_is_slow(proxied: Proxied) -> None:
    proxy = proxied("A")
    body = LARGE[: 512 * KiB]
    hasty = {"client_grace_seconds": 0.5, "min_bytes_per_second": 1024 * MiB}
    async with serving(proxy.account, **hasty) as service:
        await store(service, "k", body)
        proxy.add(Fault.slows(512 * KiB, operation="get"))
        async with service.client() as client:
            assert (await client.get("/files/k")).content == body


async def test_a_connection_is_ended_when_an_answer_is_not_taken_that_the_server_has_whole(accounts: Accounts) -> None:
    body = LARGE[: 450 * KiB]
    async with serving(accounts["A"], head_seconds=0.4) as service:
        await store(service, "k", body)
        with capture_logs() as logs, idle_readers(service, 1, "/files/k", TOKEN) as [reader]:
            await until_logged(logs, "request", path="/files/k", method="GET")
            await until_logged(logs, "untaken_answers_ended")
            assert await broken_off(reader, len(body))


# --- what they may hold


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_memory_stays_under_the_formula_when_250_readers_read_nothing(accounts: Accounts, tmp_path: Path) -> None:
    settings = {"UPLOAD_MEMORY": str(MEMORY), "UPLOAD_WAIT_SECONDS": "1", "UPLOAD_CLIENT_GRACE_SECONDS": "100"}
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    with new_service(tmp_path, url, accounts["A"], accounts["B"], **settings) as service:
        process_id = service.process_id
        async with client_of(service) as client:
            body = content(16 * MiB)  # more than a reader may hold
            assert (await client.put("/files/large", content=body)).status_code == 201
            assert (await client.get("/files/large")).content == body
            base = memory_of(process_id, "VmHWM")
            with idle_readers(service, 250, "/files/large", TOKEN) as readers:
                await until_answered(readers, 200, READERS)
                await until_answered(readers, 503, len(readers) - READERS)
                held = 0
                while held != (held := memory_of(process_id, "VmRSS")):  # noqa: ASYNC110 - S3 is read no more then
                    await asyncio.sleep(1)
                peak = memory_of(process_id, "VmHWM")
    assert READERS * READER_BYTES == MEMORY
    assert peak <= base + READERS * READER_BYTES + 250 * 64 * KiB, f"{base=} {peak=}"
