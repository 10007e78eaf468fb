"""An upload by a client that reads while it sends, as curl does.

If an account fails, the answer may come before the last byte is sent. The service then reads on only for a time
(docs/errors.md), so a client that sends everything before it reads may lose the answer.
"""

import asyncio
from contextlib import suppress

import h11
import httpx

from tests.serving import HEADERS, Running

ANSWERED_SECONDS = 60.0
_PIECE_BYTES = 256 * 1024


async def put(service: Running, body: bytes, *, ack: str, key: str = "k") -> httpx.Response:
    """`PUT /files/{key}`, with this ack."""
    url = httpx.URL(service.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    protocol = h11.Connection(h11.CLIENT)
    headers = {**HEADERS, "host": url.host, "content-length": str(len(body)), "upload-ack": ack}
    writer.write(protocol.send(h11.Request(method="PUT", target=f"/files/{key}", headers=list(headers.items()))) or b"")
    sending = asyncio.create_task(_send(writer, body))
    try:
        async with asyncio.timeout(ANSWERED_SECONDS):
            return await _answer(reader, protocol)
    finally:
        sending.cancel()
        await asyncio.wait((sending,))
        writer.transport.abort()


async def _send(writer: asyncio.StreamWriter, body: bytes) -> None:
    with suppress(ConnectionError):  # the answer says why
        for start in range(0, len(body), _PIECE_BYTES):
            writer.write(body[start : start + _PIECE_BYTES])
            await writer.drain()


async def _answer(reader: asyncio.StreamReader, protocol: h11.Connection) -> httpx.Response:
    head: h11.Response | None = None
    received = b""
    while True:
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            protocol.receive_data(await reader.read(_PIECE_BYTES))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            received += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None  # the protocol's own order
            return httpx.Response(head.status_code, headers=list(head.headers), content=received)
        else:
            raise AssertionError(f"instead of an answer: {event}")
