"""Which connection a request gets: one that is sound, or a new one; and what becomes of it afterwards."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from file.s3.connections.answers import RawAnswer
from file.s3.connections.dialing import Dialer
from file.s3.connections.pool import MOST_KEPT, Pool
from tests.unit.s3.connections.conftest import OK, REQUEST, WAIT_SECONDS, Listener, Peer

CLOSED_MEANWHILE: dict[str, Callable[[Peer], None]] = {
    "closed": lambda peer: peer.sock.close(),
    "reset": Peer.reset,
    "an answer that nobody asked for": lambda peer: peer.send(OK),
    "a byte that nobody asked for": lambda peer: peer.send(b"x"),
}
NOT_KEPT = {
    "Connection: close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "surplus": OK + b"x",
    "two answers": OK + OK,
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n",
}


@pytest.fixture
async def pool(listener: Listener) -> AsyncIterator[Pool]:
    opened = Pool(Dialer("http", f"127.0.0.1:{listener.port}", None, seconds=WAIT_SECONDS), idle_seconds=600)
    yield opened
    await opened.close()


def ask(pool: Pool, request: bytes = REQUEST) -> asyncio.Task[RawAnswer]:
    return asyncio.ensure_future(pool.exchange(request, to_head=False, most=1000))


async def answered(pool: Pool, peer: Peer) -> RawAnswer:
    """A request that gets `OK` at this peer."""
    asked = ask(pool)
    assert await peer.request() == REQUEST
    peer.send(OK)
    return await asked


async def connected(pool: Pool, listener: Listener, answer: bytes = OK) -> Peer:
    """The other end of a new connection, after an answer on it."""
    asked = ask(pool)
    peer = await listener.accept()
    await peer.request()
    peer.send(answer)
    await asked
    return peer


async def test_a_connection_is_used_again_when_nothing_is_left_on_it(pool: Pool, listener: Listener) -> None:
    peer = await connected(pool, listener)
    for _ in range(3):
        assert (await answered(pool, peer)).body == b"ok"
    assert not listener.has_more()


@pytest.mark.parametrize("why", NOT_KEPT)
async def test_a_connection_is_closed_when_something_may_be_left_on_it(
    why: str, pool: Pool, listener: Listener
) -> None:
    peer = await connected(pool, listener, NOT_KEPT[why])
    assert await peer.receive() == b""
    await connected(pool, listener)


async def test_an_answer_without_a_length_ends_with_its_connection(pool: Pool, listener: Listener) -> None:
    asked = ask(pool)
    peer = await listener.accept()
    await peer.request()
    peer.send(b"HTTP/1.1 500 x\r\n\r\nbroken")
    peer.sock.close()
    assert (await asked).body == b"broken"
    await connected(pool, listener)


@pytest.mark.parametrize("how", CLOSED_MEANWHILE)
async def test_a_request_goes_over_a_new_connection_when_the_kept_one_ended_meanwhile(
    how: str, pool: Pool, listener: Listener
) -> None:
    """The event loop has not noticed it: it did not turn."""
    peer = await connected(pool, listener)
    CLOSED_MEANWHILE[how](peer)
    second = await connected(pool, listener)
    if peer.sock.fileno() >= 0:
        assert await peer.receive() == b""
    await answered(pool, second)


@pytest.mark.parametrize("how", CLOSED_MEANWHILE)
async def test_a_kept_connection_is_closed_when_the_event_loop_sees_its_end(
    how: str, pool: Pool, listener: Listener
) -> None:
    peer = await connected(pool, listener)
    CLOSED_MEANWHILE[how](peer)
    if peer.sock.fileno() >= 0:
        assert await peer.receive() == b""
    await connected(pool, listener)


async def test_an_early_answer_counts_and_the_connection_is_closed(pool: Pool, listener: Listener) -> None:
    asked = ask(pool, REQUEST + b"x" * 64 * 1024 * 1024)
    peer = await listener.accept()
    await peer.receive()
    peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert (await asked).status == 403
    while await peer.receive():
        pass
    await connected(pool, listener)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
@pytest.mark.parametrize("end", [lambda peer: peer.sock.close(), Peer.reset], ids=["closed", "reset"])
async def test_the_answer_is_lost_when_the_connection_ends_before_it(
    end: Callable[[Peer], None], answer: bytes, pool: Pool, listener: Listener
) -> None:
    asked = ask(pool)
    peer = await listener.accept()
    await peer.request()
    if answer:
        peer.send(answer)
    end(peer)
    with pytest.raises(EOFError, match="ended before the answer"):
        await asked
    assert not listener.has_more()  # it is not repeated
    await connected(pool, listener)


async def test_the_answer_is_lost_when_what_arrives_is_none(pool: Pool, listener: Listener) -> None:
    asked = ask(pool)
    peer = await listener.accept()
    await peer.request()
    peer.send(b"220 mail.example ESMTP\r\n\r\n")
    with pytest.raises(EOFError, match="is no answer: its head is not well-formed"):
        await asked
    assert await peer.receive() == b""
    await connected(pool, listener)


async def test_the_connection_is_closed_when_the_request_is_cancelled(pool: Pool, listener: Listener) -> None:
    asked = ask(pool)
    peer = await listener.accept()
    await peer.request()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await peer.receive() == b""
    second = await connected(pool, listener)
    asked = ask(pool)
    await second.request()
    second.send(OK)  # it arrives with the cancellation
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await second.receive() == b""
    await connected(pool, listener)


async def test_dialing_ends_when_the_request_is_cancelled(pool: Pool, listener: Listener) -> None:
    for turns in range(12):
        asked = ask(pool)
        for _ in range(turns):
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    last = b"GET /last HTTP/1.1\r\n\r\n"
    asked = ask(pool, last)
    while True:
        peer = await listener.accept()
        received = b""
        while received != last and (more := await peer.receive()):  # the cancelled ones are closed
            received += more
        if received == last:
            break
    peer.send(OK)
    await asked


async def test_nothing_is_sent_when_there_is_no_connection(listener: Listener) -> None:
    pool = Pool(Dialer("http", f"127.0.0.1:{listener.port}", None, seconds=WAIT_SECONDS), idle_seconds=600)
    listener.sock.close()
    with pytest.raises(ConnectionRefusedError):
        await ask(pool)
    await pool.close()


async def test_idle_connections_are_closed_in_time_and_not_more_than_some_are_kept(listener: Listener) -> None:
    pool = Pool(Dialer("http", f"127.0.0.1:{listener.port}", None, seconds=WAIT_SECONDS), idle_seconds=0.3)
    asked = [ask(pool) for _ in range(MOST_KEPT + 1)]
    peers = [await listener.accept() for _ in asked]
    for peer in peers:
        await peer.request()
        peer.send(OK)
    await asyncio.gather(*asked)
    ends = [asyncio.ensure_future(peer.receive()) for peer in peers]
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    assert {await end for end in ends} == {b""}
    assert loop.time() - started >= 0.2  # all but one waited
    await connected(pool, listener)  # the timer goes on
    assert await listener.peers[-1].receive() == b""
    await pool.close()


async def test_connections_are_closed_with_the_pool_and_one_with_a_request_after_it(listener: Listener) -> None:
    pool = Pool(Dialer("http", f"127.0.0.1:{listener.port}", None, seconds=WAIT_SECONDS), idle_seconds=600)
    first, second = ask(pool), ask(pool)
    idle, busy = await listener.accept(), await listener.accept()
    await idle.request()
    await busy.request()
    idle.send(OK)
    await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
    await pool.close()
    assert await idle.receive() == b""
    busy.send(OK)
    assert {(await asked).body for asked in (first, second)} == {b"ok"}
    assert await busy.receive() == b""
