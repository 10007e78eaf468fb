"""The service as a process: how tests start it, send requests to it, wait for it, and run its commands."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx

from file.logic.values import MiB
from testkit.account import StoreAccount
from testkit.ports import free_port
from testkit.serviceprocess import ServiceProcess
from tests.processes import Watched
from tests.service.receipts import answer_when
from tests.service.sizes import content
from tests.serving import HEADERS, PLAIN
from tests.unit.api.rawhttp import Listening
from tests.unit.ledger.commands import run_manage

PART_BYTES = 8 * MiB  # the service's own
THREE_PARTS = 2 * PART_BYTES + MiB
LEASE_SECONDS = 1.5


def service(
    folder: Path,
    database_url: str,
    *accounts: StoreAccount,
    command: Sequence[str] = ("manage.py",),
    **environment: str,
) -> ServiceProcess:
    """Not started yet."""
    port = free_port()
    quick = {
        "DATABASE_URL": database_url,
        "UPLOAD_MAX_REQUEST_BYTES": "0",
        "UPLOAD_LEASE_SECONDS": str(LEASE_SECONDS),
        "UPLOAD_SETTLE_SECONDS": "0.2",
        "UPLOAD_WAIT_SECONDS": "2",
        "UPLOAD_SHUTDOWN_SECONDS": "1",
    }
    log = f"service-{port}.log"
    return ServiceProcess(folder, accounts, {**quick, **environment}, port=port, log=log, command=command)


async def exit_code(process: ServiceProcess, within_seconds: float) -> int:
    """The exit code of a service that was told to end."""
    assert process.process_id is not None
    with ExitStack() as watching:
        watched = Watched([process.process_id], watching)
        assert not await asyncio.to_thread(watched.running, within_seconds), f"running after {within_seconds} seconds"
    return await asyncio.to_thread(process.stop)


async def manage(database_url: str, accounts: Iterable[StoreAccount], *arguments: str) -> CompletedProcess[str]:
    """`manage.py` with these accounts, which must include A: the command has an account A in any case."""
    environment = {name: text for account in accounts for name, text in account.environment().items()}
    assert "AWS_ACCOUNT_A" in environment
    return await asyncio.to_thread(run_manage, database_url, *arguments, **environment)


async def manage_json(
    database_url: str, accounts: Iterable[StoreAccount], *arguments: str
) -> tuple[int, dict[str, Any]]:
    """Exit code, and the one object that the command prints with `--json`."""
    ended = await manage(database_url, accounts, *arguments, "--json")
    assert ended.stderr == ""
    [line] = ended.stdout.splitlines()
    return ended.returncode, json.loads(line)


def client_of(process: Listening) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=process.url, headers=HEADERS, timeout=60, **PLAIN)


async def until_refused(service: Listening) -> None:
    """Until new requests are refused; asks what leaves nothing behind."""
    async with asyncio.timeout(30), httpx.AsyncClient(**PLAIN) as client:
        asked = client.build_request("GET", f"{service.url}/_/ready", headers={"connection": "close"})
        try:
            while (await client.send(asked)).status_code == 200:  # noqa: ASYNC110 - nothing signals it
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
    """The first answer that is not `key_busy`; nothing else shows that the clean-up is done."""
    async with client_of(process) as client:
        return await answer_when(lambda: client.put(f"/files/{key}", content=body), is_not_busy)


def is_not_busy(answer: httpx.Response) -> bool:
    """Whether the key is free of other uploads and their remains."""
    if answer.json().get("code") != "key_busy":
        return True
    assert answer.status_code == 409
    assert "retry-after" in answer.headers
    return False


async def until(holds: Callable[[], bool]) -> None:
    """Asks in a thread, because the question may block."""
    await answer_when(lambda: asyncio.to_thread(holds), bool)


async def until_nothing_is_left(accounts: Iterable[StoreAccount]) -> None:
    examined = list(accounts)
    await until(lambda: not any(account.contents() for account in examined))


class HeldBody:
    """A body of three parts whose last byte waits for `goes_on`."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.bytes = content(THREE_PARTS)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.bytes[:-1]
        await self.goes_on.wait()
        yield self.bytes[-1:]
