"""How fast the ledger is read when it is full: `python -m bench.ledger_rows --database sqlite|postgresql`.

Creates a database, fills it with files of three replicas each, runs the queries of the service and its admin, and
prints the milliseconds and the index of each. Exits with 1 if a query reads a whole table. The tests run the same
queries on fewer files (`tests/unit/ledger/read/test_queries.py`).
"""

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
from django.apps import apps

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")
if not apps.ready:
    django.setup()

from bench.filled_ledger import fill, id_of, key_of
from file.admin import MOST_SHOWN, AccountFilter, FileAdmin, StateFilter
from file.ledger.read import queries
from file.logic.values import FileState, ReplicaState
from file.models import File
from tests.databases import Postgres, migrate, registered, sqlite

PAGE = 100
_ROUNDS = 7


@dataclass(frozen=True, slots=True)
class Question:
    """A query of the service. `new` creates it again, because a query set caches its result."""

    name: str
    new: Callable[[], Any]


def questions(alias: str, count: int) -> list[Question]:
    """The queries of the service and of its admin."""
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
    """The tables that a plan reads completely."""
    return re.findall(r"SCAN (file_\w+)(?! USING)\b(?!.* USING)|Seq Scan on (\w+)", plan)


@contextmanager
def new_database(kind: str) -> Iterator[str]:
    """The alias of an empty, migrated database that is deleted afterwards."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        if kind == "postgresql":
            server = stack.enter_context(Postgres())
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
