"""The limits of a connection: how long it may be idle, and how long the head of a request may take to arrive."""

import asyncio
import socket
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from file.management.server.connections import ConnectionLimits, ConnectionWatch, can_be_seen
from file.management.server.serving import new_server
from mentumfileupload.config.uploadsettings import read_settings
from testkit.ports import free_port
from testkit.processes import run_process
from tests.serving import running
from tests.unit.api.expectations import assert_everywhere, three
from tests.unit.api.processes import service_alone
from tests.unit.api.rawhttp import Connection, Listening, connected, head

HEALTH = head("GET", "/_/health")
LONG = 60.0
on_linux = pytest.mark.skipif(not can_be_seen(), reason="this system does not tell how many bytes have arrived")


async def closed_after(service: Listening, *pieces: bytes, pause_seconds: float = 0.1) -> float:
    """Write these pieces, with pauses, until the service closes the connection. Returns the seconds until then."""
    async with connected(service) as connection:
        began = time.monotonic()
        ending = asyncio.ensure_future(connection.ended())
        for piece in pieces:
            await connection.send(piece)
            await asyncio.wait((ending,), timeout=pause_seconds)
            if ending.done():
                break
        assert await ending
        return time.monotonic() - began


async def assert_healthy(connection: Connection) -> None:
    await connection.send(HEALTH)
    assert (await connection.answer()).status_code == 200


async def send_slowly(connection: Connection, target: str) -> None:
    """The body takes 0.8 seconds."""
    await connection.send(head("PUT", target, "content-length: 8"))
    for _ in range(8):
        await connection.send(b"x")
        await asyncio.sleep(0.1)


async def test_a_connection_may_be_idle_for_75_seconds_by_default() -> None:
    settings = read_settings({}).upload
    limits = ConnectionLimits(idle_seconds=settings.idle_seconds, head_seconds=settings.head_seconds)
    server = new_server(read_body, "127.0.0.1", free_port(), limits)
    assert server.http1_settings is not None
    assert server.http1_settings.header_read_timeout == 75_000
    assert limits.head_seconds == 10


async def test_the_settings_are_the_limits_when_they_are_set(tmp_path: Path) -> None:
    process = service_alone(tmp_path, UPLOAD_IDLE_SECONDS="1.5", UPLOAD_HEAD_SECONDS="0.2")
    try:
        await asyncio.to_thread(process.start)
        assert await closed_after(process) > 1.4
        await closed_after(process, HEALTH[:9])
    finally:
        await asyncio.to_thread(process.stop)
    if can_be_seen():
        assert '"slow_heads_ended"' in process.log.read_text()


async def test_an_idle_connection_serves_until_its_time_is_over() -> None:
    async with running(three(), idle_seconds=2.5, head_seconds=0.2) as service, connected(service) as connection:
        for _ in range(2):
            await assert_healthy(connection)
            await asyncio.sleep(0.6)  # idle, for longer than a head may take
        await assert_healthy(connection)
        began = time.monotonic()
        assert await connection.ended()
        assert time.monotonic() - began > 2.4


async def test_a_connection_is_closed_when_no_request_ever_comes() -> None:
    async with running(three(), idle_seconds=0.5) as service:
        assert await closed_after(service) > 0.4


@on_linux
@pytest.mark.parametrize("pieces", [[HEALTH[:9]], [HEALTH[:9], *[b"x"] * 100], [b"\r\n"]])
async def test_the_connection_is_closed_when_the_first_head_stops_or_drips(pieces: Sequence[bytes]) -> None:
    async with running(three(), idle_seconds=LONG, head_seconds=0.4) as service:
        assert 0.4 < await closed_after(service, *pieces) < LONG / 2


@on_linux
async def test_the_connection_is_closed_when_a_later_head_stops() -> None:
    """First it is idle for longer than a head may take, which is no head."""
    async with running(three(), idle_seconds=LONG, head_seconds=0.4) as service, connected(service) as connection:
        await assert_healthy(connection)
        await asyncio.sleep(1.0)  # idle
        await assert_healthy(connection)
        await asyncio.sleep(0.5)  # idle, so that the service has looked
        await connection.send(HEALTH[:9])
        began = time.monotonic()
        assert await connection.ended()
        assert time.monotonic() - began < LONG / 2


