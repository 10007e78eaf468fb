"""Many connections without a request: the health check is still answered, and uploads are stored.

The service may have few open files here, so that a few hundred idle connections are more than it can hold.
"""

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from file.server.eviction import Idle, address_of, to_evict
from file.server.openfiles import MOST_CONNECTIONS, OpenFiles
from testkit.serviceprocess import ServiceProcess, ServiceProcessError
from tests.service.conftest import Accounts, Start
from tests.service.owners import assert_stored
from tests.service.services import service
from tests.unit.api.expectations import assert_problem, memory_service
from tests.unit.api.rawhttp import CHUNKED, Connection, connected, exchange, form_head, form_part, head, in_chunks, put

FILES = 512
REQUESTS = 4
ROUNDS = 4
CONNECTIONS = FILES - 64 - 3 * (REQUESTS + 48 + 16)
HEALTH = head("GET", "/_/health")


def with_files(soft: int, hard: int) -> tuple[str, str]:
    """What Python runs in place of manage.py, with these limits of open files."""
    limits = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))"
    return ("-c", f"import resource, runpy; {limits}; runpy.run_path('manage.py', run_name='__main__')")


def limited(folder: Path, accounts: Accounts, *, soft: int, hard: int) -> ServiceProcess:
    settings = {
        "UPLOAD_ACCOUNT_REQUESTS": str(REQUESTS),
        "UPLOAD_IDLE_SECONDS": "600",
        "UPLOAD_CLIENT_GRACE_SECONDS": "300",
    }
    url = f"sqlite:///{folder / 'ledger.sqlite3'}"
    return service(folder, url, *accounts.values(), command=with_files(soft, hard), **settings)


def lines_of(process: ServiceProcess, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


class Flood:
    """A client on its own address of loopback. It opens each connection again when the service closes it."""

    def __init__(self, url: str, connections: int, begin: bytes) -> None:
        self.opened = 0
        self._place = (urlsplit(url).hostname, urlsplit(url).port)
        self._connections = connections
        self._begin = begin
        self._is_full = asyncio.Event()

    async def _keep_one(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with socket.socket() as connection:
                connection.setblocking(False)
                connection.bind(("127.0.0.2", 0))
                with suppress(OSError):
                    await loop.sock_connect(connection, self._place)
                    self.opened += 1
                    if self.opened >= self._connections:
                        self._is_full.set()
                    await loop.sock_sendall(connection, self._begin)
                    while await loop.sock_recv(connection, 4096):
                        pass

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._keep_one()) for _ in range(self._connections)]
            try:
                async with asyncio.timeout(30):
                    await self._is_full.wait()
                yield
            finally:
                for task in tasks:
                    task.cancel()


@pytest.mark.parametrize("begin", [b"", b"G"], ids=["idle", "begun"])
async def test_health_and_uploads_are_answered_when_idle_connections_flood(
    tmp_path: Path, accounts: Accounts, start: Start, begin: bytes
) -> None:
    process = limited(tmp_path, accounts, soft=128, hard=FILES)
    await start(process)
    [line] = lines_of(process, "open_files")
    assert (line["limit"], line["connections"]) == (FILES, CONNECTIONS)
    flood = Flood(process.url, 3 * CONNECTIONS, begin)
    async with connected(process) as kept, connected(process) as slow:
        assert await health(kept) == 200
        await slow.send(head("PUT", "/files/slow", "content-length: 3"), b"a")
        async with flood.running():
            for number in range(ROUNDS):
                async with asyncio.timeout(30):  # a new connection may wait until others were closed
                    assert (await exchange(process, HEALTH)).status_code == 200
                    assert (await put(process, str(number))).status_code == 201
            assert flood.opened > 3 * CONNECTIONS  # some were closed, and opened again
            assert await health(kept) == 200  # another address has more
        await slow.send(b"bc")
        assert (await slow.answer()).status_code == 201  # it was not idle
    await asyncio.to_thread(process.kill)
    assert_stored(accounts.values(), {"slow": b"abc", **{str(number): b"x" for number in range(ROUNDS)}})
    assert sum(line["connections"] for line in lines_of(process, "idle_connections_ended")) > CONNECTIONS
    assert not [line for line in lines_of(process, "request") if line["status"] >= 500]


async def health(connection: Connection) -> int:
    await connection.send(HEALTH)
    return (await connection.answer()).status_code


async def test_the_start_is_refused_when_too_few_files_may_be_open(tmp_path: Path, accounts: Accounts) -> None:
    process = limited(tmp_path, accounts, soft=256, hard=256)
    with pytest.raises(ServiceProcessError):
        await asyncio.to_thread(process.start)
    assert "(file.E003) The limit of open files is 256, and 268 are reserved for accounts" in process.log.read_text()


