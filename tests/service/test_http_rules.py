"""Requests that violate HTTP: bodies that stop, unknown methods, wrong hosts. Wrong lengths are in `hostile/`."""

import asyncio
from collections.abc import Iterable

import pytest

from tests.serving import Running, running
from tests.unit.api.expectations import PART, Shared, assert_everywhere, assert_nothing_left, assert_problem, three
from tests.unit.api.rawhttp import Answer, connected, exchange, form_head, form_part, head, put

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("got", [0, 1, PART, 3 * PART])
@pytest.mark.parametrize("way", ["put", "form", "chunked put", "chunked form"])
async def test_nothing_is_stored_when_the_body_ends_too_early(shared: Shared, way: str, got: int) -> None:
    length = "transfer-encoding: chunked" if way.startswith("chunked") else f"content-length: {4 * PART}"
    first = head("PUT", "/files/k", length) if way.endswith("put") else form_head(length)
    body = (b"" if way.endswith("put") else form_part("file", b"", filename="f")[:-2]) + b"x" * got
    if way.startswith("chunked"):
        body = f"{4 * PART:x}\r\n".encode() + body
    answer = await exchange(shared.service, first, body, end=True)
    assert_problem(answer, 400, "client_gone")
    assert answer.headers["connection"] == "close"
    shared.assert_nothing_left()


@pytest.mark.parametrize("got", [1, 3 * PART])
async def test_nothing_is_stored_when_the_last_chunk_is_missing(shared: Shared, got: int) -> None:
    request = head("PUT", "/files/k", "transfer-encoding: chunked")
    answer = await exchange(shared.service, request, f"{got:x}\r\n".encode() + b"x" * got + b"\r\n", end=True)
    assert_problem(answer, 400, "client_gone")
    shared.assert_nothing_left()


async def test_only_the_declared_bytes_are_the_file_when_more_follow(shared: Shared) -> None:
    async with connected(shared.service) as connection:
        await connection.send(head("PUT", "/files/k", "content-length: 3"), b"abcdef\r\n\r\n")
        assert (await connection.answer()).status_code == 201
        assert (await connection.answer()).status_code in {400, 0}  # the rest is no request
    assert_everywhere(shared.buckets, "k", b"abc")


async def test_each_request_is_answered_when_they_come_in_one_go(shared: Shared) -> None:
    requests = [head("PUT", f"/files/{number}", "content-length: 1") + b"x" for number in range(3)]
    async with connected(shared.service) as connection:
        await connection.send(b"".join(requests))
        assert [(await connection.answer()).status_code for _ in requests] == [201] * 3
    assert all(set(bucket.objects) == {"0", "1", "2"} for bucket in shared.buckets)


@pytest.mark.parametrize("target", ["/files/a/../b", "/_/nothing"])
async def test_no_request_is_read_from_a_refused_body_when_one_is_hidden_there(shared: Shared, target: str) -> None:
    hidden = head("PUT", "/files/hidden", "content-length: 1") + b"x"
    async with connected(shared.service) as connection:
        await connection.send(head("PUT", target, f"content-length: {len(hidden)}"), hidden, hidden)
        answer = await connection.answer()
        assert answer.status_code in {400, 404}
        assert answer.headers["connection"] == "close"
        assert await connection.ended()
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("GET", "/upload", {"POST"}),
        ("PUT", "/upload", {"POST"}),
        ("POST", "/files/k", {"GET", "HEAD", "PUT", "DELETE"}),
        ("PATCH", "/files/k", {"GET", "HEAD", "PUT", "DELETE"}),
        ("PUT", "/files", {"GET", "HEAD"}),
        ("POST", "/_/health", {"GET", "HEAD"}),
        ("PUT", "/_/accounts", {"GET", "HEAD"}),
        ("BREW", "/upload", {"POST"}),
    ],
)
async def test_a_wrong_method_gets_the_allowed_ones(
    shared: Shared, method: str, target: str, allowed: set[str]
) -> None:
    answer = await exchange(shared.service, head(method, target, "content-length: 1"), b"x")
    assert_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {*allowed, "OPTIONS"}
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/upload", {"POST"}),
        ("/files/k", {"GET", "HEAD", "PUT", "DELETE"}),
        ("/files", {"GET", "HEAD"}),
        ("/receipts/x", {"GET", "HEAD"}),
        ("/_/ready", {"GET", "HEAD"}),
        ("*", {"GET", "HEAD", "PUT", "POST", "DELETE"}),
    ],
)
async def test_options_has_the_allowed_methods_without_a_token(shared: Shared, target: str, allowed: set[str]) -> None:
    answer = await exchange(shared.service, f"OPTIONS {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert (answer.status_code, answer.body) == (204, b"")
    assert set(answer.headers["allow"].split(", ")) == {*allowed, "OPTIONS"}
    assert_problem(await exchange(shared.service, head("GET", "*")), 400, "malformed_request")


@pytest.mark.parametrize(
    ("version", "hosts"),
    [
        *[("1.1", []), ("1.1", [""]), ("1.1", ["a", "b"]), ("1.1", ["a", "a"]), ("1.0", ["a", "b"])],
        *[("1.1", ["a b"]), ("1.1", ["a/b"]), ("1.1", ["user@a"]), ("1.1", ["\xe4"]), ("1.1", ['a"'])],
    ],
)
@pytest.mark.parametrize("target", ["/files/k", "/_/health", "/", "*"])
async def test_a_missing_or_wrong_host_is_refused(shared: Shared, target: str, version: str, hosts: list[str]) -> None:
    told = "".join(f"host: {host}\r\n" for host in hosts)
    request = f"GET {target} HTTP/{version}\r\n{told}\r\n".encode("latin-1")
    answer = await exchange(shared.service, request)
    assert_problem(answer, 400, "malformed_request")
    assert "Host" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("version", "told"),
    [
        *[("1.0", ""), ("1.0", "host: a\r\n"), ("1.1", "host: a.example:8000\r\n"), ("1.1", "host: [::1]:8000\r\n")],
        *[("1.1", "host: my_service\r\n"), ("1.1", "Host:127.0.0.1\r\n"), ("1.1", "HOST: xn--bcher-kva.example\r\n")],
    ],
)
async def test_it_is_answered_when_the_host_is_valid_or_optional(shared: Shared, version: str, told: str) -> None:
    answer = await exchange(shared.service, f"GET /_/health HTTP/{version}\r\n{told}\r\n".encode())
    assert answer.status_code == 200


