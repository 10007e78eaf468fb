"""An account whose every request meets a mistake of ours: uploads, reads and the work of the others go on."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from file.audit.findings import AccountFindings, Findings
from file.audit.verify import Plan, Verify
from file.ledger.audit.replicas import Replicas
from file.ledger.audit.verification import Verification
from file.ledger.database.threads import ReadingThreads
from file.logic.errors import AccountFailingError
from file.logic.values import Ack, Digests, Stored
from file.s3.bucket import S3Bucket, S3Upload
from file.s3.client import Network, S3Client
from testkit.account import StoreAccount
from tests.buckets import account_of, registry_of, s3_buckets
from tests.files import described, part_of
from tests.service.conftest import Accounts, put, serving
from tests.service.owners import assert_nothing_left, assert_stored
from tests.service.receipts import assert_told, statuses
from tests.service.sizes import MANY_PARTS, ONE_PART, PART_BYTES, content
from tests.serving import Running, running

NO_HEADER = "\ud800"  # cannot be encoded: a mistake that no rule about settings or answers prevents
FAILING = AccountFailingError.code
SETTINGS: dict[str, Any] = {"part_size": PART_BYTES, "max_request_bytes": 0, "settle_seconds": 0.1}


@asynccontextmanager
async def crashing(store: StoreAccount) -> AsyncIterator[S3Bucket]:
    """A bucket in which every request raises `UnicodeEncodeError` before it is sent."""
    account = dataclasses.replace(account_of(store), expected_bucket_owner=NO_HEADER)
    client = S3Client(account, Network())
    try:
        yield S3Bucket(client, requests=8, pause_seconds=0)
    finally:
        await client.close()


@asynccontextmanager
async def crashing_first(accounts: Accounts, **settings: Any) -> AsyncIterator[Running]:
    """The service with an account A that crashes, and B and C as they are."""
    async with AsyncExitStack() as stack:
        bad = await stack.enter_async_context(crashing(accounts["A"]))
        good = await stack.enter_async_context(s3_buckets(accounts["B"], accounts["C"]))
        yield await stack.enter_async_context(running([bad, *good], **{**SETTINGS, **settings}))


@pytest.mark.parametrize("size", [ONE_PART, MANY_PARTS])
async def test_an_upload_that_needs_the_account_is_refused_with_every_outcome(accounts: Accounts, size: int) -> None:
    async with crashing_first(accounts) as service:
        assert_told(await put(service, size), 502, {"A": FAILING, "B": "taken_back", "C": "taken_back"})
    assert_nothing_left([accounts["B"], accounts["C"]])


@pytest.mark.parametrize("size", [ONE_PART, MANY_PARTS])
async def test_an_upload_that_does_not_need_the_account_is_stored(accounts: Accounts, size: int) -> None:
    async with crashing_first(accounts, ack=Ack("2")) as service:
        answer = await put(service, size)
        assert answer.status_code == 202, answer.text
        assert statuses(answer.json()) == {"A": "pending", "B": "stored", "C": "stored"}
    assert_stored([accounts["B"], accounts["C"]], {"k": content(size)})


@pytest.fixture
async def stored(accounts: Accounts, sqlite_database: str) -> str:
    """The database of a ledger with a file, which all accounts have."""
    async with serving(*accounts.values(), database=sqlite_database) as service:
        assert (await put(service, ONE_PART)).status_code == 201
    return sqlite_database


async def test_a_file_is_read_from_another_account_and_erased_there(accounts: Accounts, stored: str) -> None:
    async with crashing_first(accounts, database=stored) as service, service.client() as client:
        assert (await client.get("/files/k")).content == content(ONE_PART)
        assert_told(await client.get("/_/accounts"), 200, {"A": FAILING, "B": None, "C": None})
        answer = await client.delete("/files/k")
        assert answer.status_code == 202, answer.text
        assert statuses(answer.json()) == {"A": "erasing", "B": "erased", "C": "erased"}
    assert_nothing_left([accounts["B"], accounts["C"]])


async def test_verifying_reports_the_account_and_examines_the_others(accounts: Accounts, stored: str) -> None:
    findings = Findings({name: AccountFindings() for name in accounts})
    threads = ReadingThreads(stored, count=1)
    async with crashing(accounts["A"]) as bad, s3_buckets(accounts["B"], accounts["C"]) as good:
        parts = Replicas(threads, stored), Verification(threads, stored)
        await Verify(*parts, registry_of([bad, *good]), Plan(), findings).run()
    await threads.close()
    assert isinstance(findings.accounts["A"].error, AccountFailingError)
    assert (findings.accounts["B"].good, findings.accounts["C"].good) == (1, 1)


FILE = described("k")
PART = part_of(b"x")
STORED = Stored(
    account="A", bucket="b", object_key="k", etag='"e"', version_id=None, request_id=None, checked_by="crc64nvme"
)


async def read(bucket: S3Bucket) -> None:
    async with bucket.read(STORED, file_id="i", start=0, stop=1, size=1) as pieces:
        async for _ in pieces:
            pass


async def walk(pages: Any) -> None:
    async for _ in pages:
        pass


NOW = datetime.now(UTC)
CALLS: dict[str, Callable[[S3Bucket], Awaitable[object]]] = {
    "put": lambda bucket: bucket.put(FILE, PART),
    "begin": lambda bucket: bucket.begin(FILE),
    "find": lambda bucket: bucket.find("k", "i"),
    "remove": lambda bucket: bucket.remove("k", "i"),
    "abort": lambda bucket: bucket.abort("k", "u"),
    "abort_lost": lambda bucket: bucket.abort_lost("k", since=NOW, until=NOW),
    "read": read,
    "pages": lambda bucket: walk(bucket.pages()),
    "open_uploads": lambda bucket: walk(bucket.open_uploads()),
    "keys_behind": lambda bucket: bucket.keys_behind("k"),
    "look": lambda bucket: bucket.look("k"),
    "probe": lambda bucket: bucket.probe(),
    "upload.send": lambda bucket: S3Upload(bucket, FILE, "u").send(PART),
    "upload.complete": lambda bucket: S3Upload(bucket, FILE, "u").complete(Digests(1, b"", 0)),
    "upload.abort": lambda bucket: S3Upload(bucket, FILE, "u").abort(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_no_call_of_an_account_raises_anything_else(call: str, accounts: Accounts) -> None:
    async with crashing(accounts["A"]) as bucket, asyncio.timeout(20):
        with pytest.raises(AccountFailingError) as caught:
            await CALLS[call](bucket)
        assert caught.value.unanswered
        assert isinstance(caught.value.__cause__, UnicodeEncodeError)


def test_every_method_of_a_bucket_and_an_upload_is_called() -> None:
    offered = {name for name in vars(S3Bucket) if not name.startswith("_")}
    offered |= {f"upload.{name}" for name in vars(S3Upload) if not name.startswith("_")}
    offered -= {"has_room", "repeats"}  # they ask the account nothing
    assert offered == set(CALLS)
