"""Clients that ask for a file and then read nothing: many of them cost their owner nothing."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from file.logic.values import KiB
from tests.unit.api.rawhttp import Listening

_RECEIVE_BYTES = 32 * KiB  # small: what the client's kernel takes for it, the service has got rid of
_HEAD_BYTES = 4 * KiB
_PAUSE_SECONDS = 0.05


class IdleReader:
    """One connection. What has arrived lies in the kernel: a look at it takes nothing out."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    @property
    def status(self) -> int | None:
        """Of the answer, once its head is there."""
        try:
            arrived = self._connection.recv(_HEAD_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except ConnectionError:
            return 0
        line = arrived.partition(b"\r\n")[0].split(b" ")
        return int(line[1]) if len(line) > 1 else 0

    def head(self) -> bytes:
        return self._connection.recv(_HEAD_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT).partition(b"\r\n\r\n")[0]

    def read_to_the_end(self) -> int:
        """How many bytes come before the connection ends or breaks."""
        self._connection.settimeout(10)
        received = 0
        try:
            while piece := self._connection.recv(64 * KiB):
                received += len(piece)
        except ConnectionError:
            pass
        return received


@contextmanager
def idle_readers(service: Listening, number: int, path: str, token: str) -> Iterator[list[IdleReader]]:
    """So many of them, which have asked for the path."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    request = f"GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n".encode()
    with ExitStack() as stack:
        readers = []
        for _ in range(number):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
            connection.connect((host, int(port)))
            connection.sendall(request)
            readers.append(IdleReader(connection))
        yield readers


async def until_answered(readers: list[IdleReader], status: int, number: int) -> list[IdleReader]:
    """Those that have this answer, once there are so many."""
    async with asyncio.timeout(30):
        while len(found := [reader for reader in readers if reader.status == status]) < number:  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE_SECONDS)  # nothing signals what lies in so many sockets
    return found
