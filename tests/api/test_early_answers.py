"""An answer that comes before the body's end is read by clients that write first and read afterwards."""

import asyncio
import http.client
import json
import shutil
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.process import ServerProcess
from file.api.discarding import Discarding
from file.logic.values import MiB
from tests.api.expectations import ALWAYS, assert_nothing_left, assert_problem, three, until
from tests.api.rawhttp import Connection, Listening, connected, exchange, form_head, form_part, head, in_chunks
from tests.memory import MemoryBucket
from tests.serving import TOKEN, free_port, running

PIECE = b"x" * MiB
BOUND_SECONDS = 60.0
LIMIT = 5_767_168
TOO_LARGE = head("PUT", "/files/k", f"content-length: {1 << 40}")


@dataclass(frozen=True)
class Early:
    """A request that is answered before its end."""

    status: int
    code: str
    token: str = TOKEN
    chunked: bool = False
    fault: str | None = None
    limit: int = 0

    def buckets(self) -> list[MemoryBucket]:
        return three(**{self.fault: ALWAYS} if self.fault else {})

    def headers(self, size: int) -> dict[str, str]:
        length = {"transfer-encoding": "chunked"} if self.chunked else {"content-length": str(size)}
        return {"authorization": f"Bearer {self.token}", **length}


EARLY = {
    "401": Early(401, "token_refused", token="the token of somebody else"),
    "401 chunked": Early(401, "token_refused", token="the token of somebody else", chunked=True),
    "413 declared": Early(413, "request_too_large", limit=LIMIT),
    "413 chunked": Early(413, "request_too_large", limit=LIMIT, chunked=True),
    "502": Early(502, "accounts_failed", fault="refuses_begin"),
    "502 chunked": Early(502, "accounts_failed", fault="refuses_begin", chunked=True),
}
each_early = pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
each_size = pytest.mark.parametrize("size", [20 * MiB, 64 * MiB])


