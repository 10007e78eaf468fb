"""The metrics at an address of their own, without a token, for the inside of a network: GET and HEAD of /metrics.

The event loop of the service serves it, so that a connection needs no thread. Everything is limited: the number of
connections (a new one replaces the oldest that has not sent a whole request), the size of a head, the seconds for a
head and for a whole connection. One connection is one request. One thread creates the text.
"""

import asyncio
import gzip
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

CONNECTIONS = 16
HEAD_BYTES = 8192
_HEAD_SECONDS = 5.0
_SECONDS = 15.0
_PATHS = ("/metrics", "/_/metrics")
_REQUEST_LINE = re.compile(r"(\S+) ([^\s?]+)(?:\?\S*)? HTTP/1\.[01]")
# The library parses this header, and a client may send anything: it only gets to know which format is meant.
_OPENMETRICS = "application/openmetrics-text"
_log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Turn:
    writer: asyncio.StreamWriter
    is_asked: bool = False  # its request is whole


class _RefusedError(Exception):
    """The request gets this status."""

    def __init__(self, status: HTTPStatus, *, of_head: bool = False) -> None:
        self.status = status
        self.of_head = of_head


class MetricsListener:
    """Serves the metrics of `registry`. Belongs to one event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._turns: dict[_Turn, asyncio.Task[None]] = {}
        self._making = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[None]:
        """Until the block ends. Raises OSError if the address cannot be used."""
        server = await asyncio.start_server(self._accept, host, port, limit=HEAD_BYTES)
        try:
            yield
        finally:
            server.close()
            under_way = list(self._turns.items())
            for turn, _ in under_way:
                turn.writer.transport.abort()
            if under_way:
                await asyncio.wait([task for _, task in under_way])
            await server.wait_closed()
            self._making.shutdown(wait=False, cancel_futures=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._turns) >= CONNECTIONS:
            oldest = next((turn for turn in self._turns if not turn.is_asked), next(iter(self._turns)))
            del self._turns[oldest]
            oldest.writer.transport.abort()
        turn = _Turn(writer)
        self._turns[turn] = asyncio.ensure_future(self._serve(reader, turn))

    async def _serve(self, reader: asyncio.StreamReader, turn: _Turn) -> None:
        writer = turn.writer
        try:
            async with asyncio.timeout(_SECONDS):
                answer = await self._answer(reader, turn)
                if not writer.is_closing():  # the client may have gone meanwhile
                    writer.writelines(answer)
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError):
            writer.transport.abort()  # the client takes too long, or has gone
        except Exception:  # noqa: BLE001 - no other code waits for this task
            _log.exception("metrics_crashed")
            writer.transport.abort()
        finally:
            self._turns.pop(turn, None)

    async def _answer(self, reader: asyncio.StreamReader, turn: _Turn) -> list[bytes]:
        """Raises `EOFError` if the client goes before its request is whole."""
        try:
            method, fields = await _request(reader)
            turn.is_asked = True
            loop = asyncio.get_running_loop()
            kind, text, *encoding = await loop.run_in_executor(self._making, self._made, fields)
        except _RefusedError as refused:
            text = f"{refused.status.phrase}: GET /metrics has the metrics.\n".encode()
            more = ("Allow: GET, HEAD",) if refused.status == HTTPStatus.METHOD_NOT_ALLOWED else ()
            answer = list(_written(refused.status, "text/plain; charset=utf-8", text, more))
            return answer[:1] if refused.of_head else answer
        answer = list(_written(HTTPStatus.OK, kind, text, encoding))
        return answer[:1] if method == "HEAD" else answer

    def _made(self, fields: dict[str, str]) -> tuple[str, bytes, str] | tuple[str, bytes]:
        """Type, text, and further headers. Called in a thread: it takes some milliseconds."""
        wants_openmetrics = _OPENMETRICS in fields.get("accept", "")
        encode, kind = choose_encoder(f"{_OPENMETRICS}; version=1.0.0" if wants_openmetrics else "")
        text = encode(self._registry)
        if "gzip" in (each.partition(";")[0].strip().lower() for each in fields.get("accept-encoding", "").split(",")):
            return kind, gzip.compress(text), "Content-Encoding: gzip"
        return kind, text


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """Method and headers of a request for the metrics. Raises `_RefusedError`, `EOFError`."""
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except TimeoutError:
        raise _RefusedError(HTTPStatus.REQUEST_TIMEOUT) from None
    except asyncio.LimitOverrunError:
        raise _RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
    line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
    asked = _REQUEST_LINE.fullmatch(line)
    if asked is None:
        raise _RefusedError(HTTPStatus.BAD_REQUEST)
    if asked[2] not in _PATHS:
        raise _RefusedError(HTTPStatus.NOT_FOUND, of_head=asked[1] == "HEAD")
    if asked[1] not in ("GET", "HEAD"):
        raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED)
    named = (field.partition(":") for field in fields)
    return asked[1], {name.strip().lower(): value.strip() for name, _, value in named}


def _written(status: HTTPStatus, kind: str, text: bytes, fields: tuple[str, ...] | list[str]) -> Iterator[bytes]:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Type: {kind}", f"Content-Length: {len(text)}"]
    yield "\r\n".join((*lines, *fields, "Connection: close", "", "")).encode()
    yield text
