"""The service in the test's own event loop, behind a real socket: real HTTP, and the test can inspect it.

`testkit.serviceprocess.ServiceProcess` is a process of its own, for tests of signals, memory and the log.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, nullcontext
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from file.logic.ports import StorageAccount
from file.logic.values import Account
from file.server.server import ConnectionLimits
from file.server.serving import serving
from file.service.application import Application, create_application
from file.service.settings import UploadSettings
from mentumfileupload.config.uploadsettings import read_settings
from testkit.serviceprocess import TOKEN
from tests.databases import scratch_sqlite

HEADERS = {"authorization": f"Bearer {TOKEN}"}
# For clients of plain HTTP: loading the authorities of TLS takes longer than an upload, and there is no proxy.
PLAIN: dict[str, Any] = {"verify": False, "trust_env": False}
_COMPOSED = ("figures_seconds", "first_look_seconds", "discarding")


def upload_settings(**changes: Any) -> UploadSettings:
    """The defaults with a token and these changes, also of fields of `Limits`."""
    upload = read_settings({}).upload
    limits = {field.name for field in dataclasses.fields(upload.limits)}
    changed_limits = dataclasses.replace(upload.limits, **{k: v for k, v in changes.items() if k in limits})
    rest = {"tokens": {"tests": TOKEN}, **{k: v for k, v in changes.items() if k not in limits}}
    return dataclasses.replace(upload, limits=changed_limits, **rest)


@dataclasses.dataclass
class Running:
    """A running service; `database` is the alias of its ledger's database."""

    url: str
    application: Application
    database: str

    def client(self, **options: Any) -> httpx.AsyncClient:
        """With the token, unless `options` change that."""
        return httpx.AsyncClient(base_url=self.url, **{**PLAIN, "headers": HEADERS, "timeout": 30, **options})


async def no_pages(scope: Scope, receive: Receive, send: Send) -> None:
    """In place of Django: reads the body, as Django does, and answers 404."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def running(
    buckets: Sequence[StorageAccount], *, database: str | None = None, **changes: Any
) -> AsyncIterator[Running]:
    """Serve these buckets until the block ends; then all requests are cancelled.

    Without `database` (an alias) the ledger is a new SQLite file. `changes` are settings, or arguments of
    `create_application`. The ledger is compared with the accounts only if `first_look_seconds` is given.
    """
    async with AsyncExitStack() as stack:
        if database is None:
            made = ExitStack()
            stack.push_async_callback(asyncio.to_thread, made.close)  # Django's connections are not for event loops
            database = await asyncio.to_thread(made.enter_context, scratch_sqlite())
        composed = {name: changes.pop(name) for name in _COMPOSED if name in changes}
        composed = {"first_look_seconds": 3600.0, "database": database, **composed}
        yield await stack.enter_async_context(_running(buckets, composed, upload_settings(**changes)))


@asynccontextmanager
async def _running(
    buckets: Sequence[StorageAccount], composed: Mapping[str, Any], settings: UploadSettings
) -> AsyncIterator[Running]:
    by_name = {bucket.account.name: bucket for bucket in buckets}
    settings = dataclasses.replace(settings, accounts=tuple(bucket.account for bucket in buckets))

    def connect(account: Account) -> AbstractAsyncContextManager[StorageAccount]:
        return nullcontext(by_name[account.name])

    application = create_application(settings, connect=connect, pages=no_pages, **composed)
    limits = ConnectionLimits(settings.idle_seconds, settings.head_seconds, settings.min_bytes_per_second)
    async with listening(application, application.drain, limits) as url:
        yield Running(url, application, composed["database"])


@asynccontextmanager
async def listening(
    application: ASGIApp, drain: Callable[[float], Awaitable[object]], limits: ConnectionLimits
) -> AsyncIterator[str]:
    """Serve the application at the URL that is yielded; then `drain` it and stop."""
    async with serving(application, "127.0.0.1", 0, limits) as server:
        try:
            yield f"http://127.0.0.1:{server.place[1]}"
        finally:
            await drain(0)
