"""nginx, HAProxy and Caddy with the configurations of docs/reverse-proxies.md keep what that page promises."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from file.logic.values import MiB
from mentumfileupload.config.uploadsettings import read_settings
from testkit.memorybucket import MemoryBucket
from tests.service.reverseproxies import CADDY, HAPROXY, NGINX, Program, Proxy, in_front, shown
from tests.serving import Running, running
from tests.unit.api.earlyanswers import Early, curl, each_early, write_first
from tests.unit.api.expectations import PART, assert_everywhere, assert_nothing_left, three
from tests.unit.api.rawhttp import BOUND_SECONDS, Connection, connected, head, in_chunks, put

PROGRAMS = [
    pytest.param(
        program,
        id=program.name,
        marks=pytest.mark.skipif(program.path is None, reason=f"{program.name} is not installed"),
    )
    for program in (NGINX, HAPROXY, CADDY)
]
each_program = pytest.mark.parametrize("program", PROGRAMS)
each_way = pytest.mark.parametrize("chunked", [False, True])
KEYS = {"a//b": "a//b", "//a": "//a", "a%2Fb%20c": "a/b c", "%E2%82%AC%25": "€%", "a+b%2B": "a+b+"}


@asynccontextmanager
async def proxied(
    program: Program, folder: Path, buckets: Sequence[MemoryBucket], **settings: Any
) -> AsyncIterator[tuple[Running, Proxy]]:
    """A service, and the program in front of it."""
    async with running(buckets, **settings) as service, in_front(program, service.url, folder) as proxy:
        yield service, proxy


@each_program
async def test_the_key_is_unchanged_when_it_has_slashes_and_signs(program: Program, tmp_path: Path) -> None:
    buckets = three()
    async with proxied(program, tmp_path, buckets) as (_, proxy):
        for number, raw in enumerate(KEYS):
            assert (await put(proxy, raw, b"%d" % number)).status_code == 201
    for number, key in enumerate(KEYS.values()):
        assert_everywhere(buckets, key, b"%d" % number)


@each_way
@each_program
async def test_parts_reach_the_accounts_before_the_body_ends(program: Program, chunked: bool, tmp_path: Path) -> None:
    buckets = three()
    body = b"x" * 20 * PART
    sent = b"".join(in_chunks(body)) if chunked else body
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    async with proxied(program, tmp_path, buckets, part_size=PART) as (_, proxy), connected(proxy) as connection:
        await connection.send(head("PUT", "/files/k", length), sent[: 10 * PART])
        async with asyncio.timeout(BOUND_SECONDS):
            await asyncio.gather(*(bucket.first_part.wait() for bucket in buckets))
        await connection.send(sent[10 * PART :])
        assert (await connection.answer()).status_code == 201
    assert_everywhere(buckets, "k", body)


@each_way
@each_program
async def test_a_large_file_is_stored_and_read_without_a_limit(program: Program, chunked: bool, tmp_path: Path) -> None:
    buckets = three()
    body = b"0123456789abcdef" * (24 * MiB // 16)
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    async with proxied(program, tmp_path, buckets, max_request_bytes=0) as (_, proxy), connected(proxy) as connection:
        await connection.send(head("PUT", "/files/k", length), *(in_chunks(body) if chunked else [body]))
        assert (await connection.answer()).status_code == 201
        await connection.send(head("GET", "/files/k"))
        assert (await connection.answer()).body == body
    assert_everywhere(buckets, "k", body)


@each_early
@pytest.mark.parametrize("program", PROGRAMS[:2])
async def test_the_early_answer_is_read_after_writing_everything(
    program: Program, early: Early, tmp_path: Path
) -> None:
    """Not with Caddy, which reads only 256 KiB more and closes."""
    buckets = early.buckets()
    async with proxied(program, tmp_path, buckets, max_request_bytes=early.limit) as (service, proxy):
        for number in range(3):
            status, code, _ = await asyncio.to_thread(write_first, proxy, f"{number}", 20 * MiB, early)
            assert (status, code) == (early.status, early.code)
        assert_nothing_left(service, buckets)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@each_early
@each_program
async def test_the_early_answer_is_read_while_writing(program: Program, early: Early, tmp_path: Path) -> None:
    async with proxied(program, tmp_path, early.buckets(), max_request_bytes=early.limit) as (_, proxy):
        assert await curl(proxy, 20 * MiB, early, tmp_path) == (early.status, early.code)


async def test_another_key_is_stored_when_nginx_gets_a_path_to_pass_to(tmp_path: Path) -> None:
    """The configuration that the page warns against."""
    if NGINX.path is None:
        pytest.skip("nginx is not installed")

    def with_a_path(text: str) -> str:
        assert "merge_slashes off;" in text
        return text.replace("merge_slashes off;", "").replace("proxy_pass http://mentum;", "proxy_pass http://mentum/;")

    buckets = three()
    async with running(buckets) as service, in_front(NGINX, service.url, tmp_path, change=with_a_path) as proxy:
        assert (await put(proxy, "a//b")).status_code == 201
    assert_everywhere(buckets, "a/b", b"x")


class Behind:
    """Answers every request; `heads` has a list of heads for each connection with a PUT; `closed`: one was closed."""

    def __init__(self) -> None:
        self.heads: list[list[bytes]] = []
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                if request.startswith(b"PUT"):  # not a health check
                    if not mine:
                        self.heads.append(mine)
                    mine.append(request)
                    await reader.readexactly(1)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            if mine:
                self.closed.set()


@asynccontextmanager
async def before(behind: Behind, program: Program, folder: Path) -> AsyncIterator[Connection]:
    """A connection to the program."""
    async with await asyncio.start_server(behind.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with in_front(program, url, folder) as proxy, connected(proxy) as connection:
            yield connection


@each_program
async def test_host_and_headers_pass_when_a_connection_has_several_requests(program: Program, tmp_path: Path) -> None:
    fields = [
        "host: files.example.com",
        "x-amz-meta-a_b: 1",
        "upload-ack: any",
        "idempotency-key: k",
        "x-request-id: r",
    ]
    request = "\r\n".join(["PUT /files/a//b%2F HTTP/1.1", "content-length: 1", *fields, "", ""]).encode()
    behind = Behind()
    async with before(behind, program, tmp_path) as connection:
        for _ in range(3):
            await connection.send(request + b"x")
            assert (await connection.answer()).status_code == 200
    assert [len(told) for told in behind.heads] == [3]
    for told in behind.heads[0]:
        line, *lines = told.decode().split("\r\n")
        assert line == "PUT /files/a//b%2F HTTP/1.1"
        assert set(fields) <= {name.lower() + sign + value for name, sign, value in (f.partition(":") for f in lines)}


@pytest.mark.parametrize("program", PROGRAMS[1:2])
async def test_haproxy_closes_an_idle_connection_when_it_also_asks_for_health(program: Program, tmp_path: Path) -> None:
    """HAProxy's default is longer than the service's limit."""
    behind = Behind()
    async with before(behind, program, tmp_path) as connection:
        await connection.send(head("PUT", "/files/k", "content-length: 1"), b"x")
        assert (await connection.answer()).status_code == 200
        async with asyncio.timeout(read_settings({}).upload.idle_seconds - 15):
            await behind.closed.wait()


@pytest.mark.parametrize(("language", "name"), [("nginx", "keepalive_timeout"), ("caddy", "keepalive")])
def test_the_proxy_closes_first_when_a_connection_is_idle(language: str, name: str) -> None:
    (seconds,) = re.findall(rf"^ *{name} (\d+)s", shown(language), re.MULTILINE)
    assert int(seconds) < read_settings({}).upload.idle_seconds
