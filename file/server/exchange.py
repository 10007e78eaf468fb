"""One request and its answer, as ASGI sees them: `scope`, `receive`, and `send`.

`receive` gives the body as it arrives, also after the answer, and `http.disconnect` when the client is gone, when the
body ends early or is malformed, and when body and answer are complete. A client that ends its sending side after a
whole request may be gone, or not: `receive` says that it is gone, and what is sent still reaches it if it is not.
`send` waits while the client does not read, and does nothing once it is gone.

An extension of ASGI receives a body with a Content-Length straight into the memory of the caller, without a message:
`scope["extensions"]["mentum.receive_into"]`.
"""

import asyncio
from typing import Protocol, cast
from urllib.parse import unquote_to_bytes

from starlette.types import Message, Scope

from file.logic.errors import MalformedRequestError
from file.server.body import Chunked, Sized
from file.server.head import Head
from file.server.incoming import Incoming
from file.server.outgoing import Outgoing
from file.server.responses import CONTINUE

RECEIVE_INTO = "mentum.receive_into"
_ASGI = {"version": "3.0", "spec_version": "2.4"}
Place = tuple[str, int]


class Wire(Protocol):
    """What an exchange needs of its connection. `is_lost`: the client is gone."""

    incoming: Incoming
    is_lost: bool

    def write(self, pieces: list[bytes]) -> None: ...

    async def until_writable(self) -> None: ...


class Exchange:
    """One task at a time may receive, and one may send."""

    __slots__ = (
        *("_awaits_body", "_has_all", "_head", "_incoming", "_is_malformed", "_received", "_waiter", "_wire"),
        *("body", "outgoing"),
    )

    def __init__(self, head: Head, wire: Wire) -> None:
        self.outgoing = Outgoing(head)
        self.body: Sized | Chunked = Chunked() if head.length is None else Sized(head.length)
        self._awaits_body = head.expects_continue  # the client waits until we ask for the body
        self._has_all = False  # the application was told of the end of the body
        self._head = head
        self._incoming = wire.incoming
        self._is_malformed = False
        self._received = 0  # bytes that are in the target
        self._waiter: asyncio.Future[None] | None = None
        self._wire = wire

    def scope(self, client: Place, server: Place) -> Scope:
        head = self._head
        path = unquote_to_bytes(head.raw_path) if b"%" in head.raw_path else head.raw_path
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "method": head.method,
            "scheme": "http",
            "path": path.decode("utf-8", "replace"),
            "raw_path": head.raw_path,
            "query_string": head.query_string,
            "root_path": "",
            "headers": head.headers,
            "client": client,
            "server": server,
            "state": {},
            "extensions": {RECEIVE_INTO: self.receive_into} if isinstance(self.body, Sized) else {},
        }

    async def receive(self) -> Message:
        while not self._wire.is_lost and not (self._has_all and (self.outgoing.ended or self._incoming.has_ended)):
            if not self._has_all:
                piece = self._take()
                if piece or self.body.ended:
                    self._has_all = self.body.ended
                    return {"type": "http.request", "body": piece, "more_body": not self.body.ended}
                if self._is_malformed or self._incoming.has_ended:
                    break
            await self._wait()
        return {"type": "http.disconnect"}

    async def receive_into(self, memory: memoryview) -> int:
        """Waits for the next bytes of the body, one at least, and returns how many are at the begin of `memory`. 0: the
        body has ended, or the client is gone.
        """
        incoming, body = self._incoming, cast(Sized, self.body)
        memory = memory[: body.left]
        if not incoming.is_used:
            size = min(len(memory), len(incoming.data) - incoming.start)
            memory[:size] = incoming.data[incoming.start : incoming.start + size]
            incoming.start += size
            body.left -= size
            incoming.go_on()
            return size
        if not memory or self._wire.is_lost or incoming.has_ended:
            return 0
        incoming.target = memory
        try:
            await self._wait()
        finally:
            incoming.target = None
            size, self._received = self._received, 0
        return size

    def received(self, size: int) -> None:
        """So many bytes are in the target of `incoming`."""
        incoming, body = self._incoming, cast(Sized, self.body)
        body.left -= size
        self._received += size
        assert incoming.target is not None
        incoming.target = incoming.target[size:] if size < len(incoming.target) else None
        if incoming.target is None and body.left:  # the rest stays in the kernel until there is memory for it
            incoming.pause()
        self.wake()

    async def send(self, message: Message) -> None:
        """Raises `RuntimeError` for messages that are not one valid answer."""
        if self._wire.is_lost:
            return
        if message["type"] == "http.response.start":
            self.outgoing.start(message["status"], message.get("headers", ()))
            return
        if not self.body.ended:  # the next request would begin inside of this body
            self.outgoing.closes = True
        more = message.get("more_body", False)
        self._wire.write(self.outgoing.pieces(message.get("body", b""), more=more))
        if more:
            await self._wire.until_writable()
        else:
            self.wake()

    def wake(self) -> None:
        """Something has changed on the connection, or the answer is complete."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> bytes:
        """The next piece of the body, if one has arrived."""
        incoming = self._incoming
        if incoming.is_used or self._is_malformed:
            return b""
        try:
            piece, incoming.start = self.body.take(incoming.data, incoming.start)
        except MalformedRequestError:
            self._is_malformed = True
            return b""
        incoming.go_on()
        return piece

    async def _wait(self) -> None:
        if self._awaits_body and not self.body.ended and not self.outgoing.begun:
            self._wire.write([CONTINUE])
        self._awaits_body = False
        self._incoming.go_on()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
