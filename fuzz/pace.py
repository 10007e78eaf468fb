"""The time limit of a case, counted in answers of `/_/health` and not in seconds.

A busy machine is not a hang: if the service gets little CPU, its health is answered late, and each case gets more time.
If there is no answer at all, every case and the run end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

ANSWERS = 100  # about 25 seconds on an idle machine
_PAUSE_SECONDS = 0.25
_ANSWER_SECONDS = 60.0
_REQUEST = b"GET /_/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


class Pace:
    """Asks the service at that port. A case may take `most` answers. `failed`: why the service no longer answers."""

    def __init__(self, port: int, *, most: int = ANSWERS, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self.failed = ""
        self.most = most
        self._pause_seconds = pause_seconds
        self._port = port
        self._answers = 0
        self._limits: dict[asyncio.Timeout, int] = {}

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Asks until the block ends."""
        asking = asyncio.ensure_future(self._ask_again_and_again())
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.wait((asking,))

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Raises `TimeoutError` in the block after its number of answers."""
        async with asyncio.timeout(0 if self.failed else None) as limit:
            self._limits[limit] = self._answers + self.most
            try:
                yield
            finally:
                del self._limits[limit]

    async def _ask_again_and_again(self) -> None:
        while not self.failed:
            await asyncio.sleep(self._pause_seconds)
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._ask()
            except OSError as error:  # TimeoutError is a subclass
                self.failed = f"GET /_/health is not answered in {_ANSWER_SECONDS:.0f} seconds: {error!r}"
            self._answers += 1
            for limit, last in self._limits.items():
                if (self.failed or self._answers >= last) and not limit.expired():
                    limit.reschedule(asyncio.get_running_loop().time())

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(_REQUEST)
            answer = await reader.read()
        finally:
            writer.transport.abort()
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise OSError(f"{answer[:60]!r}")
