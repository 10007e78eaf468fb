"""Connections: how long they may be idle, how requests follow each other, and what happens when one side goes."""

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from file.logic.values import MiB
from mentumfileupload.config.uploadsettings import read_settings
from tests.serving import running
from tests.unit.api.expectations import assert_everywhere, assert_problem, three, until
from tests.unit.api.processes import service_alone
from tests.unit.api.rawhttp import Connection, Listening, connected, exchange, head
from tests.unit.server.served import LONG, Application, body_of, served

HEALTH = head("GET", "/_/health")


async def closed_after(service: Listening, *pieces: bytes, pause_seconds: float = 0.1) -> float:
    """Write these pieces, with pauses, until the service ends the connection. Returns the seconds until then."""
    async with connected(service) as connection:
        began = time.monotonic()
        answering = asyncio.ensure_future(connection.answer())
        for piece in pieces:
            await connection.send(piece)
            await asyncio.wait((answering,), timeout=pause_seconds)
            if answering.done():
                break
        answer = await answering
        if pieces:
            assert_problem(answer, 408, "client_too_slow")
        assert await connection.ended()
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
    assert (settings.idle_seconds, settings.head_seconds) == (75, 10)


async def test_the_settings_are_the_limits_when_they_are_set(tmp_path: Path) -> None:
    process = service_alone(tmp_path, UPLOAD_IDLE_SECONDS="1.5", UPLOAD_HEAD_SECONDS="0.2")
    try:
        await asyncio.to_thread(process.start)
        assert await closed_after(process) > 1.4
        await closed_after(process, HEALTH[:9])
    finally:
        await asyncio.to_thread(process.stop)
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


@pytest.mark.parametrize("pieces", [[HEALTH[:9]], [HEALTH[:9], *[b"x"] * 100], [b"\r\n"]])
async def test_the_connection_is_closed_when_the_first_head_stops_or_drips(pieces: Sequence[bytes]) -> None:
    async with running(three(), idle_seconds=LONG, head_seconds=0.4) as service:
        assert 0.4 < await closed_after(service, *pieces) < LONG / 2


async def test_the_connection_is_closed_when_a_later_head_stops() -> None:
    """First it is idle for longer than a head may take, which is no head."""
    async with running(three(), idle_seconds=LONG, head_seconds=0.4) as service, connected(service) as connection:
        await assert_healthy(connection)
        await asyncio.sleep(1.0)  # idle
        await assert_healthy(connection)
        await asyncio.sleep(0.5)  # idle, so that the service has looked
        await connection.send(HEALTH[:9])
        began = time.monotonic()
        assert_problem(await connection.answer(), 408, "client_too_slow")
        assert await connection.ended()
        assert time.monotonic() - began < LONG / 2


async def test_a_request_is_served_when_it_takes_longer_than_a_head_may() -> None:
    """Its body and its answer have limits of their own."""
    buckets = three()
    async with running(buckets, idle_seconds=LONG, head_seconds=0.2) as service, connected(service) as connection:
        for number in range(2):
            await send_slowly(connection, f"/files/{number}")
            assert (await connection.answer()).status_code == 201
    assert_everywhere(buckets, "0", b"x" * 8)
    assert_everywhere(buckets, "1", b"x" * 8)


async def test_an_idle_connection_is_kept_when_others_are_cut_off() -> None:
    async with running(three(), idle_seconds=LONG, head_seconds=0.4) as service, connected(service) as idle:
        await assert_healthy(idle)
        await asyncio.gather(*(closed_after(service, HEALTH[:9]) for _ in range(70)))
        await assert_healthy(idle)


# --- one request after the other


async def test_requests_are_answered_in_turn_when_they_come_in_one_go() -> None:
    application = Application()
    async with served(application, goes_on=False) as service, connected(service) as connection:
        await connection.send(b"".join(head("PUT", f"/{n}", "content-length: 1") + b"x" for n in range(3)))
        await application.begun.get()
        await asyncio.sleep(0)
        assert application.begun.empty()  # the second waits for the answer to the first
        application.goes_on.set()
        assert (await connection.answer()).headers["connection"] == "close"  # its body was not read
        assert await connection.ended()
        assert application.begun.empty()


