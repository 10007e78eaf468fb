"""One request through the fault proxy: to the server, back to the client, and the faults between.

Bodies are streamed in both directions and never in memory as a whole. Headers are passed on unchanged, including Host,
so that signatures stay valid. Only `Connection` is ours, because each request has its own connection to the server.
One exception: for a clock that the real server would refuse, the request is signed again with the server's time.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from xml.sax.saxutils import escape

import h11

from testkit.faults.faults import Fault
from testkit.faults.operations import Operation
from testkit.faults.side import READ_BYTES, ServerGoneError, Side
from testkit.faults.signing import signed_again

HOP_BY_HOP = (b"connection", b"keep-alive", b"proxy-connection")


class DroppedError(Exception):
    """A fault ends the connection here; `reset` says how."""

    def __init__(self, *, reset: bool) -> None:
        self.reset = reset
        super().__init__()


@dataclass(slots=True, kw_only=True)
class SeenRequest:
    """What the proxy saw of a request. `status`: the status to the client; `server_status`: the one from the server."""

    operation: str
    key: str
    part_number: int | None
    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    fault: str | None
    started: float
    ended: float | None = None
    status: int | None = None
    server_status: int | None = None
    body_bytes: int = 0
    reply_bytes: int = 0


class Exchange:
    """One request and its answer, with the fault that it meets, if any."""

    def __init__(
        self, client: Side, request: h11.Request, operation: Operation, fault: Fault | None, seen: SeenRequest
    ) -> None:
        self._client = client
        self._request = request
        self._fault = fault or Fault(name="none")
        self._seen = seen
        self._operation = operation

    async def run(self, host: str, port: int) -> None:
        """Passes the request through. Raises one of the three errors above if the connection cannot continue."""
        fault = self._fault
        if fault.action is not None and not fault.action_comes_after:
            fault.action()
            raise DroppedError(reset=True)
        if fault.drops_after == 0:
            raise DroppedError(reset=True)
        if fault.stalls_after is not None:
            await self._stall(fault.stalls_after)
        elif self._is_skewed():
            await self._refuse("RequestTimeTooSkewed", 403)
        elif fault.code is not None and not fault.carried_out:
            await self._refuse(fault.code, fault.status)
        else:
            await self._forward(host, port)

    async def _forward(self, host: str, port: int) -> None:
        try:
            reader, writer = await asyncio.open_connection(host, port, limit=READ_BYTES)
        except OSError as error:
            raise ServerGoneError from error
        server = Side(h11.CLIENT, reader, writer, ServerGoneError)
        sending = asyncio.create_task(self._send_request(server))
        receiving = asyncio.create_task(self._receive_reply(server))
        try:
            await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
            # Sending never ends by itself: it continues to watch the client, so that a disconnect is noticed.
            await (receiving if receiving.done() else sending)
        finally:
            # A server that waits for the rest of a request must see a broken connection, not an end. Closed before any
            # await, because a proxy that is stopped cancels here.
            server.close(reset=not receiving.done() or receiving.exception() is not None)
            sending.cancel()
            receiving.cancel()
            await asyncio.gather(sending, receiving, return_exceptions=True)

    async def _send_request(self, server: Side) -> None:
        headers = [(n, v) for n, v in self._request.headers.raw_items() if n.lower() not in HOP_BY_HOP]
        if self._fault.signed_again_for is not None:
            headers = signed_again(self._fault.signed_again_for, self._request.method, self._request.target, headers)
        try:
            await server.send(
                h11.Request(
                    method=self._request.method,
                    target=self._request.target,
                    headers=[*headers, (b"Connection", b"close")],
                )
            )
            async for chunk in self._body():
                await server.send(h11.Data(data=chunk))
            if self._fault.drops_after is not None:
                raise DroppedError(reset=True)
            await server.send(h11.EndOfMessage())
        except ServerGoneError:
            # It may have answered before it closed: the receiving half finds out.
            await asyncio.Event().wait()
        await self._client.until_gone()

    async def _body(self) -> AsyncIterator[bytes]:
        """The body of the request as it is passed on: damaged, slowed, or cut off."""
        fault, damaged, left = self._fault, self._fault.damaged_byte, self._fault.drops_after
        async for chunk in self._body_as_sent():
            body = _damage(chunk, damaged)
            damaged = None if damaged is None else damaged - len(chunk)
            async for piece in _pace(body if left is None else body[:left], fault.bytes_per_second):
                yield piece
            if left is not None and left <= len(body):
                raise DroppedError(reset=True)
            left = None if left is None else left - len(body)

    async def _body_as_sent(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._client.next_event(), h11.Data):
            self._seen.body_bytes += len(event.data)
            yield event.data

    async def _receive_reply(self, server: Side) -> None:
        while isinstance(event := await server.next_event(), h11.InformationalResponse):
            await self._client.send(event)
        if not isinstance(event, h11.Response):
            raise ServerGoneError
        self._seen.server_status = event.status_code
        fault = self._fault
        if fault.reply_lost or fault.carried_out or fault.action is not None:
            while isinstance(await server.next_event(), h11.Data):
                pass
            if fault.action is not None:
                fault.action()
            if not fault.carried_out:
                raise DroppedError(reset=False)
            await self._answer(str(fault.code), fault.status)
            return
        await asyncio.sleep(fault.delay_seconds)
        if fault.held_until is not None:
            await asyncio.to_thread(fault.held_until)
        dropped = HOP_BY_HOP if fault.clock_ahead_seconds is None else (*HOP_BY_HOP, b"date")
        headers = [(n, v) for n, v in event.headers.raw_items() if n.lower() not in dropped]
        if fault.metadata_lost:
            headers = [(n, v) for n, v in headers if not n.lower().startswith(b"x-amz-meta-")]
        if fault.clock_ahead_seconds is not None:
            headers.append((b"Date", self._date().encode()))
        self._seen.status = event.status_code
        await self._client.send(h11.Response(status_code=event.status_code, reason=event.reason, headers=headers))
        damaged, left = fault.damaged_reply_byte, fault.reply_drops_after
        while isinstance(data := await server.next_event(), h11.Data):
            body = _damage(data.data, damaged)[:left]
            self._seen.reply_bytes += len(body)
            async for piece in _pace(body, fault.bytes_per_second):
                await self._client.send(h11.Data(data=piece))
            damaged = None if damaged is None else damaged - len(data.data)
            left = None if left is None else left - len(body)
            if left == 0:
                raise DroppedError(reset=False)
        await self._client.send(h11.EndOfMessage())

    async def _stall(self, after_bytes: int) -> None:
        await self._invite_body()
        if after_bytes != 0:
            async for _ in self._body_as_sent():
                if 0 < after_bytes <= self._seen.body_bytes:
                    break
            else:
                await self._client.until_gone()
        await asyncio.Event().wait()

    async def _refuse(self, code: str, status: int) -> None:
        if self._fault.early:
            await self._answer(code, status, last=True)
            raise DroppedError(reset=False)
        await self._invite_body()
        async for _ in self._body_as_sent():
            pass
        await self._answer(code, status)

    async def _invite_body(self) -> None:
        if self._client.protocol.they_are_waiting_for_100_continue:
            await self._client.send(h11.InformationalResponse(status_code=100, headers=[]))

    async def _answer(self, code: str, status: int, *, last: bool = False) -> None:
        if self._fault.held_until is not None:
            await asyncio.to_thread(self._fault.held_until)
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>A fault.</Message>'
            f"<Resource>{escape(self._operation.bucket)}</Resource><RequestId>FAULT</RequestId></Error>"
        ).encode()
        headers = {
            "Content-Type": "application/xml",
            "Content-Length": str(len(body)),
            "Date": self._date(),
            "x-amz-request-id": "FAULT",
            **({"Connection": "close"} if last else {}),
            **self._fault.headers,
        }
        self._seen.status = status
        await self._client.send(h11.Response(status_code=status, headers=list(headers.items())))
        if self._request.method != b"HEAD":
            self._seen.reply_bytes += len(body)
            await self._client.send(h11.Data(data=body))
        await self._client.send(h11.EndOfMessage())

    def _date(self) -> str:
        return formatdate(time.time() + (self._fault.clock_ahead_seconds or 0.0), usegmt=True)

    def _is_skewed(self) -> bool:
        dated = self._seen.headers.get("x-amz-date")
        if self._fault.clock_ahead_seconds is None or dated is None:
            return False
        signed = datetime.strptime(dated, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        ahead = signed.timestamp() - time.time() - self._fault.clock_ahead_seconds
        return abs(ahead) > self._fault.clock_tolerance_seconds


def _damage(chunk: bytes, at_byte: int | None) -> bytes:
    if at_byte is None or not 0 <= at_byte < len(chunk):
        return chunk
    return chunk[:at_byte] + bytes([chunk[at_byte] ^ 1]) + chunk[at_byte + 1 :]


async def _pace(chunk: bytes, bytes_per_second: int | None) -> AsyncIterator[bytes]:
    """The chunk; with a rate, in pieces of a twentieth of a second."""
    if bytes_per_second is None:
        yield chunk
        return
    step = max(1, bytes_per_second // 20)
    for start in range(0, len(chunk), step):
        piece = chunk[start : start + step]
        await asyncio.sleep(len(piece) / bytes_per_second)
        yield piece
