"""Services in processes of their own, several on one ledger, on either database: to be killed, stopped and held up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import httpx

from file.logic.values import MiB
from testkit.account import StoreAccount
from testkit.ports import free_port
from testkit.serviceprocess import ServiceProcess
from tests.service.conftest import content
from tests.service.receipts import answer_when
from tests.serving import HEADERS, PLAIN

PART_BYTES = 8 * MiB  # the service's own
THREE_PARTS = 2 * PART_BYTES + MiB
LEASE_SECONDS = 1.5

NewService = Callable[..., ServiceProcess]


def service(
    folder: Path,
    database_url: str,
    *accounts: StoreAccount,
    command: Sequence[str] = ("manage.py",),
    **environment: str,
) -> ServiceProcess:
    """Not started yet."""
    quick = {
        "DATABASE_URL": database_url,
        "UPLOAD_MAX_REQUEST_BYTES": "0",
        "UPLOAD_LEASE_SECONDS": str(LEASE_SECONDS),
        "UPLOAD_SETTLE_SECONDS": "0.2",
        "UPLOAD_WAIT_SECONDS": "2",
        "UPLOAD_SHUTDOWN_SECONDS": "1",
    }
    port = free_port()
    log = f"service-{port}.log"
    return ServiceProcess(folder, accounts, {**quick, **environment}, port=port, log=log, command=command)


class Served(Protocol):
    """A service that is running somewhere."""

    @property
    def url(self) -> str: ...


def client_of(process: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=process.url, headers=HEADERS, timeout=60, **PLAIN)


async def until_refused(service: Served) -> None:
    """Until nobody is let in any more; asks what leaves nothing behind."""
    async with asyncio.timeout(30), httpx.AsyncClient(**PLAIN) as client:
        asked = client.build_request("GET", f"{service.url}/_/ready", headers={"connection": "close"})
        try:
            while (await client.send(asked)).status_code == 200:  # noqa: ASYNC110 - nobody else is told
                await asyncio.sleep(0.01)
        except httpx.TransportError:
            return


async def put(process: ServiceProcess, body: bytes, key: str = "k", **headers: str) -> httpx.Response | None:
    """None if the connection broke, as it does when a service is killed."""
    try:
        async with client_of(process) as client:
            return await client.put(f"/files/{key}", content=body, headers=headers)
    except httpx.TransportError:
        return None


async def put_when_free(process: ServiceProcess, body: bytes, key: str = "k") -> httpx.Response:
    """The first answer that is not `key_busy`; nothing else tells that the clean-up is through."""
    async with client_of(process) as client:
        return await answer_when(lambda: client.put(f"/files/{key}", content=body), is_not_busy)


def is_not_busy(answer: httpx.Response) -> bool:
    """Of the key: another upload of it, or what is left of one, is no obstacle any more."""
    if answer.json().get("code") != "key_busy":
        return True
    assert answer.status_code == 409
    assert "retry-after" in answer.headers
    return False


async def until(holds: Callable[[], bool]) -> None:
    """Asks in a thread: what is asked may block."""
    await answer_when(lambda: asyncio.to_thread(holds), bool)


async def until_nothing_is_left(accounts: Iterable[StoreAccount]) -> None:
    among = list(accounts)
    await until(lambda: not any(account.contents() for account in among))


class HeldBody:
    """A body of three parts whose last byte waits for `goes_on`."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.bytes = content(THREE_PARTS)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.bytes[:-1]
        await self.goes_on.wait()
        yield self.bytes[-1:]
