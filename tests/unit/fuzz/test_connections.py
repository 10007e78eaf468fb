"""A hang, for the fuzzer: the service answers its health check, but not a client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fuzz.cases import Case, Ending
from fuzz.connections import Addresses
from fuzz.pace import Pace
from testkit.ports import free_port

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


@asynccontextmanager
async def serving(others: bytes) -> AsyncIterator[int]:
    """Answers the health check and closes its connection; answers everything else with `others` and closes nothing."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        is_health = head.startswith(b"GET /_/health ")
        writer.write(ANSWER if is_health else others)
        if not is_health:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def case(ending: Ending) -> Case:
    wire = b"GET /files/a HTTP/1.1\r\nhost: x\r\n\r\n"
    return Case(1, (wire[:20], wire[20:]), 1, ending, (), of_metrics=False, methods=(b"GET",), contents={})


async def wrong(others: bytes, ending: Ending) -> str:
    async with serving(others) as port:
        addresses = Addresses(port, port, Pace(port, most=3, pause_seconds=0.01))
        async with addresses.pace.keeping():
            exchange = await addresses.exchange(case(ending))
        assert addresses.pace.failed == ""
    return exchange.wrong


async def test_a_hang_is_found_when_only_health_is_answered() -> None:
    assert await wrong(b"", Ending.ANSWERED) == "no answer and no end while /_/health was answered 3 times"


async def test_a_hang_is_found_when_a_connection_stays_open_that_must_be_closed() -> None:
    assert await wrong(ANSWER, Ending.CLOSED) == "not closed after 1 answers while /_/health was answered 3 times"


async def test_nothing_is_wrong_when_an_answer_comes() -> None:
    assert await wrong(ANSWER, Ending.ANSWERED) == ""


async def test_the_bytes_are_wrong_when_they_are_no_answer() -> None:
    assert (await wrong(b"<html>", Ending.ANSWERED)).startswith("not HTTP: ")


async def test_every_case_ends_when_health_is_not_answered() -> None:
    async with serving(b"") as port:
        pace = Pace(free_port(), pause_seconds=0.01)
        async with pace.keeping():
            exchange = await Addresses(port, port, pace).exchange(case(Ending.ANSWERED))
    assert exchange.wrong
    assert "ConnectionRefusedError" in pace.failed
