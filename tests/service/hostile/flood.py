"""A client that keeps as many connections open as it can, and asks for nothing on any of them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


class Flood:
    """`opened` counts the connections, those included that the service closed and that were opened again."""

    def __init__(self) -> None:
        self.opened = 0
        self.is_full = asyncio.Event()


@asynccontextmanager
async def flooded(url: str, *, connections: int, address: str, begin: bytes = b"") -> AsyncIterator[Flood]:
    """Until the block ends, from this address of loopback. `begin` is written on each connection."""
    flood, place = Flood(), (urlsplit(url).hostname, urlsplit(url).port)

    async def keep_one() -> None:
        while True:
            with socket.socket() as connection:
                connection.setblocking(False)
                connection.bind((address, 0))
                with suppress(OSError):
                    await asyncio.get_running_loop().sock_connect(connection, place)
                    flood.opened += 1
                    if flood.opened >= connections:
                        flood.is_full.set()
                    await asyncio.get_running_loop().sock_sendall(connection, begin)
                    while await asyncio.get_running_loop().sock_recv(connection, 4096):
                        pass

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keep_one()) for _ in range(connections)]
        try:
            async with asyncio.timeout(30):
                await flood.is_full.wait()
            yield flood
        finally:
            for task in tasks:
                task.cancel()