@pytest.mark.parametrize("before", [b"", b"\r\n"])
async def test_the_next_request_is_answered_when_the_one_before_was_read(before: bytes) -> None:
    async with served(Application()) as service, connected(service) as connection:
        for _ in range(3):
            await connection.send(before + head("GET", "/a"))
            assert (await connection.answer()).body == b"ok"


async def test_little_is_read_when_nobody_asks_for_the_body() -> None:
    application = Application()
    async with served(application, goes_on=False) as service, connected(service) as connection:
        sending = asyncio.ensure_future(
            connection.send(head("PUT", "/a", f"content-length: {64 * MiB}"), b"x" * 64 * MiB)
        )
        _, receive, _ = await application.begun.get()
        [one] = service.server.connections
        await until(lambda: len(one.incoming.data) >= 256 * 1024)
        assert len(one.incoming.data) < MiB
        assert not sending.done()
        assert len(await body_of(receive)) == 64 * MiB
        await sending
        application.goes_on.set()
        assert (await connection.answer()).body == b"ok"


async def test_the_client_gets_a_refusal_when_the_application_fails() -> None:
    broken = Application(a=[{"type": "http.response.body", "body": b""}])
    async with served(broken) as service:
        answer = await exchange(service, head("GET", "/a"))
        assert_problem(answer, 500, "internal_error")


@pytest.mark.parametrize(
    "pieces",
    [[head("GET", "/a").replace(b"\r\n", b"\n")], [b"\x16\x03\x01"], [b"GET / HTTP/1.1\r\n", b" a: b\r\n\r\n"]],
)
async def test_it_is_refused_at_once_when_it_is_no_request(pieces: list[bytes]) -> None:
    async with served(Application()) as service, connected(service) as connection:
        await connection.send(*pieces)
        assert_problem(await connection.answer(), 400, "malformed_request")
        assert await connection.ended()
        assert service.application.begun.empty()


async def test_the_refusal_is_read_when_the_client_writes_everything_first() -> None:
    async with served(Application()) as service, connected(service) as connection:
        await connection.send(b"PUT / HTTP/1.1\r\ncontent-length: 5000000\r\n\r\n", b"x" * 5_000_000)
        assert_problem(await connection.answer(), 400, "malformed_request")
        assert await connection.ended()


# --- all connections


async def test_the_next_client_waits_when_all_connections_have_a_request() -> None:
    application = Application()
    async with served(application, goes_on=False, connections=2) as service, AsyncExitStack() as stack:
        for _ in range(3):
            connection = await stack.enter_async_context(connected(service))
            await connection.send(head("GET", "/a"))
        for _ in range(2):
            await application.begun.get()
        await asyncio.sleep(0.05)
        assert application.begun.empty()
        application.goes_on.set()
        assert (await connection.answer()).body == b"ok"


async def test_the_next_client_is_served_when_all_others_were_refused_and_stay() -> None:
    async with served(Application(), connections=4) as service, AsyncExitStack() as stack:
        for _ in range(4):
            connection = await stack.enter_async_context(connected(service))
            await connection.send(b"no request\r\n\r\n")
            assert (await connection.answer()).status_code == 400
        assert (await exchange(service, head("GET", "/a"))).body == b"ok"


async def test_requests_end_before_the_server_does() -> None:
    application = Application()
    async with served(application, goes_on=False) as service, connected(service) as idle, connected(service) as busy:
        await busy.send(head("GET", "/a"))
        await application.begun.get()
        closing = asyncio.ensure_future(service.server.close(asyncio.get_running_loop().time() + LONG))
        assert await idle.ended()
        assert not closing.done()
        application.goes_on.set()
        answer = await busy.answer()
        assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
        await closing


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here")
@pytest.mark.parametrize(("bound", "host"), [("::1", "::1"), ("::ffff:127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1")])
async def test_a_client_connects_when_the_address_is_ipv6(bound: str, host: str) -> None:
    async with served(Application(), host=bound) as service:
        connection = Connection(*await asyncio.open_connection(host, service.server.place[1]))
        await connection.send(head("GET", "/a"))
        assert (await connection.answer()).body == b"ok"
        await connection.close()
        assert (await service.application.begun.get())[0]["client"][0].endswith(host)
