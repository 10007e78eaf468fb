"""Two requests of one connection overlap for a moment: the second one is under way until it ends itself."""

import asyncio
import socket

import pytest
from starlette.types import Receive, Scope, Send

from file.management.server.connections import ConnectionLimits, ConnectionWatch, can_be_seen

pytestmark = pytest.mark.skipif(not can_be_seen(), reason="this system does not tell what has arrived")


class Held:
    """An application whose requests end when they are told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Queue[asyncio.Event]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ends = asyncio.Event()
        self.begun.put_nowait(ends)
        await ends.wait()


async def nothing(*_: object) -> None:
    """Neither sends nor receives."""


async def test_a_request_is_under_way_when_the_one_before_ends_after_it_has_begun() -> None:
    """A slow body on a kept connection was taken for a slow head, and ended."""
    held = Held()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        client.connect(listening.getsockname())
        server, (host, port) = listening.accept()
        watch = ConnectionWatch(held, listening.getsockname()[1], ConnectionLimits(75, 1.0, connections=100))
        scope = {"type": "http", "client": (host, str(port))}
        with server:
            server.setblocking(False)
            first = asyncio.ensure_future(watch(scope, nothing, nothing))  # type: ignore[arg-type]
            first_ends = await held.begun.get()
            second = asyncio.ensure_future(watch(scope, nothing, nothing))  # type: ignore[arg-type]
            second_ends = await held.begun.get()
            first_ends.set()
            await first
            assert await is_left_alone_by(watch, client, server)
            second_ends.set()
            await second
            assert not await is_left_alone_by(watch, client, server)  # now it is a head that does not end


async def is_left_alone_by(watch: ConnectionWatch, client: socket.socket, server: socket.socket) -> bool:
    """Whether the connection may still be read after a byte a look, for more looks than a head may take."""
    for _ in range(8):
        client.sendall(b"x")
        await watch.check(regular=True)
    while True:
        try:
            if not server.recv(64):
                return False
        except BlockingIOError:
            return True
