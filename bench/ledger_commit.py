"""The cost of the ledger per upload: intent and outcome with three accounts, many at once, on SQLite in a folder.

    python -m bench.ledger_commit [--uploads 4000] [--at-once 16]

Prints uploads a second and CPU milliseconds per upload, of the whole process.
"""

import argparse
import asyncio
import os
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")
django.setup()

from file.ledger.commit.ledger import DatabaseLedger
from file.logic.naming import new_file_id
from file.logic.values import Digests, Intent, Place, Receipt, Stored
from tests.databases import scratch_sqlite

ACCOUNTS = ("A", "B", "C")


async def upload(ledger: DatabaseLedger, key: str) -> None:
    file_id = new_file_id()
    places = tuple(Place(name, f"bucket-{name.lower()}", key) for name in ACCOUNTS)
    intent = Intent(
        id=file_id,
        key=key,
        key_is_chosen=True,
        name="name.bin",
        content_type="application/octet-stream",
        metadata={},
        size=4096,
        sha256=bytes(32),
        part_size=None,
        ack="all",
        places=places,
        who="bench",
        idempotency_key=None,
    )
    assert await ledger.intend(intent) is None
    outcomes = tuple(
        Stored(
            account=place.account,
            bucket=place.bucket,
            object_key=place.object_key,
            etag='"d41d8cd98f00b204e9800998ecf8427e"',
            version_id=None,
            request_id="4442587FB7D0A2F9",
        )
        for place in places
    )
    receipt = Receipt(
        id=file_id,
        key=key,
        name="name.bin",
        content_type="application/octet-stream",
        digests=Digests(4096, bytes(32), 1),
        outcomes=outcomes,
    )
    assert await ledger.conclude(receipt)


async def measure(alias: str, uploads: int, at_once: int) -> None:
    numbers = iter(range(uploads))

    async def client() -> None:
        for number in numbers:
            await upload(ledger, f"key-{number}")

    async with DatabaseLedger(alias, lease_seconds=30.0, wait_seconds=10.0, settle_seconds=2.0) as ledger:
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(client() for _ in range(at_once)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{uploads / seconds:,.0f} uploads/s, {cpu / uploads * 1000:.2f} ms of CPU per upload, {at_once} at once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uploads", type=int, default=4000)
    parser.add_argument("--at-once", type=int, default=16)
    options = parser.parse_args()
    with scratch_sqlite() as alias:
        asyncio.run(measure(alias, options.uploads, options.at_once))


if __name__ == "__main__":
    main()
