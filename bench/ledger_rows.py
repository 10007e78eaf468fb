"""How fast the ledger is read when it is full: `python -m bench.ledger_rows --database sqlite|postgresql`.

Makes a database, fills it with files of three replicas each, asks what the service and its admin ask, and prints the
milliseconds and the index of each question. Exits with 1 if one reads a whole table. The tests ask the same questions
of fewer files (`tests/ledger/test_large_ledger.py`).
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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

from file.admin import MOST_SHOWN, AccountFilter, FileAdmin, StateFilter
from file.ledger import queries
from file.logic.values import FileState, ReplicaState
from file.models import File, Replica
from tests.databases import migrate, postgres, registered, sqlite

ACCOUNTS = ("A", "B", "C")
PAGE = 100
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_BATCH = 100_000
_ROUNDS = 7
_BUCKETS = {account: f"files-{account.lower()}" for account in ACCOUNTS}


@dataclass(frozen=True, slots=True)
class Question:
    """A query as the service makes it. `new` makes it anew, for a query set remembers its answer."""

    name: str
    new: Callable[[], Any]


def key_of(number: int) -> str:
    return f"team-{number % 200:03d}/{1_795_334_400 + number}-k3v9q2-report.pdf"


def id_of(number: int) -> uuid.UUID:
    """As a UUIDv7 is made: the milliseconds first."""
    milliseconds = int(_BEGAN.timestamp() * 1000) + number * 10
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | (number * 2_654_435_761) & 0xFFFFFFFF)


def state_of(number: int) -> FileState:
    """One of 200 partial, one of 100 erased, one of 5,000 under way."""
    if number % 5000 == 11:
        return FileState.RECEIVING
    if number % 100 == 13:
        return FileState.ERASED
    return FileState.PARTIAL if number % 200 == 7 else FileState.STORED


_FILE = (
    "id", "key", "live", "name", "content_type", "size", "sha256", "crc64nvme", "metadata", "ack", "wanted", "state",
    "who", "idempotency_key", "owner", "lease_until", "created_at", "stored_at",
)  # fmt: skip
_REPLICA = (
    "file_id", "account", "bucket", "object_key", "state", "etag", "checksum", "request_id", "attempts",
    "next_attempt_at", "created_at", "stored_at",
)  # fmt: skip
Row = tuple[Any, ...]


def files(count: int) -> Iterator[Row]:
    """In the order of `_FILE`. Models would take ten times as long."""
    now = datetime.now(UTC)
    wanted = json.dumps({account: f"{bucket}/" for account, bucket in _BUCKETS.items()})
    for number in range(count):
        state = state_of(number)
        created = _BEGAN + timedelta(milliseconds=10 * number)
        receiving = state is FileState.RECEIVING
        repeatable = f"request-{number}" if number % 4 == 0 else None
        owner = "0" * 32 if receiving else None
        lease_until = now + timedelta(seconds=number % 3 * 3600 - 3600) if receiving else None
        yield (
            id_of(number), key_of(number), state is not FileState.ERASED, "report.pdf", "application/pdf", number,
            f"{number:064x}", "AAAAAAAAAAA=", "{}", "any", wanted, state.value, "me", repeatable, owner, lease_until,
            created, None if receiving else created,
        )  # fmt: skip


def replicas(count: int) -> Iterator[Row]:
    """In the order of `_REPLICA`."""
    now = datetime.now(UTC)
    for number in range(count):
        state = state_of(number)
        if state is FileState.RECEIVING:
            continue
        created = _BEGAN + timedelta(milliseconds=10 * number)
        lasting = ReplicaState.ERASED if state is FileState.ERASED else ReplicaState.STORED
        etag, request_id = f'"{number:032x}"', f"{number:016X}"
        for account, bucket in _BUCKETS.items():
            place = (id_of(number), account, bucket, key_of(number))
            if state is FileState.PARTIAL and account == "C":
                due = now + timedelta(seconds=number % 7200 - 3600)
                yield (*place, "pending", None, None, None, 0, due, created, None)
            else:
                yield (*place, lasting.value, etag, "crc64nvme", request_id, 0, None, created, created)


def fill(alias: str, count: int) -> None:
    """So many files with their replicas, and the statistics by which the database plans."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for model, columns, rows in ((File, _FILE, files(count)), (Replica, _REPLICA, replicas(count))):
                with cursor.copy(f"COPY {model._meta.db_table} ({', '.join(columns)}) FROM STDIN") as copying:
                    for row in rows:
                        copying.write_row(row)
            cursor.execute("ANALYZE file_file, file_replica")
            return
        _load_file(cursor, File._meta.db_table, _FILE, files(count))
        _load_file(cursor, Replica._meta.db_table, _REPLICA, replicas(count))
        cursor.execute("ANALYZE")


