"""A request whose end could be read in two ways: it is refused, or nothing behind it is read as a request."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from testkit.serviceprocess import TOKEN
from tests.serving import running
from tests.unit.api.expectations import Shared, three
from tests.unit.api.rawhttp import connected

SMUGGLED = b"GET /_/health HTTP/1.1\r\nhost: x\r\n\r\n"
LENGTH = b"content-length: 5\r\n"
CODINGS = (
    *(b"chunked", b"Chunked", b" chunked", b"chunked ", b"\tchunked", b"\x0bchunked", b"chunked\x0b", b"xchunked", b""),
    *(
        b"chunked, chunked",
        b"gzip, chunked",
        b"chunked, gzip",
        b"identity",
        b"identity, chunked",
        b",chunked",
        b"chunked;a",
    ),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Shared]:
    buckets = three()
    async with running(buckets) as service:
        yield Shared(service, buckets)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("length_comes_first", [True, False])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("method", [b"PUT", b"GET"])
async def test_nothing_behind_it_is_read_when_a_request_has_a_length_and_a_coding(
    shared: Shared, method: bytes, coding: bytes, length_comes_first: bool
) -> None:
    fields = [LENGTH, b"transfer-encoding: " + coding + b"\r\n"]
    head = method + b" /files/a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + TOKEN.encode() + b"\r\n"
    async with connected(shared.service) as connection:
        await connection.send(
            head + b"".join(fields if length_comes_first else fields[::-1]) + b"\r\n0\r\n\r\n" + SMUGGLED
        )
        first = await connection.answer()
        assert first.headers.get("connection") == "close"
        assert await connection.ended()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("lengths", [(b"0", b"5"), (b"5", b"0"), (b"5, 5",), (b"+5",), (b"5 5",), (b"0x5",), (b"-1",)])
async def test_it_is_refused_when_its_length_can_be_read_in_two_ways(
    shared: Shared, lengths: tuple[bytes, ...]
) -> None:
    fields = b"".join(b"content-length: " + length + b"\r\n" for length in lengths)
    head = b"PUT /files/b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + TOKEN.encode() + b"\r\n"
    async with connected(shared.service) as connection:
        await connection.send(head + fields + b"\r\n0\r\n\r\n" + SMUGGLED)
        assert (await connection.answer()).status_code == 400
        assert await connection.ended()
    assert not any("b" in bucket.objects for bucket in shared.buckets)
