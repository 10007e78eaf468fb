"""A server with an application whose requests wait for the test."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.types import Message, Receive, Scope, Send

from file.server.server import ConnectionLimits, Server
from file.server.serving import serving

LONG = 60.0


async def lifespan(receive: Receive, send: Send) -> None:
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


class Application:
    """Its requests wait for the test. `answers` has what a request sends, by path."""

    def __init__(self, **answers: Sequence[Message]) -> None:
        self.answers = answers
        self.begun = asyncio.Queue[tuple[Scope, Receive, Send]]()
        self.goes_on = asyncio.Event()
        self.ended = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        self.begun.put_nowait((scope, receive, send))
        await self.goes_on.wait()
        for message in self.answers.get(scope["path"][1:], OK):
            await send(message)
        self.ended += 1


def answer_of(*pieces: bytes, **fields: str) -> list[Message]:
    told = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    last = len(pieces) - 1
    return [
        {"type": "http.response.start", "status": 200, "headers": told},
        *({"type": "http.response.body", "body": p, "more_body": n < last} for n, p in enumerate(pieces)),
    ]


OK = answer_of(b"ok")


@dataclass(frozen=True)
class Served:
    """A server with an application of a test."""

    application: Application
    server: Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.place[1]}"


@asynccontextmanager
async def served(
    application: Application, *, goes_on: bool = True, host: str = "127.0.0.1", **limits: float
) -> AsyncIterator[Served]:
    if goes_on:
        application.goes_on.set()
    limits = {"idle_seconds": LONG, "head_seconds": LONG, **limits}
    async with serving(application, host, 0, ConnectionLimits(**limits)) as server:  # type: ignore[arg-type]
        yield Served(application, server)


async def body_of(receive: Receive) -> bytes:
    pieces = []
    while (message := await receive())["type"] == "http.request":
        pieces.append(message["body"])
        if not message["more_body"]:
            break
    return b"".join(pieces)
