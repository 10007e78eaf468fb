"""Runs the application in this process, and controls how it starts and stops.

SIGTERM or SIGINT stops accepting, uploads may finish for a limited time, the rest is cancelled by the application and
removes what it stored, and then the server stops. A second signal ends the waiting.
"""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal, Protocol

import uvloop
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from file.server.server import ConnectionLimits, Server, listening_socket

# For the last responses, and for closing. Writes to a locked ledger take up to 15 seconds.
_LAST_SECONDS = 20.0
_END_SECONDS = 5.0  # for the application's shutdown, after that
# Objects that are made between two runs of the garbage collector. An upload makes no cycles; with the default of 700
# the collector ran several times per upload.
_GARBAGE_THRESHOLD = 20_000


class Served(Protocol):
    """An ASGI application that can wait for its requests, so that they end before the server."""

    async def drain(self, seconds: float) -> None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


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
    """Serve until a signal comes. Raises OSError if the address is not free, RuntimeError if the start fails."""
    signalled = asyncio.Queue[None]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.put_nowait, None)
    async with serving(application, host, port, limits) as server:
        await signalled.get()
        server.stop_accepting()
        draining = asyncio.ensure_future(application.drain(shutdown_seconds))
        hurry = asyncio.ensure_future(signalled.get())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            await asyncio.gather(draining, application.drain(0))
        hurry.cancel()


@asynccontextmanager
async def serving(application: ASGIApp, host: str, port: int, limits: ConnectionLimits) -> AsyncIterator[Server]:
    """Serve until the block ends; port 0 is any free port. Raises OSError, and RuntimeError if the start fails."""
    with listening_socket(host, port) as listening:
        server, life = Server(application, listening, limits), _Life(application)
        try:
            await life.order("startup")
            server.begin()
            try:
                yield server
            finally:
                await server.close(asyncio.get_running_loop().time() + _LAST_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await life.order("shutdown")
        finally:
            await life.end()


class _Life:
    """The application's task for start-up and shutdown (ASGI's lifespan protocol)."""

    def __init__(self, application: ASGIApp) -> None:
        self._orders = asyncio.Queue[Message]()
        self._reports = asyncio.Queue[Message]()
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        self._task = asyncio.ensure_future(_called(application, scope, self._orders.get, self._reports.put))

    async def order(self, step: Literal["startup", "shutdown"]) -> None:
        """Returns when the step is complete. Raises `RuntimeError` if it fails, or what the application raises."""
        self._orders.put_nowait({"type": f"lifespan.{step}"})
        reported = asyncio.ensure_future(self._reports.get())
        try:
            await asyncio.wait((reported, self._task), return_when=asyncio.FIRST_COMPLETED)
            if not reported.done():
                self._task.result()
                raise RuntimeError(f"the application ended before its {step} was complete")
            message = reported.result()
        finally:
            reported.cancel()
        if message["type"] != f"lifespan.{step}.complete":
            raise RuntimeError(f"the application cannot serve: {message.get('message', '')}")

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))


async def _called(application: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await application(scope, receive, send)
