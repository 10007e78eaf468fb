"""A service that only serves readers: files in accounts, records in memory, a real socket.

The tests of the whole service read what an upload has stored.
"""

import dataclasses
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

import httpx

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
from file.logic.values import FILE_ID, FileState, Limits, Listed, Outcome, Receipt
from file.server.server import ConnectionLimits
from testkit.account import StoreAccount
from testkit.memoryledger import MemoryLedger
from tests.buckets import registry_of, s3_buckets
from tests.files import described, digests_of, part_of
from tests.flow import HASHES
from tests.serving import PLAIN, listening, no_pages

TOKEN = "the-token-of-a-reader"
AUTHORIZATION = {"authorization": f"Bearer {TOKEN}"}
STORED_AT = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
LAST_MODIFIED = "Fri, 02 Jan 2026 03:04:05 GMT"


class MemoryRecords:
    """The acknowledged files."""

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
        found = [_listed(self.receipts[key]) for key in sorted(self.receipts) if key.startswith(prefix) and key > after]
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
        """With the token, unless `options` change that."""
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
        description = described(key, file_id=receipt.id, content_type=receipt.content_type, metadata=metadata)
        outcomes = [await bucket.put(description, part_of(content)) for bucket in into or self.buckets]
        return self.records.add(dataclasses.replace(receipt, outcomes=(*outcomes, *receipt.outcomes)))


class _Eraser:
    """Erases nothing."""

    async def erase(self, key: str, file_id: str | None) -> None:
        return None


@asynccontextmanager
async def reading(buckets: Sequence[StorageAccount], *, order: Sequence[str] = ()) -> AsyncIterator[Reader]:
    """Serve readers of these accounts until the block ends."""
    placement = Placement(registry_of(buckets), read_order=order)
    records = MemoryRecords()
    auth = Auth({"reader": TOKEN}, open=False)
    uploads = Uploads(1, share=auth.share, placement=placement, limits=Limits(), ledger=MemoryLedger(), hashes=HASHES)
    figures = Metrics(uploads, Records(), None, version="0")  # no test asks for them
    limits = ReaderLimits(at_once=64, share=auth.share, wait_seconds=10.0, min_bytes_per_second=0, grace_seconds=10.0)
    readings = Readings(records, limits, placement)
    api = Api(auth, uploads, readings, placement.registry, nullcontext, eraser=_Eraser(), figures=figures, version="0")
    middleware = Middleware(api, no_pages, limits=BodyLimits(0, 0, 30.0), discarding=Discarding())
    async with listening(middleware, readings.drain, ConnectionLimits(idle_seconds=75, head_seconds=10)) as url:
        yield Reader(url, records, readings, buckets)


@asynccontextmanager
async def reading_from(*accounts: StoreAccount, order: Sequence[str] = (), **options: Any) -> AsyncIterator[Reader]:
    """`reading` with real accounts; `options` as in `tests.buckets`."""
    async with s3_buckets(*accounts, **options) as buckets, reading(buckets, order=order) as reader:
        yield reader
