"""One of the two connections of an exchange, to the client or to the server: h11 (HTTP) on asyncio's streams.

Every end of a connection by the other side becomes one error, so that the exchange need not know how sockets fail.
"""

import asyncio
import socket
import struct
from contextlib import suppress

import h11

HEAD_BYTES = 64 * 1024
READ_BYTES = 256 * 1024


class ClientGoneError(Exception):
    """The client closed its connection."""


class ServerGoneError(Exception):
    """The server closed its connection, or cannot be reached."""


class Side:
    """One of the two connections: h11 on asyncio's streams."""

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        gone: type[Exception],
    ) -> None:
        self.protocol = h11.Connection(role, max_incomplete_event_size=HEAD_BYTES)
        self._reader = reader
        self._writer = writer
        self._gone = gone

    async def next_event(self) -> h11.Event:
        """The next event from the other end."""
        try:
            while True:
                event = self.protocol.next_event()
                if isinstance(event, h11.Event) and not isinstance(event, h11.ConnectionClosed):
                    return event
                if event is not h11.NEED_DATA:
                    raise self._gone
                self.protocol.receive_data(await self._reader.read(READ_BYTES))
        except (OSError, h11.RemoteProtocolError) as error:
            raise self._gone from error

    async def send(self, event: h11.Event) -> None:
        """Sends one event, and waits while the other end is slow."""
        try:
            self._writer.writelines(self.protocol.send_with_data_passthrough(event) or [])
            await self._writer.drain()
        except OSError as error:
            raise self._gone from error

    async def until_gone(self) -> None:
        """Waits until the other end closes; bytes that arrive meanwhile are kept for the next request."""
        with suppress(OSError):
            while received := await self._reader.read(READ_BYTES):
                self.protocol.receive_data(received)
        raise self._gone

    def close(self, *, reset: bool = False) -> None:
        """Ends the connection; a reset discards unsent bytes, and the other end sees the reset."""
        if reset:
            # An OSError of a closed connection does not matter here.
            with suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        else:
            self._writer.close()