def _load_file(cursor: Any, table: str, columns: tuple[str, ...], rows: Iterator[Row]) -> None:
    """Values as Django writes them to SQLite."""

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


def questions(alias: str, count: int) -> list[Question]:
    """What the service asks, and what its admin does."""
    middle = key_of(count // 2)
    shown = File.objects.using(alias).order_by("-id")

    def chosen(kind: Any, value: str) -> Any:
        return kind(None, {kind.parameter_name: [value]}, File, FileAdmin).queryset(None, shown)

    return [
        Question("file by key", lambda: queries.replicas_of_key(alias, middle)),
        Question("receipt by id", lambda: queries.replicas_of_file(alias, id_of(count // 2))),
        Question("page, the first", lambda: queries.listing(alias)[:PAGE]),
        Question("page, from the middle", lambda: queries.listing(alias, after=middle)[:PAGE]),
        Question("page of a prefix", lambda: queries.listing(alias, prefix="team-150/")[:PAGE]),
        Question("page of a prefix, state stored", lambda: _stored_page(alias)),
        Question("page, state partial", lambda: queries.listing(alias, state=FileState.PARTIAL)[:PAGE]),
        Question("due replicas of C", lambda: queries.due_replicas(alias, "C", ReplicaState.PENDING)[:100]),
        Question("due replicas of B: none", lambda: queries.due_replicas(alias, "B", ReplicaState.PENDING)[:100]),
        Question("expired leases", lambda: queries.expired_leases(alias)[:100]),
        Question("replicas still to be done", lambda: queries.unfinished_replicas(alias)),
        Question("admin, the newest", lambda: shown[:50]),
        Question("admin, the count", lambda: shown.values_list("pk")[:MOST_SHOWN]),
        Question("admin, state partial", lambda: chosen(StateFilter, "partial")[:50]),
        Question("admin, state receiving", lambda: chosen(StateFilter, "receiving")[:50]),
        Question("admin, account C", lambda: chosen(AccountFilter, "C")[:50]),
    ]


def _stored_page(alias: str) -> Any:
    return queries.listing(alias, prefix="team-150/", state=FileState.STORED)[:PAGE]


def indexes_in(plan: str) -> list[str]:
    """The names of the indexes that a plan of either database uses."""
    return re.findall(r"(?:INDEX|Scan (?:Backward )?using|Bitmap Index Scan on) (?!\()(\w+)", plan)


def whole_tables_in(plan: str) -> list[str]:
    """The tables that a plan reads from one end to the other."""
    return re.findall(r"SCAN (file_\w+)(?! USING)\b(?!.* USING)|Seq Scan on (\w+)", plan)


@contextmanager
def new_database(kind: str) -> Iterator[str]:
    """The alias of an empty, migrated database that is gone afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        if kind == "postgresql":
            server = stack.enter_context(postgres(folder / "server"))
            yield stack.enter_context(server.copy())
        else:
            alias = stack.enter_context(registered(sqlite(folder / "ledger.sqlite3")))
            migrate(alias)
            yield alias


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--files", type=int, default=2_000_000)
    options = parser.parse_args()
    failed = False
    with new_database(options.database) as alias:
        begun = time.perf_counter()
        fill(alias, options.files)
        say(f"{options.database}: {options.files:,} files in {time.perf_counter() - begun:.0f} s\n")
        say(f"{'question':34}{'median':>10}{'worst':>10}  index")
        for question in questions(alias, options.files):
            taken = []
            for _ in range(_ROUNDS):
                begun = time.perf_counter()
                list(question.new())
                taken.append(1000 * (time.perf_counter() - begun))
            plan = question.new().explain()
            whole = whole_tables_in(plan)
            failed = failed or bool(whole)
            how = ", ".join(indexes_in(plan)) + ("  READS A WHOLE TABLE" if whole else "")
            say(f"{question.name:34}{statistics.median(taken):>7.2f} ms{max(taken):>7.2f} ms  {how}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
