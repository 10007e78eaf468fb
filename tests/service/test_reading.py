"""Reading from real accounts: which one gives the file when others are in trouble, and what a client gets to see.

The files are put into the accounts through the seam, so that a test can say what lies where.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from file.logic.values import FILE_ID, KiB, MiB, Stored
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.seaweed import Seaweed
from tests.buckets import s3_buckets
from tests.files import bytes_of
from tests.readers import TOKEN, reading, reading_from
from tests.unit.api.expectations import assert_problem
from tests.unit.s3.network import listening

CONTENT = bytes_of(3 * MiB + 7)
SMALL = b"content"
PIECE = 64 * KiB
FILE = 64 * MiB
HELD_BY_SOCKETS = 56 * MiB  # the kernel's, which lets a fast sender have up to 32 MiB and more a connection

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]


async def first_piece(pieces: AsyncIterator[bytes]) -> bytes:
    return await asyncio.wait_for(anext(pieces), 10)


# --- before the first byte


def lose(account: StoreAccount) -> None:
    account.boto3().delete_object(Bucket=account.s3_bucket_name, Key="k")


def replace(account: StoreAccount, body: bytes = b"another's") -> None:
    account.boto3().put_object(Bucket=account.s3_bucket_name, Key="k", Body=body)


def replace_with_the_same(account: StoreAccount) -> None:
    replace(account, CONTENT)


TROUBLES: dict[str, tuple[Callable[[Seaweed], object], str]] = {
    "stopped": (Seaweed.kill, "account_unreachable"),
    "revoked": (Seaweed.revoke, "access_refused"),
    "lost": (lambda store: lose(store.account), "replica_missing"),
    "replaced": (lambda store: replace(store.account), "replica_missing"),
    "replaced by an equal one": (lambda store: replace_with_the_same(store.account), "replica_missing"),
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
        await asyncio.to_thread(lose, accounts["C"])
        unreadable = await reader.get("/files/k")
        told = {name: each["error"]["code"] for name, each in unreadable.json()["accounts"].items()}
        assert (unreadable.status_code, told) == (502, {"A": code, "B": code, "C": "replica_missing"})
        assert (await reader.get("/files/k", "HEAD")).status_code == 502


async def test_another_account_gives_the_file_when_the_first_one_never_answers(
    proxied: Proxied, accounts: Accounts
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.stalls(operation="get", times=None))
    async with reading_from(proxy.account, accounts["B"]) as reader:
        await reader.store("k", CONTENT)
        assert (await reader.get("/files/k")).content == CONTENT
        assert len(proxy.seen("get")) == 1


async def test_another_account_gives_the_file_when_too_many_are_read_from_the_first_one(
    proxied: Proxied, accounts: Accounts
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.slows(256 * KiB, operation="get"))
    # Without waiting for the first one: that would take longer than the client waits.
    async with reading_from(proxy.account, accounts["B"], reads=1, stall_seconds=40.0) as reader:
        await reader.store("k", CONTENT)
        async with reader.client() as client, client.stream("GET", "/files/k") as slow:
            pieces = slow.aiter_raw()  # which would end the request if nobody kept it
            await first_piece(pieces)
            part = await reader.get("/files/k", Range="bytes=0-9")
            assert (part.status_code, part.content) == (206, CONTENT[:10])
            assert len(proxy.seen("get")) == 1
        await proxy.wait_until("get", ended=True)
        assert (await reader.get("/files/k", Range="bytes=0-9")).status_code == 206
        assert len(proxy.seen("get")) == 2


async def test_the_service_is_busy_when_too_many_are_read_from_every_account(
    proxied: Proxied, accounts: Accounts
) -> None:
    proxies = first, second = [proxied("A"), proxied("B")]
    # The second one would be waited for longer than the client waits.
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


@pytest.mark.parametrize("wanted", [None, "bytes=1000-"])
async def test_another_account_goes_on_when_the_first_one_breaks_in_the_middle(
    wanted: str | None, proxied: Proxied
) -> None:
    first, second = proxied("A"), proxied("B")
    first.add(Fault.slows(1 * MiB, operation="get"))
    headers = {} if wanted is None else {"range": wanted}
    async with reading_from(first.account, second.account) as reader:
        await reader.store("k", CONTENT)
        async with reader.client() as client, client.stream("GET", "/files/k", headers=headers) as answer:
            pieces = answer.aiter_raw()
            received = [await first_piece(pieces)]
            await asyncio.to_thread(first.refuse_connections)
            received += [piece async for piece in pieces]
        assert b"".join(received) == CONTENT[1000 if wanted else 0 :]
        [asked] = second.seen("get")
        begin, _, end = asked.headers["range"].removeprefix("bytes=").partition("-")
        assert int(begin) > 1000
        assert int(end) == len(CONTENT) - 1


async def test_another_account_goes_on_when_the_first_one_stalls_in_the_middle(accounts: Accounts) -> None:
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
        received = 0
        async with reader.client() as client, client.stream("GET", "/files/k") as answer:
            pieces = answer.aiter_raw()
            received += len(await first_piece(pieces))
            await asyncio.to_thread(proxy.refuse_connections)
            with pytest.raises(httpx.RemoteProtocolError):
                received += sum([len(piece) async for piece in pieces])
        assert received < len(CONTENT)


async def test_another_account_gives_a_small_file_when_the_bytes_were_damaged(
    proxied: Proxied, accounts: Accounts
) -> None:
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
        for start, stop in (
            (0, 1),
            (0, PIECE),
            (PIECE - 1, PIECE + 1),
            (1, size),
            (0, size),
            (size - 1, size),
            (size // 2, size // 2 + PIECE),
        ):
            answer = await reader.get("/files/k", Range=f"bytes={start}-{stop - 1}")
            assert answer.status_code == 206
            assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
            assert answer.content == CONTENT[start:stop]


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
async def test_head_tells_what_get_tells_when_the_file_is_there(content: bytes, accounts: Accounts) -> None:
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


def resident_bytes() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * KiB


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
        before = resident_bytes()
        outgoing.write(f"GET /files/k HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
        [request] = await proxy.wait_until("get")
        taken = -1
        while taken != request.reply_bytes or not taken:  # until nothing more is taken
            taken = request.reply_bytes
            await asyncio.sleep(0.5)
        assert taken < HELD_BY_SOCKETS
        assert resident_bytes() - before < 24 * MiB  # the proxy's part of it, too
        if leaves:
            outgoing.transport.abort()
        else:
            await incoming.readuntil(b"\r\n\r\n")
            received = 0
            while received < len(content):
                piece = await asyncio.wait_for(incoming.read(PIECE), 10)
                assert piece == content[received : received + len(piece)]
                received += len(piece)
            assert resident_bytes() - before < 24 * MiB
            outgoing.close()
        await proxy.wait_until("get", ended=True)
        assert (request.reply_bytes < len(content)) == leaves
