"""Connections: how long they may be idle, how requests follow each other, and what happens when one side goes."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from file.logic.values import MiB
from file.server.server import ConnectionLimits, Server
from file.server.serving import serving
from mentumfileupload.config.uploadsettings import read_settings
from tests.serving import running
from tests.unit.api.expectations import assert_everywhere, assert_problem, three, until
from tests.unit.api.processes import service_alone
from tests.unit.api.rawhttp import Connection, Listening, connected, exchange, head

HEALTH = head("GET", "/_/health")
LONG = 60.0


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


async def lifespan(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


class Application:
    """Its requests wait for the test. `answers` has what a request sends, by path."""

    def __init__(self, **answers: Sequence[Message]) -> None:
        self.answers = answers
        self.begun = asyncio.Queue[tuple[Scope, Receive, Send]]()
        self.goes_on = asyncio.Event()
        self.ended = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        self.begun.put_nowait((scope, receive, send))
        await self.goes_on.wait()
        for message in self.answers.get(scope["path"][1:], OK):
            await send(message)
        self.ended += 1


def answer_of(*pieces: bytes, **fields: str) -> list[Message]:
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    last = len(pieces) - 1
    return [
        {"type": "http.response.start", "status": 200, "headers": told},
        *({"type": "http.response.body", "body": p, "more_body": n < last} for n, p in enumerate(pieces)),
    ]


OK = answer_of(b"ok")


@dataclass(frozen=True)
class Served:
    """A server with an application of a test."""

    application: Application
    server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.place[1]}"


@asynccontextmanager
async def served(
    application: Application, *, goes_on: bool = True, host: str = "127.0.0.1", **limits: float
) -> AsyncIterator[Served]:
    if goes_on:
        application.goes_on.set()
    limits = {"idle_seconds": LONG, "head_seconds": LONG, **limits}
    async with serving(application, host, 0, ConnectionLimits(**limits)) as server:  # type: ignore[arg-type]
        yield Served(application, server)


async def body_of(receive: Receive) -> bytes:
    pieces = []
    while (message := await receive())["type"] == "http.request":
        pieces.append(message["body"])
        if not message["more_body"]:
            break
    return b"".join(pieces)


# --- one request after the other


async def test_the_scope_says_what_was_sent() -> None:
    async with served(Application()) as service, connected(service) as connection:
        await connection.send(head("GET", "/a%2Fb%ff?c=%20", "X-A: b"))
        assert (await connection.answer()).body == b"ok"
        scope = (await service.application.begun.get())[0]
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a/b\ufffd", b"/a%2Fb%ff", b"c=%20")
    assert (scope["method"], scope["http_version"], scope["scheme"]) == ("GET", "1.1", "http")
    assert (b"x-a", b"b") in scope["headers"]
    assert scope["server"] == ("127.0.0.1", int(service_port(scope)))
    assert scope["client"][0] == "127.0.0.1"


def service_port(scope: Scope) -> int:
    return int(scope["server"][1])


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


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
async def test_the_body_is_asked_for_when_the_application_wants_it(expectation: str) -> None:
    application = Application()
    async with served(application, goes_on=False) as service, connected(service) as connection:
        await connection.send(head("PUT", "/a", "content-length: 2", f"expect: {expectation}"))
        _, receive, _ = await application.begun.get()
        reading = asyncio.ensure_future(body_of(receive))
        assert (await connection.answer()).status_code == 100
        await connection.send(b"ab")
        assert await reading == b"ab"
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


# --- a body in the memory of the application


def into(scope: Scope) -> Callable[[memoryview], Awaitable[int]]:
    receive_into: Callable[[memoryview], Awaitable[int]] = scope["extensions"]["mentum.receive_into"]
    return receive_into


@pytest.mark.parametrize("at_once", [1000, 300_000, 64 * MiB])
@pytest.mark.parametrize("room", [100_000, MiB])
async def test_the_body_arrives_in_memory_when_the_application_gives_some(at_once: int, room: int) -> None:
    """Then the next request is read as usual."""
    application, content = Application(), bytes(range(256)) * 8192
    async with served(application, goes_on=False) as service, connected(service) as connection:
        pieces = (content[place : place + at_once] for place in range(0, len(content), at_once))
        request = (head("PUT", "/a", f"content-length: {len(content)}"), *pieces, head("GET", "/b"))
        sending = asyncio.ensure_future(connection.send(*request))
        scope, receive, _ = await application.begun.get()
        found, memory = bytearray(), memoryview(bytearray(room))
        while len(found) < len(content):
            size = await into(scope)(memory)
            found += memory[:size]
        assert found == content
        assert await into(scope)(memory) == 0
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        application.goes_on.set()
        await sending
        for _ in range(2):
            assert (await connection.answer()).body == b"ok"


async def test_both_ways_of_receiving_alternate_when_the_application_wants_that() -> None:
    application, content = Application(), bytes(range(256)) * 8192
    async with served(application, goes_on=False) as service, connected(service) as connection:
        sending = asyncio.ensure_future(connection.send(head("PUT", "/a", f"content-length: {len(content)}"), content))
        scope, receive, _ = await application.begun.get()
        found, memory = b"", memoryview(bytearray(50_000))
        while len(found) < len(content):
            found += memory[: await into(scope)(memory)]
            if len(found) < len(content):
                found += (await receive())["body"]
        assert found == content
        application.goes_on.set()
        await sending
        assert (await connection.answer()).status_code == 200


@pytest.mark.parametrize("cut", [True, False])
async def test_nothing_is_received_into_memory_when_the_client_is_gone(cut: bool) -> None:
    application = Application()
    async with served(application, goes_on=False) as service, connected(service) as connection:
        await connection.send(head("PUT", "/a", "content-length: 9", "expect: 100-continue"))
        scope, _, _ = await application.begun.get()
        memory = memoryview(bytearray(MiB))
        receiving = asyncio.ensure_future(into(scope)(memory))
        assert (await connection.answer()).status_code == 100
        if cut:
            await connection.cut()
        else:
            connection.end_of_sending()
        assert await receiving == 0
        application.goes_on.set()


async def test_a_wait_for_the_body_can_be_given_up() -> None:
    """As the minimum rate of clients does."""
    application = Application()
    async with served(application, goes_on=False) as service, connected(service) as connection:
        await connection.send(head("PUT", "/a", "content-length: 3"))
        scope, receive, _ = await application.begun.get()
        memory = memoryview(bytearray(10))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await into(scope)(memory)
        await connection.send(b"abc")
        assert await body_of(receive) == b"abc"
        assert bytes(memory) == bytes(10)
        application.goes_on.set()


async def test_there_is_no_such_way_when_the_body_is_chunked() -> None:
    async with served(Application()) as service:
        await exchange(service, head("PUT", "/a", "transfer-encoding: chunked"), b"0\r\n\r\n")
        assert (await service.application.begun.get())[0]["extensions"] == {}


# --- one side goes


@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_the_answer_comes_when_the_client_has_ended_its_sending_side(body: bytes) -> None:
    application = Application()
    async with served(application, goes_on=False) as service, connected(service) as connection:
        await connection.send(head("PUT", "/a", f"content-length: {len(body)}"), body)
        connection.end_of_sending()
        _, receive, _ = await application.begun.get()
        assert await body_of(receive) == body
        await asyncio.sleep(0.05)
        application.goes_on.set()
        assert (await connection.answer()).body == b"ok"
        assert await connection.ended()


@pytest.mark.parametrize("fields", ["content-length: 5", "transfer-encoding: chunked"])
async def test_the_application_learns_it_when_the_body_ends_early(fields: str) -> None:
    application = Application()
    async with served(application, goes_on=False) as service, connected(service) as connection:
        await connection.send(head("PUT", "/a", fields), b"4\r\n")
        connection.end_of_sending()
        _, receive, _ = await application.begun.get()
        while (message := await receive())["type"] == "http.request":
            assert message["more_body"]
        application.goes_on.set()
        assert (await connection.answer()).headers["connection"] == "close"


async def test_the_application_learns_it_when_its_reader_is_gone() -> None:
    """`send` neither waits nor fails then, and the request ends by itself."""
    large = Application(a=answer_of(*[b"x" * MiB] * 64))
    async with served(large, goes_on=False) as service, connected(service) as connection:
        await connection.send(head("GET", "/a"))
        _, receive, _ = await large.begun.get()
        assert (await receive())["type"] == "http.request"
        leaving = asyncio.ensure_future(receive())
        large.goes_on.set()
        await asyncio.sleep(0.05)
        assert not large.ended  # it waits, because the client reads nothing
        await connection.cut()
        assert (await leaving)["type"] == "http.disconnect"
        await until(lambda: large.ended == 1)


@pytest.mark.parametrize("field", ["content-length: 9", "transfer-encoding: chunked"])
async def test_the_client_sees_it_when_an_answer_ends_early(field: str) -> None:
    name, _, value = field.partition(": ")
    told = {name.replace("-", "_"): value} if value.isdigit() else {}
    short = Application(a=answer_of(b"abc", b"", **told)[:2])
    async with served(short) as service, connected(service) as connection:
        await connection.send(head("GET", "/a"))
        answer = await connection.answer(to_head=True)
        assert answer.headers[name] == value
        assert not await connection.ended()  # something of the body came


async def test_the_connection_is_reset_when_an_answer_ends_early_and_only_its_end_would_show_that() -> None:
    short = Application(a=answer_of(b"abc", b"")[:2])
    async with served(short) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.server.place[1])
        writer.write(b"GET /a HTTP/1.0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


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