@pytest.mark.parametrize(
    ("limit", "connections", "is_fault"),
    [(1 << 20, MOST_CONNECTIONS, False), (1024, 524, False), (564, 64, False), (563, 63, True), (256, -244, True)],
)
def test_what_the_limit_leaves_is_for_clients(limit: int, connections: int, is_fault: bool) -> None:
    files = OpenFiles(limit, reserve=500)
    assert (files.connections, files.fault is not None) == (connections, is_fault)


# --- which of them end


def idle(address: str, *since: float, silent: float = 60.0) -> list[Idle[None]]:
    return [Idle(None, address, each, silent) for each in since]


def ended(connections: list[Idle[None]], most: int, **busy: int) -> list[tuple[str | bytes, float]]:
    counted = Counter[str | bytes]({f"10.0.0.{name[1:]}": number for name, number in busy.items()})
    counted.update(each.address for each in connections)
    return [(each.address, each.since) for each in to_evict(connections, counted, most)]


def test_no_connection_ends_when_few_are_taken() -> None:
    assert ended(idle("10.0.0.1", *range(59)), 80) == []


def test_those_of_the_address_with_the_most_end_first_and_the_longest_idle_before_others() -> None:
    few, many = idle("10.0.0.1", *range(10)), idle("10.0.0.2", *range(90, 40, -1))
    assert ended([*few, *many], 80) == [("10.0.0.2", since) for since in range(41, 71)]


def test_all_addresses_end_alike_when_none_has_more_than_the_others() -> None:
    connections = [each for number in range(60) for each in idle(f"10.0.1.{number}", 100 - number)]
    assert [since for _, since in ended(connections, 80)] == list(range(41, 61))


def test_one_address_keeps_a_quarter_when_they_are_scarce() -> None:
    assert len(ended(idle("10.0.0.1", *range(70)), 80)) == 50


def test_those_with_a_request_stay_when_they_are_scarce() -> None:
    assert len(ended(idle("10.0.0.1", *range(5)), 80, a1=75)) == 5


def test_a_connection_that_just_sent_something_stays_when_not_all_are_taken() -> None:
    """Its next request may be on the way."""
    busy = idle("10.0.0.1", *range(60), silent=0.1)
    assert ended(busy, 80) == []
    assert [since for _, since in ended([*busy, *idle("10.0.0.1", *range(60, 70))], 80)] == list(range(60, 70))
    assert len(ended(idle("10.0.0.1", *range(76), silent=0.1), 80)) == 56


def test_nobody_ends_in_the_place_of_one_who_just_sent_something_when_its_address_has_more() -> None:
    assert ended([*idle("10.0.0.1", *range(60), silent=0.1), *idle("10.0.0.2", 60, 61)], 80) == []


def test_a_connection_that_just_sent_something_ends_last() -> None:
    connections = [*idle("10.0.0.1", *range(30), silent=0.1), *idle("10.0.0.1", *range(30, 60))]
    assert [since for _, since in ended(connections, 80)][:30] == list(range(30, 60))


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    assert address_of("2001:db8::1") == address_of("2001:db8::7%eth0") != address_of("2001:db9::1")
    assert address_of("::ffff:10.0.0.1") == address_of("10.0.0.1") != address_of("::ffff:10.0.0.2")


# --- bodies in many small pieces

FORM_START = form_part("file", b"", filename="f")[:-2]


@pytest.mark.parametrize("way", ["put", "form"])
async def test_the_body_is_refused_when_it_comes_in_too_many_small_pieces(way: str) -> None:
    first, begin = head("PUT", "/files/k", CHUNKED), b""
    if way == "form":
        first, begin = form_head(CHUNKED), b"%x\r\n%b\r\n" % (len(FORM_START), FORM_START)
    async with memory_service() as serving:
        answer = await exchange(serving, first, begin, b"1\r\nx\r\n" * 20_000)
        assert_problem(answer, 413, "request_too_large")
        assert "16384" in answer.json()["detail"]
        serving.assert_nothing_left()


async def test_the_body_is_not_read_on_when_it_was_answered_and_comes_in_small_pieces() -> None:
    async with memory_service() as serving, connected(serving) as connection:
        await connection.send(b"PUT /files/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        assert_problem(await connection.answer(), 401, "token_missing")
        await connection.send(b"1\r\nx\r\n" * 20_000)
        assert await connection.ended()


@pytest.mark.parametrize(("size", "of"), [(5_600_000, 1024), (400_000, 20), (5_000, 1)])
async def test_the_file_is_stored_when_its_chunks_are_small(size: int, of: int) -> None:
    pieces = b"".join(in_chunks(b"x" * size, of))
    async with memory_service() as serving:
        serving.assert_stored(await exchange(serving, head("PUT", "/files/k", CHUNKED), pieces), b"x" * size)
