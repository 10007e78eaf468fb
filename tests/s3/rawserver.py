"""A server that answers every request with the same bytes: for answers that no S3 server gives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

HEAD_BYTES = 64 * 1024


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """The server's address; it reads a whole request, answers, and closes the connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = next((line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b"0")
            await reader.readexactly(int(length))
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has seen enough
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=HEAD_BYTES)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def ok(body: bytes, *headers: str) -> bytes:
    """A 200 with this body."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
