"""The clients: each case has its own connection; many are open at once, each with a time limit.

A connection that is neither answered nor closed within the limit is a hang. The settings of `world.py` limit heads,
bodies, and idle connections to some seconds, so the service's maximum time is known.
"""

import asyncio
import socket
import struct
from dataclasses import dataclass, field

from fuzz.answers import Answer, NotHttpError, read_answers
from fuzz.cases import Case, Ending
from fuzz.pace import Pace

_READ_BYTES = 262_144
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with time 0: close with a reset


@dataclass(slots=True)
class Exchange:
    """The result of a case. `wrong`: a violation, if there is one."""

    case: Case
    answers: list[Answer] = field(default_factory=list)
    received: bytes = b""
    wrong: str = ""


class Addresses:
    """The ports on which the service listens."""

    def __init__(self, port: int, metrics_port: int, pace: Pace) -> None:
        self.pace = pace
        self._ports = {False: port, True: metrics_port}

    async def exchange(self, case: Case) -> Exchange:
        """Sends the case and reads until it is over."""
        result = Exchange(case)
        try:
            async with self.pace.limit():
                await self._run(case, result)
        except TimeoutError:
            meanwhile = f"while /_/health was answered {self.pace.most} times"
            result.wrong = f"no answer and no end {meanwhile}"
            if result.answers:
                result.wrong = f"not closed after {len(result.answers)} answers {meanwhile}"
        except NotHttpError as error:
            result.wrong = f"not HTTP: {error}"
        return result

    async def _run(self, case: Case, result: Exchange) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._ports[case.of_metrics])
        except OSError as error:
            result.wrong = f"no connection: {error.strerror}"
            return
        reading = asyncio.ensure_future(_read(reader, result))
        try:
            await _write(writer, case)
            if case.ending in (Ending.LEAVES, Ending.RESETS):
                return
            if case.ending is Ending.HALF and not writer.is_closing():
                writer.write_eof()
            await reading
        except OSError:  # the service closed while we wrote: earlier answers can still be read
            await asyncio.wait((reading,))
            reading.result()
        finally:
            reading.cancel()
            await asyncio.wait((reading,))
            if case.ending is Ending.RESETS and not writer.is_closing():
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()


async def _write(writer: asyncio.StreamWriter, case: Case) -> None:
    """Writes all pieces. Raises `OSError` if the service closes the connection before the last one."""
    for piece in case.pieces:
        writer.write(piece)
        await writer.drain()
        if len(case.pieces) > 1:
            await asyncio.sleep(0)  # sends each piece separately


async def _read(reader: asyncio.StreamReader, result: Exchange) -> None:
    """Reads until there is an answer to each request, or the service has closed the connection."""
    case = result.case
    while True:
        try:
            piece = await reader.read(_READ_BYTES)
        except OSError:
            piece = b""
        if not piece:
            result.answers = read_answers(result.received, case.methods)
            return
        result.received += piece
        result.answers = read_answers(result.received, case.methods)
        if case.ending is Ending.ANSWERED and _is_answered(result):
            return


def _is_answered(result: Exchange) -> bool:
    """Whether all answers are complete. If the methods are unknown, an answer without a body may be complete."""
    case, answers = result.case, result.answers
    if len(answers) < case.requests:
        return False
    last = answers[-1]
    return last.is_whole or (case.methods is None and not last.body)
