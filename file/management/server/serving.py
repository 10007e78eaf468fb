"""Run the application under Granian, in this process, and own its end.

Granian waits for requests without limit when it is told to stop, and only then runs lifespan's shutdown. So the
signals are ours: SIGTERM or SIGINT stops accepting, uploads may finish for a while, the rest is cancelled and takes
back what it stored, and then the server ends. A second signal cuts the waiting short.
"""

import asyncio
import gc
import signal
import socket
from dataclasses import dataclass
from typing import Protocol

import uvloop
from granian._granian import ListenerSpec
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp, Receive, Scope, Send

from file.logic.values import KiB
from file.management.server.connections import ConnectionWatch, borrowed, can_be_seen
from file.management.server.openfiles import MOST_CONNECTIONS

# So much of a body Granian reads ahead, and hands on at once: of chunks of 64 KiB a gigabyte cost a fifth more.
_READ_BUFFER_BYTES = 256 * KiB
# So much of an answer the kernel keeps unsent for a connection, where it can be told (Linux); by default it keeps some
# MiB for a client that does not read. What is on its way to a client is not limited by this.
_UNSENT_BYTES = 256 * KiB
# The kernel's queue, as long as it may be by default: where it is full, a client tries again after seconds only.
_BACKLOG = 4096
# For the last answers, and for closing: a ledger that is locked keeps what writes to it for some 15 seconds.
_LAST_SECONDS = 20.0
# Objects made between two looks for cycles. An upload makes none; the default of 700 looked several times an upload.
_GARBAGE_THRESHOLD = 20_000


class Served(Protocol):
    """An ASGI application that knows what is under way in it, which has to end before the server may."""

    async def drain(self, seconds: float) -> None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long a connection may be idle between two requests, and how long the head of one may take.

    `min_bytes_per_second`: how slowly a client may take what is left of an answer; 0 is no limit. `connections`: how
    many there may be, idle ones included; beyond that clients wait in the kernel's queue.
    """

    idle_seconds: float
    head_seconds: float
    min_bytes_per_second: int = 0
    connections: int = MOST_CONNECTIONS


class _Server(Server):
    """Granian, whose connections are those of a socket that we prepared: they inherit what is set on it."""

    def _init_shared_socket(self) -> None:
        holder = ListenerSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._shd = holder  # type: ignore[assignment]  # it has no type there
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with borrowed(holder.get_fd()) as listening:
                assert listening is not None
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def new_server(application: ASGIApp, host: str, port: int, limits: ConnectionLimits) -> Server:
    """Granian around the application, with what matters set explicitly."""
    if can_be_seen():
        application = ConnectionWatch(
            application,
            port,
            seconds=limits.head_seconds,
            most=limits.connections,
            min_bytes_per_second=limits.min_bytes_per_second,
        )
    return _Server(
        application,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            max_buffer_size=_READ_BUFFER_BYTES,
            header_read_timeout=round(limits.idle_seconds * 1000),  # idle connections are waiting for a head
        ),
        backlog=_BACKLOG,
        backpressure=limits.connections,
        websockets=False,
        log_enabled=False,
    )


def run(application: Served, host: str, port: int, *, limits: ConnectionLimits, shutdown_seconds: float) -> None:
    """`serve`, in an event loop that costs a fraction of asyncio's own. Returns when the service has ended.

    What was imported until now stays for good: nobody looks for cycles in it any more. See docs/decisions/0008.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    uvloop.run(serve(application, host, port, limits=limits, shutdown_seconds=shutdown_seconds))


async def serve(
    application: Served, host: str, port: int, *, limits: ConnectionLimits, shutdown_seconds: float
) -> None:
    """Serve until a signal comes. Raises OSError if the address cannot be had, RuntimeError if the server dies."""
    server = new_server(application, host, port, limits)
    signalled = asyncio.Queue[None]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.put_nowait, None)
    serving = asyncio.ensure_future(server.serve())
    asked = asyncio.ensure_future(signalled.get())
    await asyncio.wait((serving, asked), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        asked.cancel()
        serving.result()
        raise RuntimeError("the server ended by itself")
    draining = asyncio.ensure_future(application.drain(shutdown_seconds))
    server.stop()
    hurry = asyncio.ensure_future(signalled.get())
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        await asyncio.gather(draining, application.drain(0))
    hurry.cancel()
    await asyncio.wait((serving,), timeout=_LAST_SECONDS)
