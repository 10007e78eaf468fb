"""A request whose end can be read in two ways is refused, or nothing behind it is read as a request."""

import pytest

from tests.unit.api.expectations import Shared
from tests.unit.api.rawhttp import connected, head

pytestmark = pytest.mark.asyncio(loop_scope="module")
SMUGGLED = b"0\r\n\r\nGET /_/health HTTP/1.1\r\nhost: x\r\n\r\n"
CODINGS = (
    *("chunked", "Chunked", " chunked", "chunked ", "\tchunked", "\x0bchunked", "chunked\x0b", "xchunked", ""),
    *("chunked, chunked", "gzip, chunked", "chunked, gzip", "identity", "identity, chunked", ",chunked", "chunked;a"),
)


@pytest.mark.parametrize("length_comes_first", [True, False])
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("method", ["PUT", "GET"])
async def test_nothing_behind_it_is_read_when_a_request_has_a_length_and_a_coding(
    shared: Shared, method: str, coding: str, length_comes_first: bool
) -> None:
    fields = ["content-length: 5", f"transfer-encoding: {coding}"]
    async with connected(shared) as connection:
        await connection.send(head(method, "/files/a", *fields[:: 1 if length_comes_first else -1]) + SMUGGLED)
        assert (await connection.answer()).headers.get("connection") == "close"
        assert await connection.ended()


@pytest.mark.parametrize("lengths", [("0", "5"), ("5", "0"), ("5, 5",), ("+5",), ("5 5",), ("0x5",), ("-1",)])
async def test_it_is_refused_when_its_length_can_be_read_in_two_ways(shared: Shared, lengths: tuple[str, ...]) -> None:
    fields = [f"content-length: {length}" for length in lengths]
    async with connected(shared) as connection:
        await connection.send(head("PUT", "/files/b", *fields) + SMUGGLED)
        assert (await connection.answer()).status_code == 400
        assert await connection.ended()
    assert not any("b" in bucket.objects for bucket in shared.buckets)
