"""After an erasure the files of the ledger keep only what docs/privacy.md lists."""

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from file.ledger.database.privatefiles import ledger_file
from testkit.memorybucket import MemoryBucket
from testkit.processes import run_process
from testkit.serviceprocess import TOKEN
from tests.unit.api.expectations import ALWAYS, memory_service

BOUND_SECONDS = 60.0
FILES = 8
WHO = "anna.muster"
HEADERS = {"content-type": "text/x-of-anna", "x-amz-meta-colour": "blue-as-anna-likes-it"}
OF_EACH = (*HEADERS.values(), WHO, "idempotency-of-anna")


@dataclass
class Ledger:
    path: Path
    client: httpx.AsyncClient
    buckets: list[MemoryBucket]

    def has(self, text: str) -> bool:
        """Another process reads: if we closed a file of SQLite ourselves, we would lose our locks on it."""
        files = (self.path, f"{self.path}-wal")
        return text.encode() in run_process(["cat", *files], capture_output=True, check=True, timeout=30).stdout

    async def until_forgotten(self, *texts: str) -> None:
        async with asyncio.timeout(BOUND_SECONDS):
            while any([await asyncio.to_thread(self.has, text) for text in texts]):  # noqa: ASYNC110 - see `has`
                await asyncio.sleep(0.1)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.path)) as reading:
            reading.row_factory = sqlite3.Row
            return [dict(row) for row in reading.execute(statement)]

    async def put(self, key: str) -> dict[str, Any]:
        headers = {**HEADERS, "idempotency-key": f"idempotency-of-anna-{key}"}
        answer = await self.client.put(f"/files/{key}", content=key.encode(), headers=headers)
        assert answer.status_code == 201, answer.text
        receipt: dict[str, Any] = answer.json()
        return receipt


@pytest_asyncio.fixture
async def ledger(sqlite_database: str) -> AsyncIterator[Ledger]:
    path = ledger_file(sqlite_database)
    assert path is not None
    settings: dict[str, Any] = {"tokens": {WHO: TOKEN}, "settle_seconds": 0.1, "lease_seconds": 6.0}
    async with memory_service(database=sqlite_database, **settings) as service, service.client(timeout=60) as client:
        yield Ledger(path, client, service.buckets)


async def test_nothing_of_a_file_is_in_the_ledgers_files_when_it_was_erased(ledger: Ledger) -> None:
    keys = [f"letters/anna-{number:03d}-{'x' * (number % 7)}.pdf" for number in range(FILES)]
    receipts = await asyncio.gather(*map(ledger.put, keys))
    for text in (*keys, *OF_EACH, receipts[0]["sha256"]):
        assert ledger.has(text)
    for erased in await asyncio.gather(*(ledger.client.delete(f"/files/{key}") for key in keys)):
        assert erased.status_code in (200, 202)  # a loaded machine may take longer than the answer waits
    await ledger.until_forgotten("anna")
    for receipt in receipts:
        assert not any(ledger.has(receipt[digest]) for digest in ("sha256", "crc64nvme"))
    assert not any(ledger.has(account["object_key"]) for account in receipts[0]["accounts"].values())

    # These stay by design: the size and the times of the file, and the outcome of each account.
    files = ledger.rows("SELECT * FROM file_file")
    assert {uuid.UUID(file["id"]) for file in files} == {uuid.UUID(receipt["id"]) for receipt in receipts}
    kept = {"id", "key_hash", "size", "created_at", "stored_at", "erased_at", "state", "ack"}
    for file in files:
        assert {name for name, value in file.items() if value not in (None, "", 0, "{}")} == kept
        assert len(file["key_hash"]) == 64
    replicas = ledger.rows("SELECT * FROM file_replica")
    kept = {"id", "file_id", "account", "bucket", "state", "created_at", "stored_at", "erased_at"}
    assert len(replicas) == 3 * FILES
    for replica in replicas:
        assert {name for name, value in replica.items() if value not in (None, "", 0)} - {"attempts"} == kept
    assert ledger.rows("SELECT * FROM file_openupload") == []


async def test_the_key_alone_is_left_when_an_account_does_not_erase(ledger: Ledger) -> None:
    key = "letters/anna.pdf"
    await ledger.put(key)
    ledger.buckets[1].faults["refuses_remove"] = ALWAYS
    assert (await ledger.client.delete(f"/files/{key}")).status_code == 202
    await ledger.until_forgotten(*OF_EACH)
    assert ledger.has(key)  # the removal of the object needs it
    ledger.buckets[1].faults.clear()
    await ledger.until_forgotten("anna")


async def test_uploads_go_on_when_a_reader_keeps_the_log_from_being_emptied(ledger: Ledger) -> None:
    await ledger.put("anna.pdf")
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as reading:
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM file_file").fetchone()
        assert (await ledger.client.delete("/files/anna.pdf")).status_code == 200
        for number in range(5):
            await ledger.put(f"bert-{number}")
        assert ledger.has("anna.pdf")
    await ledger.until_forgotten("anna.pdf")
