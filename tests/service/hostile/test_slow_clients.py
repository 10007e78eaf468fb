"""Clients that send in tiny segments, close their half early, do not read, or do not leave.

Slow heads: `tests/unit/server/test_connection.py`; slow bodies: `test_slow_bodies.py`; slow readers: `test_readers.py`.
"""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from file.logic.values import KiB, MiB
from tests.unit.api.expectations import Shared, assert_everywhere, memory_service, three
from tests.unit.api.rawhttp import CHUNKED, Connection, connected, exchange, head, in_chunks

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEALTH = head("GET", "/_/health")
CONTENT = bytes(range(256)) * 8


async def send_byte_by_byte(connection: Connection, sent: bytes) -> None:
    for place in range(len(sent)):
        await connection.send(sent[place : place + 1])
        await asyncio.sleep(0)  # so that each byte is a segment


@pytest.mark.parametrize(
    ("sent", "statuses", "stored"),
    [
        (HEALTH, (200,), None),
        (b"\r\n" + HEALTH * 3, (200, 200, 200), None),
        (HEALTH + b"GET / HTTP/1.1\r\nx : y\r\n\r\n", (200, 400), None),
        (head("PUT", "/files/k", f"content-length: {len(CONTENT)}") + CONTENT + HEALTH, (201, 200), CONTENT),
        (head("PUT", "/files/k", CHUNKED) + b"".join(in_chunks(CONTENT, 100)) + HEALTH, (201, 200), CONTENT),
        (head("PUT", "/files/k", CHUNKED) + b"1\r\nx\r\n0\r\na: b\r\n\r\n" + HEALTH, (201, 200), b"x"),
    ],
)
async def test_each_request_is_answered_when_it_comes_byte_by_byte(
    shared: Shared, sent: bytes, statuses: tuple[int, ...], stored: bytes | None
) -> None:
    async with connected(shared) as connection:
        sending = asyncio.ensure_future(send_byte_by_byte(connection, sent))
        assert [(await connection.answer()).status_code for _ in statuses] == list(statuses)
        await sending
    if stored is not None:
        assert_everywhere(shared.buckets, "k", stored)


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"", ()),
        (HEALTH[:9], ()),
        (HEALTH, (200,)),
        (HEALTH * 3, (200, 200, 200)),
        (HEALTH * 2 + HEALTH[:9], (200, 200)),
        (head("PUT", "/files/k", "content-length: 1") + b"x", (201,)),
        (head("PUT", "/files/k", "content-length: 2") + b"x", (400,)),
        (head("PUT", "/files/k", CHUNKED) + b"1\r\nx\r\n0\r\n", (400,)),
    ],
)
async def test_whole_requests_are_answered_when_the_client_ends_its_half(
    shared: Shared, sent: bytes, statuses: Iterable[int]
) -> None:
    async with connected(shared) as connection:
        await connection.send(sent)
        connection.end_of_sending()
        assert [(await connection.answer()).status_code for _ in statuses] == list(statuses)
        assert await connection.ended()


async def test_no_more_is_read_when_the_client_takes_no_answer() -> None:
    """It sends one request after the other. Others are served, and its connection is ended."""
    async with memory_service(head_seconds=0.4) as service:
        place, loop, sent = urlsplit(service.url), asyncio.get_running_loop(), 0
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KiB)
            client.connect((place.hostname, place.port))
            client.setblocking(False)
            with suppress(ConnectionError):
                async with asyncio.timeout(20):
                    while True:
                        await loop.sock_sendall(client, HEALTH * 500)
                        sent += len(HEALTH) * 500
                        assert (await exchange(service, HEALTH)).status_code == 200
        assert sent < 8 * MiB


async def test_no_more_is_read_when_a_request_is_under_way() -> None:
    """Behind it come more requests than the server may keep."""
    buckets, sent = three(), 0
    buckets[1].delay_seconds = 1.0
    async with memory_service(buckets) as service, connected(service) as connection:
        await connection.send(head("PUT", "/files/k", "content-length: 1") + b"x")
        answering = asyncio.ensure_future(connection.answer())
        while not answering.done() and sent < 64 * MiB:
            sending = asyncio.ensure_future(connection.send(HEALTH * 1000))
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            sent += len(HEALTH) * 1000
        assert (await answering).status_code == 201
        assert sent < 32 * MiB
        sending.cancel()
        await connection.cut()


@pytest.mark.parametrize(
    "sent",
    [
        b"x : y\r\n\r\n",  # refused by the server
        head("PUT", "/files/k", CHUNKED) + b"x\r\n",  # in its body
        head("GET", "/_/health", "connection: close"),  # answered
    ],
)
async def test_the_connection_ends_when_an_answered_client_goes_on_sending(sent: bytes) -> None:
    async with memory_service(head_seconds=0.4) as service, connected(service) as connection:
        await connection.send(sent)
        async with asyncio.timeout(20):
            while not connection.is_broken:
                await connection.send(b"x")
                await asyncio.sleep(0.02)
        service.assert_nothing_left()
