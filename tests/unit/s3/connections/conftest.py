"""The other end of our own connections: a socket that a test reads, writes, and closes itself, on both event loops."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
import uvloop

WAIT_SECONDS = 20
REQUEST = b"GET / HTTP/1.1\r\nhost: store\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of the service, and Python's own, which has other transports."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@dataclass
class Peer:
    """One accepted connection."""

    sock: socket.socket

    async def receive(self) -> bytes:
        """The next bytes; none when the connection has ended in any way."""
        with suppress(ConnectionError):
            async with asyncio.timeout(WAIT_SECONDS):
                return await asyncio.get_running_loop().sock_recv(self.sock, 65536)
        return b""

    async def request(self) -> bytes:
        """The bytes of one request without a body."""
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            more = await self.receive()
            assert more, received
            received += more
        return received

    def send(self, data: bytes) -> None:
        """At once, before the event loop turns: it is in the client's kernel when this returns."""
        self.sock.send(data)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@dataclass
class Listener:
    sock: socket.socket
    peers: list[Peer]

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    async def accept(self) -> Peer:
        async with asyncio.timeout(WAIT_SECONDS):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        self.peers.append(Peer(sock))
        return self.peers[-1]

    def has_more(self) -> bool:
        """Whether there is another connection that was not accepted."""
        try:
            sock, _ = self.sock.accept()
        except BlockingIOError:
            return False
        sock.close()
        return True


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as sock:
        sock.setblocking(False)
        listening = Listener(sock, [])
        yield listening
        for peer in listening.peers:
            peer.sock.close()