async def test_the_answer_is_a_problem_when_the_path_is_unknown(shared: Shared) -> None:
    for target in ("/_/nothing", "/_/", "/_/health/"):
        assert_problem(await exchange(shared.service, head("GET", target)), 404, "no_such_resource")


async def test_the_body_is_asked_for_when_the_client_expects_that(shared: Shared) -> None:
    async with connected(shared.service) as connection:
        await connection.send(head("PUT", "/files/k", "content-length: 3", "expect: 100-continue"))
        assert (await connection.answer()).status_code == 100
        await connection.send(b"abc")
        assert (await connection.answer()).status_code == 201
    refused = await exchange(shared.service, head("PUT", "/files/a/../b", "content-length: 3", "expect: 100-continue"))
    assert_problem(refused, 400, "key_refused")
    refused = await exchange(shared.service, head("PUT", "/files/k", "content-length: 3", "expect: a-miracle"))
    assert_problem(refused, 417, "expectation_refused")


async def drip(service: Running, first: bytes, pieces: Iterable[bytes], pause_seconds: float) -> Answer:
    """Sends the pieces with pauses until the service answers."""
    async with connected(service) as connection:
        answering = asyncio.ensure_future(connection.answer())
        await connection.send(first)
        for piece in pieces:
            await connection.send(piece)
            await asyncio.wait((answering,), timeout=pause_seconds)
            if answering.done():
                break
        return await answering


@pytest.mark.parametrize("begun_with", [b"", b"x" * 100_000])
@pytest.mark.parametrize("piece", [b"", b"x"])
async def test_the_client_is_told_when_its_body_drips_or_stops(begun_with: bytes, piece: bytes) -> None:
    """Also after a fast beginning, which must not permit hours of silence that hold memory."""
    buckets = three()
    async with running(buckets, part_size=PART, min_bytes_per_second=1000, client_grace_seconds=0.3) as service:
        length, form_start = "content-length: 300000", form_part("file", begun_with, filename="f")[:-2]
        requests = [head("PUT", "/files/k", length) + begun_with, form_head(length) + form_start]
        for answer in await asyncio.gather(*(drip(service, request, [piece] * 100, 0.03) for request in requests)):
            assert_problem(answer, 408, "client_too_slow")
        assert_nothing_left(service, buckets)


async def test_the_file_is_stored_when_the_client_is_slow_but_steady() -> None:
    buckets = three()
    # The whole body takes longer than the grace; each pause is shorter, also on a loaded machine.
    async with running(buckets, min_bytes_per_second=1000, client_grace_seconds=1.5) as service:
        pieces = [b"x" * 500] * 20
        answer = await drip(service, head("PUT", "/files/k", f"content-length: {500 * 20}"), pieces, 0.1)
    assert answer.status_code == 201
    assert_everywhere(buckets, "k", b"x" * 500 * 20)


async def test_the_file_is_stored_when_there_is_no_minimum_rate() -> None:
    buckets = three()
    async with running(buckets, min_bytes_per_second=0, client_grace_seconds=0.05) as service:
        answer = await drip(service, head("PUT", "/files/k", "content-length: 3"), [b"x"] * 3, 0.2)
    assert answer.status_code == 201


async def test_the_client_is_not_blamed_when_the_accounts_are_slow() -> None:
    buckets = three()
    buckets[1].delay_seconds = 0.6
    async with running(buckets, part_size=PART, min_bytes_per_second=1 << 30, client_grace_seconds=1.2) as service:
        answer = await put(service, "k", b"x" * 9 * PART)
    assert answer.status_code == 201, answer.body
    assert_everywhere(buckets, "k", b"x" * 9 * PART)
