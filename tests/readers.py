"""Reading without uploading: files put into accounts through the seam, told of by records in memory, behind a socket.

What is tested so is the reading alone; that what an upload left can be read, the tests of the whole service say.
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from file.api.app import Api
from file.api.auth import Auth
from file.api.body import BodyLimits
from file.api.discarding import Discarding
from file.api.endpoints.get import ReaderLimits, Readings
from file.api.endpoints.metrics import Metrics
from file.api.middleware import Middleware
from file.api.uploads import Uploads
from file.ledger.read.records import Records
from file.logic.accounts.placement import Placement
from file.logic.naming import name_of, new_file_id
from file.logic.ports import StorageAccount
from file.logic.values import FILE_ID, FileState, Limits, Listed, ObjectDescription, Outcome, Receipt
from file.management.server.connections import ConnectionLimits
from file.management.server.serving import new_server
from testkit.account import StoreAccount
from testkit.memoryledger import MemoryLedger
from testkit.ports import free_port
from tests.buckets import registry_of, s3_buckets
from tests.files import digests_of, part_of
from tests.flow import HASHES
from tests.serving import PLAIN

TOKEN = "the-token-of-a-reader"
AUTHORIZATION = {"authorization": f"Bearer {TOKEN}"}
STORED_AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
LAST_MODIFIED = "Fri, 02 Jan 2026 03:04:05 GMT"


class MemoryRecords:
    """What was acknowledged."""

    def __init__(self) -> None:
        self.receipts: dict[str, Receipt] = {}
        self.asked: list[dict[str, Any]] = []

    async def file(self, key: str) -> Receipt | None:
        return self.receipts.get(key)

    async def receipt(self, file_id: str) -> Receipt | None:
        return next((receipt for receipt in self.receipts.values() if receipt.id == file_id), None)

    async def erasure(self, file_id: str) -> None:
        return None

    async def page(
        self, *, prefix: str = "", after: str = "", limit: int, state: FileState | None = None
    ) -> list[Listed]:
        self.asked.append({"prefix": prefix, "after": after, "limit": limit, "state": state})
        keys = sorted(key for key in self.receipts if key.startswith(prefix) and key > after)
        found = [_listed(self.receipts[key]) for key in keys]
        return [file for file in found if state in (None, file.state)][:limit]

    def add(self, receipt: Receipt) -> Receipt:
        self.receipts[receipt.key] = receipt
        return receipt


def _listed(receipt: Receipt) -> Listed:
    assert receipt.digests is not None
    return Listed(
        id=receipt.id,
        key=receipt.key,
        name=receipt.name,
        size=receipt.digests.size,
        content_type=receipt.content_type,
        sha256=receipt.digests.sha256,
        state=receipt.state,
        created_at=receipt.created_at or STORED_AT,
        stored_at=receipt.stored_at or STORED_AT,
    )


def receipt_of(key: str, content: bytes, outcomes: Iterable[Outcome] = (), **changes: Any) -> Receipt:
    receipt = Receipt(
        id=new_file_id(),
        key=key,
        name=name_of(key),
        content_type="text/x-test; charset=utf-8",
        digests=digests_of(content),
        outcomes=tuple(outcomes),
        created_at=STORED_AT,
        stored_at=STORED_AT,
    )
    return dataclasses.replace(receipt, **changes)


@dataclasses.dataclass
class Reader:
    """A running service that only has readers."""

    url: str
    records: MemoryRecords
    readings: Readings
    buckets: Sequence[StorageAccount]

    def client(self, **options: Any) -> httpx.AsyncClient:
        """With the token, unless told otherwise."""
        return httpx.AsyncClient(base_url=self.url, **{**PLAIN, "headers": AUTHORIZATION, "timeout": 30, **options})

    async def get(self, path: str, method: str = "GET", **headers: str) -> httpx.Response:
        """`headers` with underscores for the dashes."""
        async with self.client() as client:
            return await client.request(
                method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
            )

    async def store(
        self, key: str, content: bytes, *, into: Sequence[StorageAccount] | None = None, **changes: Any
    ) -> Receipt:
        """The file in these accounts, by default in all of them."""
        receipt = receipt_of(key, content, **changes)
        metadata = {**receipt.metadata, FILE_ID: receipt.id}
        description = ObjectDescription(
            file_id=receipt.id, key=key, content_type=receipt.content_type, metadata=metadata
        )
        outcomes = [await bucket.put(description, part_of(content)) for bucket in into or self.buckets]
        return self.records.add(dataclasses.replace(receipt, outcomes=(*outcomes, *receipt.outcomes)))


@asynccontextmanager
async def _opened() -> AsyncIterator[None]:
    """Nothing has to be open here."""
    yield


class _Eraser:
    """Nothing is ever erased here."""

    async def erase(self, key: str, file_id: str | None) -> None:
        return None


@asynccontextmanager
async def reading(buckets: Sequence[StorageAccount], *, order: Sequence[str] = ()) -> AsyncIterator[Reader]:
    """Serve readers of these accounts until the block ends."""

    placement = Placement(registry_of(buckets), read_order=order)
    records = MemoryRecords()
    auth = Auth({"reader": TOKEN}, open=False)
    uploads = Uploads(1, share=auth.share, placement=placement, limits=Limits(), ledger=MemoryLedger(), hashes=HASHES)
    figures = Metrics(uploads, Records(), None, version="0")  # nobody asks for them
    limits = ReaderLimits(at_once=64, share=auth.share, wait_seconds=10.0, min_bytes_per_second=0, grace_seconds=10.0)
    readings = Readings(records, limits, placement)
    api = Api(auth, uploads, readings, placement.registry, _opened, eraser=_Eraser(), figures=figures, version="0")
    middleware = Middleware(api, _no_pages, limits=BodyLimits(0, 0, 30.0), discarding=Discarding())
    served = _Served(middleware, api)
    port = free_port()
    server = new_server(served, "127.0.0.1", port, ConnectionLimits(idle_seconds=75, head_seconds=10))
    serving = asyncio.ensure_future(server.serve())
    reader = Reader(f"http://127.0.0.1:{port}", records, api.readings, buckets)
    try:
        async with reader.client() as client, asyncio.timeout(10):
            while not await _is_ready(client):  # noqa: ASYNC110 - only an answer tells that the socket is served
                await asyncio.sleep(0.01)
        yield reader
    finally:
        await served.drain(0)
        server.stop()
        await asyncio.wait((serving,), timeout=10)


@asynccontextmanager
async def reading_from(*accounts: StoreAccount, order: Sequence[str] = (), **options: Any) -> AsyncIterator[Reader]:
    """The same with real accounts; `options` as in `tests.buckets`."""
    async with s3_buckets(*accounts, **options) as buckets, reading(buckets, order=order) as reader:
        yield reader


class _Served:
    def __init__(self, middleware: Middleware, api: Api) -> None:
        self._middleware = middleware
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._middleware(scope, receive, send)

    async def drain(self, seconds: float) -> None:
        await self._api.readings.drain(seconds)


async def _no_pages(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("no request of these tests is Django's")


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/_/ready")).status_code == 200
    except httpx.TransportError:
        return False
