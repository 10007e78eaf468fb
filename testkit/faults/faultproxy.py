"""A reverse proxy between the service and the server of one account, which applies faults to requests.

It runs in its own thread and event loop, so that synchronous and asynchronous tests can use it. It records every
request; `wait_for` returns when one was seen, so that a test waits for the event and not for a time.

    with FaultProxy(account) as proxy:
        proxy.add(Fault.loses_reply(operation="complete"))
        upload(proxy.account)
        proxy.wait_for("head")
"""

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import h11

from testkit.account import StoreAccount
from testkit.faults.exchange import DroppedError, Exchange, SeenRequest
from testkit.faults.faults import Fault
from testkit.faults.operations import Operation, recognise
from testkit.faults.side import READ_BYTES, ClientGoneError, ServerGoneError, Side
from testkit.ports import HOST

# The proxy cannot slow down or stop what the kernel receives, so that buffer is much smaller than a part.
RECEIVE_BYTES = 256 * 1024
_ROUNDS_TO_SERVE = 4  # steps of the event loop from accepting a connection to its task


@dataclass(slots=True)
class _Scripted:
    fault: Fault
    met: int = 0


class FaultProxy:
    """A running proxy. If a request meets several faults, the one that was added first happens."""

    def __init__(self, account: StoreAccount) -> None:
        server = urlsplit(account.endpoint_url)
        self._server = (server.hostname or HOST, server.port or 80)
        self._listening = _bind(0)
        self._port: int = self._listening.getsockname()[1]
        self.account = account.at(f"http://{HOST}:{self._port}")
        self._changed = threading.Condition()
        self._scripted: list[_Scripted] = []
        self._requests: list[SeenRequest] = []
        self._sides: dict[asyncio.Task[None], Side] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._acceptor: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._running: Future[None] = Future()

    def __repr__(self) -> str:
        """Every request so far, for the message of a failed test."""
        return f"FaultProxy(port={self._port}, requests={self.requests})"

    def add(self, *faults: Fault) -> None:
        """Adds faults for the requests that begin from now on."""
        with self._changed:
            self._scripted += [_Scripted(fault) for fault in faults]

    def clear(self) -> None:
        """Removes all faults; requests under way keep theirs."""
        with self._changed:
            self._scripted.clear()

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request so far, in the order of their beginning."""
        with self._changed:
            return list(self._requests)

    def seen(self, operation: str | None = None, *, ended: bool = False) -> list[SeenRequest]:
        """The requests so far of one operation, or of all; with `ended`, only finished ones."""
        return [
            request
            for request in self.requests
            if operation in (None, request.operation) and not (ended and request.ended is None)
        ]

    def wait_for(
        self, operation: str | None = None, count: int = 1, *, ended: bool = False, timeout_seconds: float = 10.0
    ) -> list[SeenRequest]:
        """Blocks until this number of requests has begun (with `ended`: has finished); returns them."""
        with self._changed:
            if self._changed.wait_for(lambda: len(self.seen(operation, ended=ended)) >= count, timeout_seconds):
                return self.seen(operation, ended=ended)
        seen = [f"{request.operation} {request.status}" for request in self.requests]
        raise TimeoutError(f"Not {count} of {operation} in {timeout_seconds:g} seconds; seen: {seen}")

    async def wait_until(
        self, operation: str | None = None, count: int = 1, *, ended: bool = False, timeout_seconds: float = 10.0
    ) -> list[SeenRequest]:
        """`wait_for`, for asynchronous tests."""
        return await asyncio.to_thread(self.wait_for, operation, count, ended=ended, timeout_seconds=timeout_seconds)

    def refuse_connections(self) -> None:
        """Resets all connections and refuses new ones, until `accept_connections`."""
        self._do(self._refuse_connections())

    def accept_connections(self) -> None:
        """Accepts connections again, on the same port."""
        self._do(self._accept_connections())

    def __enter__(self) -> Self:
        self._thread.start()
        self._running.result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            self._do(self._refuse_connections())
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(10)
        self._listening.close()

    def _run(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._accept_connections())
            self._running.set_result(None)
            loop.run_forever()
        except BaseException as error:
            if self._running.done():
                raise
            self._running.set_exception(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _do(self, work: Coroutine[None, None, None]) -> None:
        assert self._loop is not None, "The proxy is not running."
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _accept_connections(self) -> None:
        if self._acceptor is None:
            self._acceptor = await asyncio.start_server(self._connected, sock=self._listening, limit=READ_BYTES)

    async def _refuse_connections(self) -> None:
        if self._acceptor is None:
            return
        # Connections that were just accepted are served first: after the acceptor is closed, they would stay open.
        asyncio.get_running_loop().remove_reader(self._listening.fileno())
        for _ in range(_ROUNDS_TO_SERVE):
            await asyncio.sleep(0)
        self._acceptor.close()
        self._acceptor = None
        # Bound but not listening: connections are refused, and no other process gets the port.
        self._listening = _bind(self._port)
        tasks = list(self._sides)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        client = Side(h11.SERVER, reader, writer, ClientGoneError)
        self._sides[task] = client
        reset = True
        try:
            while isinstance(request := await client.next_event(), h11.Request):
                await self._exchange(client, request)
                if client.protocol.our_state is not h11.DONE or client.protocol.their_state is not h11.DONE:
                    reset = False
                    break
                client.protocol.start_next_cycle()
        except DroppedError as dropped:
            reset = dropped.reset
        except ClientGoneError:
            reset = False
        except (ServerGoneError, asyncio.CancelledError):
            # The client must see the same as without the proxy, or as when a host disappears.
            reset = True
        finally:
            del self._sides[task]
            client.close(reset=reset)

    async def _exchange(self, client: Side, request: h11.Request) -> None:
        method, target = request.method.decode(), request.target.decode()
        operation = recognise(method, target)
        with self._changed:
            fault = self._due(operation)
            seen = SeenRequest(
                operation=operation.name,
                key=operation.key,
                part_number=operation.part_number,
                method=method,
                target=target,
                headers={name.decode(): value.decode("latin-1") for name, value in request.headers},
                fault=fault.name if fault else None,
                started=time.monotonic(),
            )
            self._requests.append(seen)
            self._changed.notify_all()
        try:
            await Exchange(client, request, operation, fault, seen).run(*self._server)
        finally:
            with self._changed:
                seen.ended = time.monotonic()
                self._changed.notify_all()

    def _due(self, operation: Operation) -> Fault | None:
        for scripted in self._scripted:
            fault = scripted.fault
            if not fault.meets(operation) or (fault.times is not None and scripted.met >= fault.after + fault.times):
                continue
            scripted.met += 1
            if scripted.met > fault.after:
                return fault
        return None


def _bind(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    listening.bind((HOST, port))
    return listening
