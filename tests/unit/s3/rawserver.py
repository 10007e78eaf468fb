"""A server that answers every request with the same bytes: for answers that no S3 server gives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.unit.s3.network import listening


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """The server's address; it reads a whole request, answers, and closes the connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = next((line[15:] for line in head.split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        await reader.readexactly(int(length))
        writer.write(answer)

    async with listening(connected) as port:
        yield f"http://127.0.0.1:{port}"


def ok(body: bytes, *headers: str) -> bytes:
    """A 200 with this body."""
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
