"""Runs the application under Granian, in this process, and controls how it stops.

When Granian is told to stop, it waits for requests without a limit, and only then runs the shutdown of lifespan. So we
handle the signals: SIGTERM or SIGINT stops accepting, uploads may finish for a limited time, the rest is cancelled and
removes what it stored, and then the server stops. A second signal ends the waiting.
"""

import asyncio
import gc
import signal
import socket
from typing import Protocol

import uvloop
from granian._granian import ListenerSpec
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp, Receive, Scope, Send

from file.logic.values import KiB
from file.management.server.connections import ConnectionLimits, ConnectionWatch, borrowed, can_be_seen

# How much of a body Granian reads ahead and passes on at once. With chunks of 64 KiB a gigabyte took a fifth more CPU.
_READ_BUFFER_BYTES = 256 * KiB
# How much of a response the kernel keeps unsent per connection (Linux). By default it keeps some MiB for a client that
# does not read. Data that is sent and not acknowledged does not count.
_UNSENT_BYTES = 256 * KiB
# The length of the kernel's queue, at its default maximum. If it is full, a client tries again only after seconds.
_BACKLOG = 4096
# For the last responses, and for closing. Writes to a locked ledger take up to 15 seconds.
_LAST_SECONDS = 20.0
# Objects that are made between two runs of the garbage collector. An upload makes no cycles; with the default of 700
# the collector ran several times per upload.
_GARBAGE_THRESHOLD = 20_000


class Served(Protocol):
    """An ASGI application that can wait for its requests, so that they end before the server."""

    async def drain(self, seconds: float) -> None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class _Server(Server):
    """Granian with a listening socket that we prepare: its connections inherit the options of that socket."""

    def _init_shared_socket(self) -> None:
        holder = ListenerSpec(self.bind_addr, self.bind_port, self.backlog).build()
        self._shd = holder  # type: ignore[assignment]  # it has no type there
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with borrowed(holder.get_fd()) as listening:
                assert listening is not None
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def new_server(application: ASGIApp, host: str, port: int, limits: ConnectionLimits) -> Server:
    """Granian around the application, with all important options set explicitly."""
    if can_be_seen():
        application = ConnectionWatch(application, port, limits)
    return _Server(
        application,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            max_buffer_size=_READ_BUFFER_BYTES,
            header_read_timeout=round(limits.idle_seconds * 1000),  # an idle connection waits for a head
        ),
        backlog=_BACKLOG,
        backpressure=limits.connections,
        websockets=False,
        log_enabled=False,
    )


def run(application: Served, host: str, port: int, *, limits: ConnectionLimits, shutdown_seconds: float) -> None:
    """Run `serve` in uvloop, which is cheaper than the event loop of asyncio. Returns when the service has stopped.

    What is imported by now is excluded from garbage collection, because it stays for ever: docs/decisions/0008.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    uvloop.run(serve(application, host, port, limits=limits, shutdown_seconds=shutdown_seconds))


async def serve(
    application: Served, host: str, port: int, *, limits: ConnectionLimits, shutdown_seconds: float
) -> None:
    """Serve until a signal comes. Raises OSError if the address is not free, RuntimeError if the server stops."""
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
        raise RuntimeError("the server stopped by itself")
    draining = asyncio.ensure_future(application.drain(shutdown_seconds))
    server.stop()
    hurry = asyncio.ensure_future(signalled.get())
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        await asyncio.gather(draining, application.drain(0))
    hurry.cancel()
    await asyncio.wait((serving,), timeout=_LAST_SECONDS)
