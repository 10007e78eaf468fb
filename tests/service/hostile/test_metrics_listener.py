"""The address of the metrics, which needs no token: no request there starts a thread or stops the scrapes."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from file.api.endpoints.metricslistener import CONNECTIONS, HEAD_BYTES
from testkit.ports import free_port
from tests.serving import PLAIN, running
from tests.unit.api.expectations import three
from tests.unit.api.figures import parsed, series
from tests.unit.api.rawhttp import Connection, connected, exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")
SCRAPE = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"


@dataclass(frozen=True)
class Address:
    url: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listener() -> AsyncIterator[Address]:
    port = free_port()
    async with running(three(), metrics_address=("127.0.0.1", port)):
        yield Address(f"http://127.0.0.1:{port}")


async def test_a_scrape_is_answered_and_no_thread_is_made_when_half_requests_come(listener: Address) -> None:
    assert (await exchange(listener, SCRAPE)).status_code == 200  # the thread that makes the text is there
    before = threading.active_count()
    async with AsyncExitStack() as stack:
        begun: list[Connection] = []
        for _ in range(10 * CONNECTIONS):
            begun.append(await stack.enter_async_context(connected(listener)))
            await begun[-1].send(SCRAPE[:9])
        for _ in range(3):
            answer = await exchange(listener, SCRAPE)
            assert answer.status_code == 200
            assert series(parsed(answer.body.decode()), "mentum_build_info")
        assert threading.active_count() <= before
        assert await begun[0].ended()  # the oldest is closed
        await begun[-1].send(SCRAPE[9:])  # and the latest is not
        assert (await begun[-1].answer()).status_code == 200


async def test_a_connection_ends_when_its_head_does_not_get_whole(listener: Address) -> None:
    async with connected(listener) as connection:
        await connection.send(SCRAPE[:9])
        assert (await connection.answer()).status_code == 408
        assert await connection.ended()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nx: " + b"x" * HEAD_BYTES, 431),
        (b"GET /metrics HTTP/1.1\r\nx: " + b"x" * HEAD_BYTES + b"\r\n\r\n", 431),
        (b"POST /metrics HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 405),
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400),
        (b"\xff\x00\r\n\r\n", 400),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 400),
        (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", 200),
        (b"GET /_/metrics HTTP/1.1\r\n: \r\nno field\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text; version=" + b"9" * 4400 + b"\r\n\r\n", 200),
    ],
)
async def test_each_request_gets_an_answer_when_it_is_odd(listener: Address, request_: bytes, status: int) -> None:
    async with connected(listener) as connection:
        await connection.send(request_)
        answer = await connection.answer()
        assert (answer.status_code, answer.headers["connection"]) == (status, "close")
        assert await connection.ended()


async def test_the_answer_has_the_format_that_the_scrape_accepts(listener: Address) -> None:
    async with httpx.AsyncClient(base_url=listener.url, **PLAIN) as client:
        plain = await client.get("/metrics", headers={"accept-encoding": "identity"})
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        openmetrics = await client.get("/metrics", headers={"accept": "application/openmetrics-text"})
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        assert openmetrics.text.endswith("# EOF\n")
        assert (await client.head("/metrics")).headers["content-type"] == plain.headers["content-type"]
    zipped = await exchange(listener, SCRAPE[:-2] + b"accept-encoding: br, gzip;q=1\r\n\r\n")
    assert zipped.headers["content-encoding"] == "gzip"
    assert b"mentum_build_info" in gzip.decompress(zipped.body)


async def test_many_scrapes_at_once_are_answered(listener: Address) -> None:
    answers = await asyncio.gather(*(exchange(listener, SCRAPE) for _ in range(CONNECTIONS)))
    assert [answer.status_code for answer in answers] == [200] * CONNECTIONS
