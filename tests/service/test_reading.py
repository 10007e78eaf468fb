"""Reading from real accounts: which account gives the file when others are in trouble, and what the client gets."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from file.logic.values import FILE_ID, KiB, MiB, Stored
from testkit.faults.faults import Fault
from testkit.seaweed import Seaweed
from tests.buckets import s3_buckets
from tests.files import bytes_of
from tests.processes import memory_of
from tests.readers import TOKEN, reading, reading_from
from tests.service.conftest import Accounts, Proxied
from tests.service.owners import delete, overwrite
from tests.unit.api.expectations import assert_problem
from tests.unit.s3.network import listening

CONTENT = bytes_of(3 * MiB + 7)
SMALL = b"content"
PIECE = 64 * KiB
FILE = 64 * MiB
HELD_BY_SOCKETS = 56 * MiB  # the kernel gives a fast sender more than 32 MiB per connection


async def first_piece(pieces: AsyncIterator[bytes]) -> bytes:
    return await asyncio.wait_for(anext(pieces), 10)


# --- before the first byte


TROUBLES: dict[str, tuple[Callable[[Seaweed], object], str]] = {
    "stopped": (Seaweed.kill, "account_unreachable"),
    "revoked": (Seaweed.revoke, "access_refused"),
    "lost": (lambda store: delete(store.account), "replica_missing"),
    "replaced": (lambda store: overwrite(store.account, b"another's"), "replica_missing"),
    "replaced by an equal one": (lambda store: overwrite(store.account, CONTENT), "replica_missing"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_another_account_gives_the_file_when_the_first_one_is_in_trouble(
    trouble: str, stores: dict[str, Seaweed], accounts: Accounts
) -> None:
    harm, code = TROUBLES[trouble]
    async with reading_from(*accounts.values()) as reader:
        await reader.store("k", CONTENT)
        await asyncio.to_thread(harm, stores["A"])
        whole, part = await reader.get("/files/k"), await reader.get("/files/k", Range="bytes=1000000-1000009")
        assert (whole.status_code, whole.content) == (200, CONTENT)
        assert (part.status_code, part.content) == (206, CONTENT[1_000_000:1_000_010])
        assert (await reader.get("/files/k", "HEAD")).status_code == 200
        await asyncio.to_thread(harm, stores["B"])
        await asyncio.to_thread(delete, accounts["C"])
        unreadable = await reader.get("/files/k")
        told = {name: each["error"]["code"] for name, each in unreadable.json()["accounts"].items()}
        assert (unreadable.status_code, told) == (502, {"A": code, "B": code, "C": "replica_missing"})
        assert (await reader.get("/files/k", "HEAD")).status_code == 502


async def test_another_account_gives_the_file_when_one_never_answers(proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    proxy.add(Fault.stalls(operation="get", times=None))
    async with reading_from(proxy.account, accounts["B"]) as reader:
        await reader.store("k", CONTENT)
        assert (await reader.get("/files/k")).content == CONTENT
        assert len(proxy.seen("get")) == 1


async def test_another_account_gives_the_file_when_the_first_is_busy(proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    proxy.add(Fault.slows(256 * KiB, operation="get"))
    # A wait for the first account would be longer than the client's timeout.
    async with reading_from(proxy.account, accounts["B"], reads=1, stall_seconds=40.0) as reader:
        await reader.store("k", CONTENT)
        async with reader.client() as client, client.stream("GET", "/files/k") as slow:
            pieces = slow.aiter_raw()  # kept, because the request would end with it
            await first_piece(pieces)
            part = await reader.get("/files/k", Range="bytes=0-9")
            assert (part.status_code, part.content) == (206, CONTENT[:10])
            assert len(proxy.seen("get")) == 1
        await proxy.wait_until("get", ended=True)
        assert (await reader.get("/files/k", Range="bytes=0-9")).status_code == 206
        assert len(proxy.seen("get")) == 2


async def test_the_service_is_busy_when_every_account_is_busy(proxied: Proxied, accounts: Accounts) -> None:
    proxies = first, second = [proxied("A"), proxied("B")]
    # A wait for the second account would be longer than the client's timeout.
    async with (
        s3_buckets(first.account, reads=1, stall_seconds=1.0) as waited_for,
        s3_buckets(second.account, reads=1, stall_seconds=300.0) as not_waited_for,
        reading([*waited_for, *not_waited_for]) as reader,
    ):
        await reader.store("k", CONTENT)
        async with reader.client() as client, AsyncExitStack() as slow:
            for proxy in proxies:
                proxy.add(Fault.slows(256 * KiB, operation="get"))
                answer = await slow.enter_async_context(client.stream("GET", "/files/k"))
                assert answer.status_code == 200
                await proxy.wait_until("get")
            refused = await reader.get("/files/k", Range="bytes=0-9")
            assert_problem(refused, 503, "busy")
            assert "retry-after" in refused.headers


# --- in the middle


@pytest.mark.parametrize(("headers", "begins_at"), [({}, 0), ({"range": "bytes=1000-"}, 1000)])
async def test_another_account_goes_on_when_the_first_breaks_off(
    headers: dict[str, str], begins_at: int, proxied: Proxied
) -> None:
    first, second = proxied("A"), proxied("B")
    first.add(Fault.slows(1 * MiB, operation="get"))
    async with reading_from(first.account, second.account) as reader:
        await reader.store("k", CONTENT)
        async with reader.client() as client, client.stream("GET", "/files/k", headers=headers) as answer:
            pieces = answer.aiter_raw()
            received = [await first_piece(pieces)]
            await asyncio.to_thread(first.refuse_connections)
            received += [piece async for piece in pieces]
        assert b"".join(received) == CONTENT[begins_at:]
        [asked] = second.seen("get")
        begin, _, end = asked.headers["range"].removeprefix("bytes=").partition("-")
        assert int(begin) > 1000
        assert int(end) == len(CONTENT) - 1


async def test_another_account_goes_on_when_the_first_stalls(accounts: Accounts) -> None:
    given = 2 * PIECE + 100
    told: list[str] = []

    async def half_of_it(incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter) -> None:
        await incoming.readuntil(b"\r\n\r\n")
        head = "\r\n".join(["HTTP/1.1 200 OK", f"content-length: {len(CONTENT)}", *told])
        outgoing.write(head.encode() + b"\r\n\r\n" + CONTENT[:given])
        await incoming.read()

    async with (
        listening(half_of_it) as port,
        s3_buckets(accounts["A"], accounts["B"]) as real,
        s3_buckets(accounts["A"].at(f"http://127.0.0.1:{port}"), stall_seconds=0.5) as [stalling],
        reading([stalling, real[1]]) as reader,
    ):
        receipt = await reader.store("k", CONTENT, into=real)
        stored = receipt.outcomes[0]
        assert isinstance(stored, Stored)
        told += [f"etag: {stored.etag}", f"x-amz-meta-{FILE_ID}: {receipt.id}"]
        with capture_logs() as logs:
            assert (await reader.get("/files/k")).content == CONTENT
        [failed] = [line for line in logs if line["event"] == "read_failed"]
        assert (failed["account"], failed["code"]) == ("A", "account_stalled")
        assert PIECE <= failed["at"] <= given


async def test_the_connection_breaks_when_no_account_can_go_on(proxied: Proxied) -> None:
    proxy = proxied("A")
    proxy.add(Fault.slows(1 * MiB, operation="get"))
    async with reading_from(proxy.account) as reader:
        await reader.store("k", CONTENT)
        async with reader.client() as client, client.stream("GET", "/files/k") as answer:
            pieces = answer.aiter_raw()
            received = len(await first_piece(pieces))
            await asyncio.to_thread(proxy.refuse_connections)
            with pytest.raises(httpx.RemoteProtocolError):
                received += sum([len(piece) async for piece in pieces])
        assert received < len(CONTENT)


async def test_another_account_gives_a_small_file_when_bytes_were_damaged(proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    proxy.add(Fault.damages_reply(operation="get"))
    async with reading_from(proxy.account, accounts["B"]) as reader:
        await reader.store("k", SMALL)
        assert (await reader.get("/files/k")).content == SMALL
        assert len(proxy.seen("get")) == 1


# --- ranges, and files of many pieces


async def test_every_part_is_right_when_it_is_asked_for(accounts: Accounts) -> None:
    size = len(CONTENT)
    async with reading_from(*accounts.values()) as reader:
        await reader.store("k", CONTENT)
        starts = [(0, 1), (0, PIECE), (0, size), (1, size), (PIECE - 1, PIECE + 1)]
        for start, stop in (*starts, (size - 1, size), (size // 2, size // 2 + PIECE)):
            answer = await reader.get("/files/k", Range=f"bytes={start}-{stop - 1}")
            assert answer.status_code == 206
            assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert answer.content == CONTENT[start:stop]


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
async def test_head_has_the_headers_of_get_when_the_file_is_there(content: bytes, accounts: Accounts) -> None:
    async with reading_from(*accounts.values()) as reader:
        await reader.store("k", content, metadata={"colour": "blue"})
        get, head = await reader.get("/files/k"), await reader.get("/files/k", "HEAD")
        for name in ("date", "x-request-id"):
            get.headers.pop(name, None)
            head.headers.pop(name, None)
        assert (get.content, head.content) == (content, b"")
        assert head.headers == get.headers
        assert get.headers["content-length"] == str(len(content))


# --- a slow reader


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("leaves", [False, True])
async def test_little_is_held_when_the_reader_is_slow(leaves: bool, proxied: Proxied) -> None:
    proxy, content = proxied("A"), bytes_of(FILE)
    async with reading_from(proxy.account) as reader:
        await reader.store("k", content)
        reading_socket = socket.socket()
        reading_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
        host, _, port = reader.url.removeprefix("http://").partition(":")
        reading_socket.connect((host, int(port)))
        incoming, outgoing = await asyncio.open_connection(sock=reading_socket, limit=PIECE)
        before = memory_of(os.getpid(), "VmRSS")
        outgoing.write(f"GET /files/k HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
        [request] = await proxy.wait_until("get")
        taken = -1
        while taken != request.reply_bytes or not taken:  # until the reply stands still
            taken = request.reply_bytes
            await asyncio.sleep(0.5)
        assert taken < HELD_BY_SOCKETS
        assert memory_of(os.getpid(), "VmRSS") - before < 24 * MiB  # with the proxy's part
        if leaves:
            outgoing.transport.abort()
        else:
            await incoming.readuntil(b"\r\n\r\n")
            received = 0
            while received < len(content):
                piece = await asyncio.wait_for(incoming.read(PIECE), 10)
                assert piece == content[received : received + len(piece)]
                received += len(piece)
            assert memory_of(os.getpid(), "VmRSS") - before < 24 * MiB
            outgoing.close()
        await proxy.wait_until("get", ended=True)
        assert (request.reply_bytes < len(content)) == leaves
