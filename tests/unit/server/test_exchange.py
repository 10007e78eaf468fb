"""One request and its answer: what the application is told, how a body is received, what it learns of its client."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Scope

from file.logic.values import MiB
from tests.unit.api.expectations import until
from tests.unit.api.rawhttp import connected, exchange, head
from tests.unit.server.served import Application, answer_of, body_of, served


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