@on_linux
async def test_a_request_is_served_when_it_takes_longer_than_a_head_may() -> None:
    """Its body and its answer have limits of their own."""
    buckets = three()
    async with running(buckets, idle_seconds=LONG, head_seconds=0.2) as service, connected(service) as connection:
        for number in range(2):
            await send_slowly(connection, f"/files/{number}")
            assert (await connection.answer()).status_code == 201
    assert_everywhere(buckets, "0", b"x" * 8)
    assert_everywhere(buckets, "1", b"x" * 8)


@on_linux
async def test_an_idle_connection_is_kept_when_others_are_cut_off() -> None:
    async with running(three(), idle_seconds=LONG, head_seconds=0.4) as service, connected(service) as idle:
        await assert_healthy(idle)
        await asyncio.gather(*(closed_after(service, HEALTH[:9]) for _ in range(70)))
        await assert_healthy(idle)


async def read_body(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers when it has read the whole body."""
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


@on_linux
@pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")
@pytest.mark.parametrize(("bound", "host"), [("::1", "::1"), ("::ffff:127.0.0.1", "127.0.0.1")])
async def test_a_request_is_known_when_its_address_is_ipv6(bound: str, host: str) -> None:
    """Its body takes longer than a head may."""
    port = free_port()
    server = new_server(read_body, bound, port, ConnectionLimits(idle_seconds=LONG, head_seconds=0.2))
    serving = asyncio.ensure_future(server.serve())
    try:
        connection = await opened(host, port)
        await send_slowly(connection, "/")
        assert (await connection.answer()).status_code == 200
        await connection.send(HEALTH[:9])
        assert await connection.ended()
        await connection.close()
    finally:
        server.stop()
        await asyncio.wait((serving,), timeout=10)


async def opened(host: str, port: int) -> Connection:
    """As soon as the server listens."""
    async with asyncio.timeout(10):
        while True:
            try:
                return Connection(*await asyncio.open_connection(host, port))
            except OSError:
                await asyncio.sleep(0.01)


class Held:
    """An application whose requests end when a test sets their events."""

    def __init__(self) -> None:
        self.begun = asyncio.Queue[asyncio.Event]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ends = asyncio.Event()
        self.begun.put_nowait(ends)
        await ends.wait()


async def nothing(*_: object) -> None:
    """An application, or its `receive` or `send`, that does nothing."""


@on_linux
async def test_a_request_is_under_way_when_the_one_before_ends_after_it_has_begun() -> None:
    """Once, a slow body on a kept connection was taken for a slow head and ended."""
    held = Held()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        client.connect(listening.getsockname())
        server, (host, port) = listening.accept()
        watch = ConnectionWatch(held, listening.getsockname()[1], ConnectionLimits(75, 1.0, connections=100))
        scope = {"type": "http", "client": (host, str(port))}
        with server:
            server.setblocking(False)
            first = asyncio.ensure_future(watch(scope, nothing, nothing))  # type: ignore[arg-type]
            first_ends = await held.begun.get()
            second = asyncio.ensure_future(watch(scope, nothing, nothing))  # type: ignore[arg-type]
            second_ends = await held.begun.get()
            first_ends.set()
            await first
            assert await is_left_alone_by(watch, client, server)
            second_ends.set()
            await second
            assert not await is_left_alone_by(watch, client, server)  # now it is a head that does not end


async def is_left_alone_by(watch: ConnectionWatch, client: socket.socket, server: socket.socket) -> bool:
    """Whether the connection is still open after one byte per look, for longer than a head may take."""
    for _ in range(8):
        client.sendall(b"x")
        await watch.check(regular=True)
    while True:
        try:
            if not server.recv(64):
                return False
        except BlockingIOError:
            return True


WRITES = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
else:
    print("it writes, too")
"""


def other_process(path: Path) -> str:
    """The output of another process that wants to write now."""
    run = run_process([sys.executable, "-c", WRITES, str(path)], capture_output=True, text=True, timeout=60)
    return str(run.stdout.strip())


async def test_a_look_at_the_connections_keeps_the_ledgers_locks(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA journal_mode=WAL; CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1);"
        )
        assert await asyncio.to_thread(other_process, path) == "database is locked"
        await ConnectionWatch(nothing, 1, ConnectionLimits(75, 1.0, connections=1)).check(regular=True)
        assert await asyncio.to_thread(other_process, path) == "database is locked"
        connection.execute("COMMIT")
        assert await asyncio.to_thread(other_process, path) == "it writes, too"
