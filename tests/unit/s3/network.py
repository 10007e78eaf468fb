"""Between the service and an account: TLS in front of a store, and a proxy for CONNECT.

Both run in the test's event loop; no connection outlives its block.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import trustme

READ_BYTES = 256 * 1024
Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(connected: Connected, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that calls `connected` for each connection, and closes it afterwards."""
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        conversations.add(task)
        try:
            # The other end closed the connection, or the block ends.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await connected(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            conversations.discard(task)

    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        ending = list(conversations)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.sleep(0)  # in which the aborted connections are closed


@asynccontextmanager
async def tls_before(port: int, certificate: trustme.LeafCert) -> AsyncIterator[int]:
    """The port of a TLS server with this certificate, which forwards everything to `port` without TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)

    async with listening(lambda reader, writer: _join(reader, writer, port), context) as tls_port:
        yield tls_port


@dataclass
class ConnectProxy:
    """`asked`: the targets of the CONNECTs. All are connected to `port`, so that their hosts need not exist.

    `wants`: the user and password without which it answers 407.
    """

    port: int
    wants: str | None = None
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ConnectProxy"]:
        async with listening(self._connected) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.asked.append(line.removesuffix(" HTTP/1.1"))
        if self._lets_in(headers):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _join(reader, writer, self.port)
        else:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    def _lets_in(self, headers: list[str]) -> bool:
        if self.wants is None:
            return True
        given = f"proxy-authorization: Basic {base64.b64encode(self.wants.encode()).decode()}"
        return given.lower() in (header.lower() for header in headers)


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Forward bytes in both directions until either side closes the connection."""
    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
    ways = ((reader, other_writer), (other_reader, writer))
    passing = [asyncio.ensure_future(_pass_on(source, target)) for source, target in ways]
    try:
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
    finally:
        other_writer.transport.abort()
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while received := await reader.read(READ_BYTES):
        writer.write(received)
        await writer.drain()
