"""An answer that comes before the body's end is read by clients that write first and read afterwards."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from file.api.discarding import Discarding
from file.logic.values import MiB
from tests.processes import memory_of
from tests.serving import Running, running
from tests.unit.api.earlyanswers import EARLY, LIMIT, PIECE, Early, curl, each_early, pieces, write_first
from tests.unit.api.expectations import assert_problem, memory_service, three, until
from tests.unit.api.processes import service_alone
from tests.unit.api.rawhttp import Connection, connected, exchange, form_head, form_part, head, in_chunks, put

TOO_LARGE = head("PUT", "/files/k", f"content-length: {1 << 40}")


@asynccontextmanager
async def refusing(discarding: Discarding, **settings: Any) -> AsyncIterator[tuple[Running, Connection]]:
    """A service, and a connection whose upload was refused because of its declared length."""
    settings |= {"discarding": discarding, "max_request_bytes": LIMIT}
    async with running(three(), **settings) as service, connected(service) as connection:
        await be_refused(connection)
        yield service, connection


async def be_refused(connection: Connection) -> None:
    await connection.send(TOO_LARGE)
    assert_problem(await connection.answer(), 413, "request_too_large")


each_size = pytest.mark.parametrize("size", [20 * MiB, 64 * MiB])


@each_size
@each_early
async def test_the_answer_is_read_when_the_client_writes_everything_first(early: Early, size: int) -> None:
    async with memory_service(early.buckets(), max_request_bytes=early.limit) as service:
        asking = (asyncio.to_thread(write_first, service, f"{number}", size, early) for number in range(3))
        assert await asyncio.gather(*asking) == [(early.status, early.code, "close")] * 3
        service.assert_nothing_left()


@each_size
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_answer_is_read_when_the_socket_is_written_first(size: int, chunked: bool) -> None:
    async with running(three(), max_request_bytes=LIMIT) as service:
        length = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
        body = b"".join(pieces(size))
        form = form_part("file", body, filename="f")
        for first, content in ((head("PUT", "/files/k", length), body), (form_head(length), form)):
            sent = in_chunks(content) if chunked else [content]
            assert_problem(await exchange(service, first, *sent), 413, "request_too_large")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@each_size
@each_early
async def test_the_answer_is_read_when_curl_uploads(early: Early, size: int, tmp_path: Path) -> None:
    async with running(early.buckets(), max_request_bytes=early.limit) as service:
        assert await curl(service, size, early, tmp_path) == (early.status, early.code)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_memory_stays_flat_when_hundreds_of_mebibytes_are_read_on_at_once(tmp_path: Path) -> None:
    process, clients = service_alone(tmp_path), 8
    try:
        await asyncio.to_thread(process.start)
        base = memory_of(process.process_id, "VmRSS")
        asking = (asyncio.to_thread(write_first, process, "k", 64 * MiB, EARLY["413 declared"]) for _ in range(clients))
        assert await asyncio.gather(*asking) == [(413, "request_too_large", "close")] * clients
        peak = memory_of(process.process_id, "VmHWM")
    finally:
        await asyncio.to_thread(process.stop)
    assert peak <= base + 8 * MiB + clients * MiB, f"{base=} {peak=}"


# --- what bounds it


async def keep_sending(connection: Connection, piece: bytes, pause_seconds: float) -> None:
    """Until the connection ends; the answer has been read."""
    ending = asyncio.ensure_future(connection.ended())
    while not ending.done():
        await connection.send(piece)
        await asyncio.wait((ending,), timeout=pause_seconds)
    assert await ending


@pytest.mark.parametrize(
    ("seconds", "silence_seconds", "piece"),
    [(0.6, 1000.0, PIECE), (1000.0, 0.3, b""), (1000.0, 0.3, b"x")],
    ids=["time", "silence", "rate"],
)
async def test_reading_on_ends_when_a_bound_is_met(seconds: float, silence_seconds: float, piece: bytes) -> None:
    discarding = Discarding(seconds=seconds, silence_seconds=silence_seconds)
    async with refusing(discarding, min_bytes_per_second=1000) as (_, connection):
        await keep_sending(connection, piece, 0.05)
        await until(lambda: discarding.under_way == 0)


async def test_reading_on_goes_on_when_the_client_is_slow_but_steady() -> None:
    discarding = Discarding(seconds=1000.0, silence_seconds=1.0)
    async with refusing(discarding, min_bytes_per_second=1000) as (_, connection):
        for _ in range(15):
            await connection.send(b"x" * 1000)
            await asyncio.sleep(0.1)
        assert discarding.under_way == 1


async def test_the_oldest_gives_way_when_too_many_are_read_on() -> None:
    discarding = Discarding(at_once=2)
    async with running(three(), discarding=discarding, max_request_bytes=LIMIT) as service, AsyncExitStack() as stack:
        connections = []
        for number in range(3):
            connections.append(await stack.enter_async_context(connected(service)))
            await be_refused(connections[-1])
            await until(lambda number=number: discarding.under_way == min(number + 1, 2))  # type: ignore[misc]
        assert await connections[0].ended()
        assert discarding.under_way == 2


async def test_an_upload_finds_a_place_when_the_body_of_another_is_read_on() -> None:
    """The 502 comes from an upload that had the only place, and memory."""
    settings = {"max_request_bytes": 0, "max_uploads": 1}
    async with memory_service(three(refuses_begin=1), **settings) as service, connected(service) as connection:
        await connection.send(head("PUT", "/files/k", "transfer-encoding: chunked"))
        await connection.send(*(b"%x\r\n%s\r\n" % (MiB, PIECE) for _ in range(10)))
        assert_problem(await connection.answer(), 502, "accounts_failed")
        discarding = service.service.application.discarding
        await until(lambda: discarding.under_way == 1)
        service.assert_nothing_left()
        service.assert_stored(await put(service, "j"), b"x")
        assert discarding.under_way == 1


async def test_bodies_are_left_when_the_service_ends_and_a_client_never_stops_sending() -> None:
    discarding = Discarding(seconds=1000.0)
    async with refusing(discarding) as (service, connection):
        await until(lambda: discarding.under_way == 1)
        sending = asyncio.ensure_future(keep_sending(connection, b"x" * 1000, 0.05))
        began = time.monotonic()
        await service.application.drain(0)
        await until(lambda: discarding.under_way == 0)
        await sending
        assert time.monotonic() - began < 10


async def test_the_process_ends_when_a_client_never_stops_sending(tmp_path: Path) -> None:
    process = service_alone(tmp_path)
    try:
        await asyncio.to_thread(process.start)
        async with connected(process) as connection:
            await be_refused(connection)
            sending = asyncio.ensure_future(keep_sending(connection, PIECE, 0.05))
            began = time.monotonic()
            assert await asyncio.to_thread(process.stop) == 0
            assert time.monotonic() - began < 20  # it is not read on to the end of its 30 seconds
            await sending
    finally:
        await asyncio.to_thread(process.kill)


async def test_there_is_no_100_before_the_answer_when_the_answer_is_final() -> None:
    """The client waits for a 100 before it sends the body, and would send all of it for nothing."""
    expecting = TOO_LARGE.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")

    async def refused() -> None:
        async with connected(service) as connection:
            await connection.send(expecting)
            assert_problem(await connection.answer(), 413, "request_too_large")
            assert await connection.ended()

    async with running(three(), discarding=Discarding(silence_seconds=0.3), max_request_bytes=LIMIT) as service:
        await asyncio.gather(*(refused() for _ in range(30)))


async def test_the_answer_is_read_when_the_client_does_not_wait_for_its_100() -> None:
    async with running(three(), max_request_bytes=LIMIT) as service:
        first = head("PUT", "/files/k", f"content-length: {20 * MiB}", "expect: 100-continue")
        assert_problem(await exchange(service, first, *pieces(20 * MiB)), 413, "request_too_large")
