"""HTTP/1.1 byte by byte: requests that no well-behaved client sends, and what the service answers to them.

A `Connection` writes exactly the given bytes and reads one answer after the other. Everything has a time limit.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from testkit.serviceprocess import TOKEN

BOUND_SECONDS = 10.0
BOUNDARY = "the-boundary"
CHUNKED = "transfer-encoding: chunked"


class Listening(Protocol):
    """A service, or a proxy in front of one."""

    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class Answer:
    """Status 0: the connection ended without an answer. The names are those of httpx."""

    status_code: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Write, and go on when the service has stopped reading: it may have answered already."""
        try:
            for piece in pieces:
                self._writer.write(piece)
                async with asyncio.timeout(BOUND_SECONDS):
                    await self._writer.drain()
        except ConnectionError:
            return

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The answer to HEAD has no body, but may have a length."""
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
                headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
                size = 0 if to_head else int(headers.get("content-length", "0"))
                body = await self._reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return Answer(0, {}, b"")
        return Answer(int(line.split(" ")[1]), headers, body)

    async def ended(self) -> bool:
        """Whether the service closes the connection, without another byte."""
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                return await self._reader.read(1) == b""
        except ConnectionError:
            return True

    @property
    def is_broken(self) -> bool:
        """Whether bytes that we sent came to a closed connection."""
        return self._writer.transport.is_closing()

    def end_of_sending(self) -> None:
        """Close our half only: the answer can still be read."""
        self._writer.write_eof()

    async def cut(self) -> None:
        """Break the connection off at once, with a reset."""
        self._writer.transport.abort()
        await self._closed()

    async def close(self) -> None:
        self._writer.close()
        await self._closed()

    async def _closed(self) -> None:
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                await self._writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def connected(service: Listening) -> AsyncIterator[Connection]:
    host, _, port = service.url.removeprefix("http://").partition(":")
    connection = Connection(*await asyncio.open_connection(host, int(port)))
    try:
        yield connection
    finally:
        await connection.close()


async def exchange(service: Listening, *pieces: bytes, end: bool = False) -> Answer:
    """Send one request on a connection of its own and read its answer; with `end`, close our half in between."""
    async with connected(service) as connection:
        await connection.send(*pieces)
        if end:
            connection.end_of_sending()
        return await connection.answer()


async def put(service: Listening, key: str | bytes, content: bytes = b"x", *fields: str | bytes) -> Answer:
    """The request line has the key as it is given."""
    raw = key.encode() if isinstance(key, str) else key
    first, _, rest = head("PUT", "/files/@", f"content-length: {len(content)}", *fields).partition(b"@")
    return await exchange(service, first + raw + rest, content)


async def put_in_chunks(service: Listening, key: str, content: bytes, size: int, *fields: str) -> Answer:
    return await exchange(service, head("PUT", f"/files/{key}", CHUNKED, *fields), *in_chunks(content, size))


async def post_form(service: Listening, *parts: bytes, fields: Iterable[str] = ()) -> Answer:
    """`fields`: further headers of the request."""
    body = form(*parts)
    return await exchange(service, form_head(f"content-length: {len(body)}", *fields), body)


def head(method: str, target: str, *fields: str | bytes, host: str = "x", token: str = TOKEN) -> bytes:
    """Request line and headers, with a host and the token."""
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", f"authorization: Bearer {token}", *fields]
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\r\n\r\n"


def form_head(*fields: str | bytes) -> bytes:
    return head("POST", "/upload", f"content-type: multipart/form-data; boundary={BOUNDARY}", *fields)


def form_part(name: str, content: bytes, *, filename: str | None = None) -> bytes:
    parameter = "" if filename is None else f'; filename="{filename}"'
    disposition = f'content-disposition: form-data; name="{name}"{parameter}'
    return f"--{BOUNDARY}\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"


FORM_END = f"--{BOUNDARY}--\r\n".encode()


def form(*parts: bytes) -> bytes:
    return b"".join((*parts, FORM_END))


def in_chunks(content: bytes, size: int = 65_536) -> Iterable[bytes]:
    """As `Transfer-Encoding: chunked` frames it, with its end."""
    for start in range(0, len(content), size):
        piece = content[start : start + size]
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"
