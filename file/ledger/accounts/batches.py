"""Changes of many rows, some at a time: beside the running service, in bounded memory, and repeatable.

Each batch is one short transaction. Then there is a pause as long as the transaction: SQLite gives its write lock to
the process that asks at the right moment, and the service needs its turn. A batch that met a deadlock is repeated:
transactions of many rows cross those of one row.
"""

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

from django.db import Error, connections, transaction
from django.db.models import Max, QuerySet

from file.logic.errors import LedgerUnavailableError
from file.models import Replica

T = TypeVar("T")
ROWS = 500  # in a transaction

_IDS = 5_000  # the number of primary keys in a range
_ATTEMPTS = 5
_LONGEST_PAUSE_SECONDS = 0.2
_DEADLOCKS = ("40P01", "40001")  # PostgreSQL's codes


def write(alias: str, work: Callable[[], T]) -> T:
    """Runs `work` in its own transaction. Raises `LedgerUnavailableError` and the errors of `work`."""
    for attempt in range(1, _ATTEMPTS + 1):
        began = time.monotonic()
        try:
            with transaction.atomic(using=alias, durable=True):
                result = work()
        except Error as error:
            if attempt < _ATTEMPTS and getattr(error.__cause__, "sqlstate", None) in _DEADLOCKS:
                continue
            raise LedgerUnavailableError("The ledger cannot be written.") from error
        time.sleep(min(_LONGEST_PAUSE_SECONDS, time.monotonic() - began))
        return result
    raise AssertionError  # the last attempt returned or raised


@contextmanager
def reading() -> Iterator[None]:
    """Turns errors of the database into `LedgerUnavailableError`."""
    try:
        yield
    except Error as error:
        raise LedgerUnavailableError("The ledger cannot be read.") from error


def patient(alias: str) -> AbstractContextManager[Any]:
    """For a query that reads a whole table: switches off PostgreSQL's time limit of a statement."""
    connection = connections[alias]
    return nullcontext() if connection.vendor != "postgresql" else _without_limit(alias)


def replica_ranges(alias: str) -> Iterator[tuple[int, int]]:
    """Ranges of primary keys, each above the first number up to the second, for all replicas."""
    low = 0
    while low < (last := Replica.objects.using(alias).aggregate(last=Max("pk"))["last"] or 0):
        while low < last:
            yield low, low + _IDS
            low += _IDS


def chunks_of(rows: QuerySet[Replica]) -> Iterator[list[int]]:
    """The primary keys of rows that will change, with eight bytes each in memory."""
    ids = array("q", rows.values_list("pk", flat=True).iterator())
    for start in range(0, len(ids), ROWS):
        yield ids[start : start + ROWS].tolist()


@contextmanager
def _without_limit(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        yield