def pieces(size: int) -> Iterable[bytes]:
    return (PIECE for _ in range(size // MiB))


def write_first(service: Listening, key: str, size: int, early: Early) -> tuple[int, str, str]:
    """As http.client does, and urllib3 on it. Returns status, code and the header Connection."""
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=BOUND_SECONDS)
    try:
        connection.request("PUT", f"/files/{key}", pieces(size), early.headers(size), encode_chunked=early.chunked)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["code"], answer.getheader("connection", "")
    finally:
        connection.close()


@each_size
@each_early
async def test_the_answer_is_read_when_the_client_writes_everything_first(early: Early, size: int) -> None:
    buckets = early.buckets()
    async with running(buckets, max_request_bytes=early.limit) as service:
        asking = (asyncio.to_thread(write_first, service, f"{number}", size, early) for number in range(3))
        assert await asyncio.gather(*asking) == [(early.status, early.code, "close")] * 3
        assert_nothing_left(service, buckets)


@each_size
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_answer_is_read_when_the_socket_is_written_first(size: int, chunked: bool) -> None:
    async with running(three(), max_request_bytes=LIMIT) as service:
        length = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
        body = b"".join(pieces(size))
        sent = in_chunks(body) if chunked else [body]
        assert_problem(await exchange(service, head("PUT", "/files/k", length), *sent), 413, "request_too_large")
        form = form_part("file", body, filename="f")
        sent = in_chunks(form) if chunked else [form]
        assert_problem(await exchange(service, form_head(length), *sent), 413, "request_too_large")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@each_size
@each_early
async def test_the_answer_is_read_when_curl_uploads(early: Early, size: int, tmp_path: Path) -> None:
    """Without `Expect`, so that curl sends at once."""
    (tmp_path / "file").touch()
    with (tmp_path / "file").open("r+b") as file:
        file.truncate(size)
    async with running(early.buckets(), max_request_bytes=early.limit) as service:
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--upload-file", "file"),
            *("--header", "expect:", "--header", f"authorization: Bearer {early.token}"),
            *(("--header", "transfer-encoding: chunked") if early.chunked else ()),
            f"{service.url}/files/k",
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    told = json.loads(output)
    assert (told["status"], told["code"]) == (early.status, early.code)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_memory_stays_flat_when_hundreds_of_mebibytes_are_read_on_at_once(tmp_path: Path) -> None:
    account = {"access_key_id": "id", "secret_access_key": "s", "region_name": "eu-central-1", "s3_bucket_name": "abc"}
    environment = {
        "DEBUG": "true",
        "DATABASE_URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
        "UPLOAD_TOKENS": json.dumps({"tests": TOKEN}),
        "AWS_ACCOUNT_A": json.dumps(account | {"endpoint_url": "https://127.0.0.1:1"}),
    }

    def memory(field: str) -> int:
        status = Path(f"/proc/{process.process_id}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))

    process, clients = ServerProcess(free_port(), environment, tmp_path / "service.log"), 8
    try:
        await asyncio.to_thread(process.start)
        base = memory("VmRSS")
        asking = (asyncio.to_thread(write_first, process, "k", 64 * MiB, EARLY["413 declared"]) for _ in range(clients))
        assert await asyncio.gather(*asking) == [(413, "request_too_large", "close")] * clients
        peak = memory("VmHWM")
    finally:
        await asyncio.to_thread(process.stop)
    assert peak <= base + 8 * MiB + clients * MiB, f"{base=} {peak=}"


# --- what bounds it


async def keep_sending(connection: Connection, piece: bytes, pause_seconds: float) -> None:
    """Until the connection ends; the answer has been read."""
    ending = asyncio.ensure_future(connection.ended())
    while not ending.done():
        await connection.send(piece)
        await asyncio.wait((ending,), timeout=pause_seconds)
    assert await ending


@pytest.mark.parametrize(
    ("seconds", "silence_seconds", "piece"),
    [
        (0.6, 1000.0, PIECE),
        (1000.0, 0.3, b""),
        (1000.0, 0.3, b"x"),  # slower than the least rate
    ],
)
async def test_reading_on_ends_when_a_bound_is_met(seconds: float, silence_seconds: float, piece: bytes) -> None:
    discarding = Discarding(seconds=seconds, silence_seconds=silence_seconds)
    settings: dict[str, Any] = {"max_request_bytes": LIMIT, "min_bytes_per_second": 1000}
    async with running(three(), discarding=discarding, **settings) as service, connected(service) as connection:
        await connection.send(TOO_LARGE)
        assert_problem(await connection.answer(), 413, "request_too_large")
        await keep_sending(connection, piece, 0.05)
        await until(lambda: discarding.under_way == 0)


async def test_reading_on_goes_on_when_the_client_is_slow_but_steady() -> None:
    discarding = Discarding(seconds=1000.0, silence_seconds=1.0)
    settings: dict[str, Any] = {"max_request_bytes": LIMIT, "min_bytes_per_second": 1000}
    async with running(three(), discarding=discarding, **settings) as service, connected(service) as connection:
        await connection.send(TOO_LARGE)
        assert_problem(await connection.answer(), 413, "request_too_large")
        for _ in range(15):
            await connection.send(b"x" * 1000)
            await asyncio.sleep(0.1)
        assert discarding.under_way == 1


async def test_the_oldest_gives_way_when_too_many_are_read_on() -> None:
    discarding = Discarding(at_once=2)
    async with running(three(), discarding=discarding, max_request_bytes=LIMIT) as service, AsyncExitStack() as stack:
        connections = []
        for number in range(3):
            connections.append(await stack.enter_async_context(connected(service)))
            await connections[-1].send(TOO_LARGE)
            assert_problem(await connections[-1].answer(), 413, "request_too_large")
            await until(lambda number=number: discarding.under_way == min(number + 1, 2))  # type: ignore[misc]
        assert await connections[0].ended()
        assert discarding.under_way == 2


async def test_an_upload_finds_a_place_when_the_body_of_another_is_read_on() -> None:
    """The 502 comes from an upload that had the only place, and memory."""
    buckets = three(refuses_begin=1)
    async with running(buckets, max_request_bytes=0, max_uploads=1) as service, connected(service) as connection:
        await connection.send(head("PUT", "/files/k", "transfer-encoding: chunked"))
        await connection.send(*(b"%x\r\n%s\r\n" % (MiB, PIECE) for _ in range(10)))
        assert_problem(await connection.answer(), 502, "accounts_failed")
        await until(lambda: service.application.discarding.under_way == 1)
        assert_nothing_left(service, buckets)
        assert (await exchange(service, head("PUT", "/files/j", "content-length: 1"), b"x")).status_code == 201
        assert service.application.discarding.under_way == 1


async def test_the_service_ends_when_a_client_never_stops_sending() -> None:
    discarding = Discarding(seconds=1000.0)
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(running(three(), discarding=discarding, max_request_bytes=LIMIT))
        connection = await stack.enter_async_context(connected(service))
        await connection.send(TOO_LARGE)
        assert_problem(await connection.answer(), 413, "request_too_large")
        await until(lambda: discarding.under_way == 1)
        sending = asyncio.ensure_future(keep_sending(connection, b"x" * 1000, 0.05))
        began = time.monotonic()
        await service.application.drain(0)
        await until(lambda: discarding.under_way == 0)
        await sending
        assert time.monotonic() - began < 10


async def test_no_100_is_told_when_the_answer_is_final() -> None:
    """The client waits for a 100 before it sends, and would send all of it for nothing."""

    async def told(service: Listening) -> bytes:
        host, _, port = service.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(TOO_LARGE.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
            async with asyncio.timeout(BOUND_SECONDS):
                return await reader.read()
        finally:
            writer.close()

    discarding = Discarding(silence_seconds=0.3)
    async with running(three(), discarding=discarding, max_request_bytes=LIMIT) as service:
        for answer in await asyncio.gather(*(told(service) for _ in range(30))):
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert answer.count(b"HTTP/1.1 ") == 1


async def test_the_answer_is_read_when_the_client_does_not_wait_for_its_100() -> None:
    async with running(three(), max_request_bytes=LIMIT) as service:
        first = head("PUT", "/files/k", f"content-length: {20 * MiB}", "expect: 100-continue")
        assert_problem(await exchange(service, first, *pieces(20 * MiB)), 413, "request_too_large")
