"""Fills a ledger with files of three replicas each: `python -m bench.filled_ledger PATH FILES` makes one on SQLite.

For measuring the service on a large ledger (`bench/growth.py`) and its queries (`bench/ledger_rows.py`). The files in
it were never uploaded.
"""

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import django
from django.apps import apps
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")
if not apps.ready:
    django.setup()

from file.logic.values import FileState, ReplicaState
from file.models import File, Replica
from tests.databases import migrate, registered, sqlite

ACCOUNTS = ("A", "B", "C")
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_BATCH = 100_000
_BUCKETS = {account: f"bucket-{account.lower()}" for account in ACCOUNTS}


def key_of(number: int) -> str:
    return f"team-{number % 200:03d}/{1_795_334_400 + number}-k3v9q2-report.pdf"


def id_of(number: int) -> uuid.UUID:
    """A UUIDv7: the milliseconds first."""
    milliseconds = int(_BEGAN.timestamp() * 1000) + number * 10
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | (number * 2_654_435_761) & 0xFFFFFFFF)


def state_of(number: int) -> FileState:
    """The state of a file: 1 of 200 is partial, 1 of 100 erased, 1 of 5,000 under way."""
    if number % 5000 == 11:
        return FileState.RECEIVING
    if number % 100 == 13:
        return FileState.ERASED
    return FileState.PARTIAL if number % 200 == 7 else FileState.STORED


def stored(number: int) -> FileState:
    """All files are stored: a service on this ledger has no background work."""
    return FileState.STORED


_FILE = (
    "id", "key", "live", "name", "content_type", "size", "sha256", "crc64nvme", "metadata", "ack", "wanted", "state",
    "who", "idempotency_key", "owner", "lease_until", "created_at", "stored_at",
)  # fmt: skip
_REPLICA = (
    "file_id", "account", "bucket", "object_key", "state", "etag", "checksum", "request_id", "attempts",
    "due_at", "created_at", "stored_at",
)  # fmt: skip
Row = tuple[Any, ...]


def files(count: int, state: Callable[[int], FileState] = state_of) -> Iterator[Row]:
    """The values in the order of `_FILE`. Models would take ten times as long."""
    now = datetime.now(UTC)
    wanted = json.dumps({account: f"{bucket}/" for account, bucket in _BUCKETS.items()})
    for number in range(count):
        now_in = state(number)
        created = _BEGAN + timedelta(milliseconds=10 * number)
        receiving = now_in is FileState.RECEIVING
        repeatable = f"request-{number}" if number % 4 == 0 else None
        owner = "0" * 32 if receiving else None
        lease_until = now + timedelta(seconds=number % 3 * 3600 - 3600) if receiving else None
        yield (
            id_of(number), key_of(number), now_in is not FileState.ERASED, "report.pdf", "application/pdf", number,
            f"{number:064x}", "AAAAAAAAAAA=", "{}", "any", wanted, now_in.value, "me", repeatable, owner, lease_until,
            created, None if receiving else created,
        )  # fmt: skip


def replicas(count: int, state: Callable[[int], FileState] = state_of) -> Iterator[Row]:
    """The values in the order of `_REPLICA`."""
    now = datetime.now(UTC)
    for number in range(count):
        now_in = state(number)
        if now_in is FileState.RECEIVING:
            continue
        created = _BEGAN + timedelta(milliseconds=10 * number)
        lasting = ReplicaState.ERASED if now_in is FileState.ERASED else ReplicaState.STORED
        etag, request_id = f'"{number:032x}"', f"{number:016X}"
        for account, bucket in _BUCKETS.items():
            place = (id_of(number), account, bucket, key_of(number))
            if now_in is FileState.PARTIAL and account == "C":
                due = now + timedelta(seconds=number % 7200 - 3600)
                yield (*place, "pending", None, None, None, 0, due, created, None)
            else:
                yield (*place, lasting.value, etag, "crc64nvme", request_id, 0, None, created, created)


def fill(alias: str, count: int, state: Callable[[int], FileState] = state_of) -> None:
    """Writes the files with their replicas, and updates the statistics of the query planner."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for model, columns, rows in (
                (File, _FILE, files(count, state)),
                (Replica, _REPLICA, replicas(count, state)),
            ):
                with cursor.copy(f"COPY {model._meta.db_table} ({', '.join(columns)}) FROM STDIN") as copying:
                    for row in rows:
                        copying.write_row(row)
            cursor.execute("ANALYZE file_file, file_replica")
            return
        _load_file(cursor, File._meta.db_table, _FILE, files(count, state))
        _load_file(cursor, Replica._meta.db_table, _REPLICA, replicas(count, state))
        cursor.execute("ANALYZE")


def _load_file(cursor: Any, table: str, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
    """The values as Django writes them to SQLite."""

    def written(value: Any) -> Any:
        if isinstance(value, uuid.UUID):
            return value.hex
        return str(value.replace(tzinfo=None)) if isinstance(value, datetime) else value

    places = ", ".join(["%s"] * len(columns))
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - names of our models
    while batch := [tuple(map(written, row)) for row in islice(rows, _BATCH)]:
        cursor.execute("BEGIN")
        cursor.executemany(statement, batch)
        cursor.execute("COMMIT")


def main() -> None:
    path, count = Path(sys.argv[1]), int(sys.argv[2])
    with registered(sqlite(path)) as alias:
        migrate(alias)
        fill(alias, count, stored)


if __name__ == "__main__":
    main()
