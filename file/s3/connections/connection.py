"""One connection to an account: one request at a time, written at once, and its answer.

It is used again only if nothing is left of the request before: the answer came after the whole request had been sent,
no byte followed it, and the other end did not say that it closes. Leaves to others: how it is opened (`dialing.py`),
and which connection is used (`pool.py`).
"""

import asyncio
import socket
import threading
from typing import cast

from file.logic.values import KiB
from file.s3.connections.answers import AnswerReader, RawAnswer

_RECEIVE_BYTES = 64 * KiB


class _Received(threading.local):
    def __init__(self) -> None:
        self.memory = memoryview(bytearray(_RECEIVE_BYTES))


_received = _Received()


class Connection(asyncio.BufferedProtocol):
    """`kept_since`: by the clock of the loop; for the pool.

    All connections of a thread receive into the same memory, because each takes at once what arrived. Otherwise TLS
    allocates 256 KiB for each answer, which takes a fifth of the CPU time of a request.
    """

    __slots__ = ("_is_done", "_is_lost", "_reader", "_socket", "_transport", "_waiter", "kept_since")

    def __init__(self, sock: socket.socket) -> None:
        self.kept_since = 0.0
        self._socket = sock
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiter: asyncio.Future[RawAnswer] | None = None
        self._is_done = True  # nothing of a request or an answer is under way
        self._is_lost = False

    @property
    def is_free(self) -> bool:
        """Whether another request may be sent on it."""
        return self._is_done and not self._is_lost

    @property
    def is_silent(self) -> bool:
        """Whether the other end has neither closed it nor sent anything, as of now and not as of the loop's last turn.

        So a request is not sent on a connection that is already closed, where its fate would be unknown, and bytes that
        came before it are not taken for its answer.
        """
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    async def exchange(self, request: bytes, *, to_head: bool, most: int) -> RawAnswer:
        """Sends the request and returns its answer. `most`: bytes of a body.

        Raises `EOFError` if the connection ended before the answer, or if what arrived is no answer: the request may
        have taken effect. After an error, also when the task is cancelled, the connection is closed.
        """
        if self._transport is None or not self.is_free:
            raise EOFError("the connection is closed, or has a request")
        self._is_done = False
        self._reader = AnswerReader(to_head=to_head, most=most)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(request)
            return await self._waiter
        except OSError as error:  # an `OSError` would mean that nothing was sent
            self.close()
            raise EOFError("the request could not be written") from error
        except BaseException:
            self.close()
            raise
        finally:
            self._reader = self._waiter = None

    def close(self) -> None:
        """At once. What is still to be sent is not sent."""
        self._is_done = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not say that they are

    def get_buffer(self, sizehint: int) -> memoryview:
        return _received.memory

    def buffer_updated(self, nbytes: int) -> None:
        if self._reader is None or self._waiter is None or self._waiter.done():
            self.close()  # nobody asked for it
            return
        try:
            answer = self._reader.feed(_received.memory[:nbytes])
        except ValueError as error:
            self._waiter.set_exception(EOFError(f"what arrived is no answer: {error}"))
            return
        if answer is not None:
            assert self._transport is not None
            # An answer that comes early may be a true refusal. The rest of the request is never sent.
            self._is_done = self._reader.keeps_open and not self._transport.get_write_buffer_size()
            self._waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if self._reader is None or self._waiter is None or self._waiter.done():
            return
        # Without a length, the end of the connection is the end of the answer.
        if exc is None and (answer := self._reader.end()) is not None:
            self._waiter.set_result(answer)
        else:
            error = EOFError("the connection ended before the answer")
            error.__cause__ = exc
            self._waiter.set_exception(error)
