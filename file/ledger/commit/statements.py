"""The statements on the path of an upload, as SQL: the same text for SQLite and PostgreSQL but for clock and casts.

Each takes the rows of a whole group, and `RETURNING` says which rows succeeded: a claim for a key that is taken is left
out without an error, and an outcome counts only for a file that this process still owns. Times are the database's.

The driver's own cursor runs them, inside Django's transaction: Django's would rewrite each text once more, and its
parameters. Texts are kept, one for each number of rows, so that the driver finds what it has prepared before.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from file.ledger import states
from file.logic.values import Intent, Pending, Receipt, Stored, checksum_text

Row = Sequence[Any]
_ROWS_AT_ONCE = 500  # SQLite accepts 32,766 parameters per statement
_TEXTS = 64

# The inserted columns: those of each row, then those that are equal in all rows (`Dialect.claimed`, `Dialect.stored`).
CLAIM = (
    "INSERT INTO file_file (id, key, name, content_type, size, sha256, metadata, content_headers, part_size, ack, "
    f"wanted, who, idempotency_key, {states.CLAIMED_COLUMNS}, crc64nvme, created_at, stored_at)"
)
CLAIM_VALUES = 13
_REPLICA = "INSERT INTO file_replica (file_id, account, bucket, object_key, request_id, "
STORED = f"{_REPLICA}etag, version_id, checksum, {states.STORED_COLUMNS}, created_at, stored_at)"
STORED_VALUES = 8


@dataclass(frozen=True, slots=True)
class Dialect:
    """The differences between the databases. `lease`: the end of a lease that begins now."""

    now: str
    lease: str
    uuid: str
    place: str  # of a parameter

    def claimed(self, owner: str) -> str:
        return f"{states.claimed(owner, self.lease)}, NULL, {self.now}, NULL"

    @property
    def stored(self) -> str:
        return f"{states.STORED}, {self.now}, {self.now}"


def dialect_of(connection: BaseDatabaseWrapper, lease_seconds: float) -> Dialect:
    if connection.vendor == "postgresql":
        lease = f"clock_timestamp() + interval '{lease_seconds} seconds'"
        return Dialect("clock_timestamp()", lease, "CAST({} AS uuid)", "%s")
    # In Django's format, so that both can be compared.
    clock = "strftime('%Y-%m-%d %H:%M:%f', 'now'{})"
    return Dialect(clock.format(""), clock.format(f", '+{lease_seconds} seconds'"), "{}", "?")


class Statements:
    """Runs the statements on one connection, inside the open transaction."""

    def __init__(self, connection: BaseDatabaseWrapper, owner: str, lease_seconds: float) -> None:
        self._connection = connection
        self._ours = states.received_by(owner)
        self._dialect = dialect = dialect_of(connection, lease_seconds)
        now, lease, place = dialect.now, dialect.lease, dialect.place
        identity = dialect.uuid.format("outcome.id")
        claim, stored, pending = (", ".join([place] * count) for count in (CLAIM_VALUES, STORED_VALUES, 6))
        self._claim = _Repeated(
            f"{CLAIM} VALUES ",
            f"({claim}, {dialect.claimed(owner)})",
            " ON CONFLICT DO NOTHING RETURNING id",
        )
        self._conclude = _Repeated(
            "WITH outcome (id, state, size, sha256, crc64nvme) AS (VALUES ",
            f"({place}, {place}, {place}, {place}, {place})",
            ") UPDATE file_file SET state = outcome.state, size = CAST(outcome.size AS bigint), "
            f"sha256 = outcome.sha256, crc64nvme = outcome.crc64nvme, stored_at = {now}, {states.CONCLUDED} "
            f"FROM outcome WHERE file_file.id = {identity} AND {self._ours} RETURNING file_file.id",
        )
        self._stored = _Repeated(f"{STORED} VALUES ", f"({stored}, {dialect.stored})")
        self._pending = _Repeated(
            f"{_REPLICA}error_code, {states.PENDING_COLUMNS}, created_at) VALUES ",
            f"({pending}, {states.pending(owner, lease)}, {now})",
        )

    def claim(self, rows: Sequence[Row]) -> set[str]:
        """Insert files: id, key, name, content_type, size, sha256, metadata, content_headers, part_size, ack, wanted,
        who, idempotency_key. Returns the ids of the rows that were inserted.
        """
        return self._ids(self._claim.times(len(rows)), chain.from_iterable(rows))

    def conclude(self, rows: Sequence[Row]) -> set[str]:
        """Records acknowledged files: id, state, size, sha256, crc64nvme. Returns the ids of those that were ours."""
        return self._ids(self._conclude.times(len(rows)), chain.from_iterable(rows))

    def add_stored(self, rows: Sequence[Row]) -> None:
        """Inserts stored replicas: file, account, bucket, object_key, request_id, etag, version_id, checksum."""
        self._add(self._stored, rows)

    def add_pending(self, rows: Sequence[Row]) -> None:
        """Inserts pending replicas under our lease: file, account, bucket, object_key, request_id, error_code."""
        self._add(self._pending, rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Deletes files of which no account has anything. Their ids are remembered (`GivenUpFile`)."""
        ours = f"{self._ours} AND id IN ({', '.join([self._dialect.place] * len(ids))})"
        given_up = f"SELECT id, {self._dialect.now} FROM file_file WHERE {ours}"
        self._run(f"INSERT INTO file_givenupfile (id, given_up_at) {given_up} ON CONFLICT DO NOTHING", ids)
        self._run(f"DELETE FROM file_openupload WHERE file_id IN (SELECT id FROM file_file WHERE {ours})", ids)
        self._run(f"DELETE FROM file_file WHERE {ours}", ids)

    def _add(self, statement: "_Repeated", rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            self._run(statement.times(len(some)), chain.from_iterable(some))

    def _run(self, statement: str, parameters: Iterable[Any]) -> Any:
        """Returns the driver's cursor."""
        self._connection.ensure_connection()
        with self._connection.wrap_database_errors:
            cursor = self._connection.connection.cursor()
            cursor.execute(statement, tuple(parameters))
            return cursor

    def _ids(self, statement: str, parameters: Iterable[Any]) -> set[str]:
        cursor = self._run(statement, parameters)
        with self._connection.wrap_database_errors:
            return {hexadecimal(row[0]) for row in cursor.fetchall()}


class _Repeated:
    """A statement for many rows. One text is cached per number of rows, because the driver finds it by its text."""

    def __init__(self, head: str, row: str, tail: str = "") -> None:
        self._head, self._row, self._tail = head, row, tail
        self.times = lru_cache(_TEXTS)(self._times)

    def _times(self, rows: int) -> str:
        return f"{self._head}{', '.join([self._row] * rows)}{self._tail}"


def hexadecimal(file_id: object) -> str:
    """An id in the form that SQLite stores and PostgreSQL accepts."""
    return str(file_id).replace("-", "")


def file_row(intent: Intent) -> Row:
    wanted = {place.account: f"{place.bucket}/{place.object_key.removesuffix(intent.key)}" for place in intent.places}
    return (
        hexadecimal(intent.id),
        intent.key,
        intent.name,
        intent.content_type,
        intent.size,
        intent.sha256.hex() if intent.sha256 else None,
        json.dumps(dict(intent.metadata)),
        json.dumps(dict(intent.content_headers)) if intent.content_headers else None,
        intent.part_size,
        intent.ack,
        json.dumps(wanted),
        intent.who,
        intent.idempotency_key,
    )


def outcome_row(receipt: Receipt) -> Row:
    digests = receipt.digests
    assert digests is not None  # an acknowledged file was read to its end
    crc64nvme = checksum_text(digests.crc64nvme)
    return (hexadecimal(receipt.id), receipt.state.value, digests.size, digests.sha256.hex(), crc64nvme)


def stored_rows(receipt: Receipt) -> Iterable[Row]:
    file_id = hexadecimal(receipt.id)
    for o in receipt.outcomes:
        if isinstance(o, Stored):
            yield (file_id, o.account, o.bucket, o.object_key, o.request_id, o.etag, o.version_id, o.checked_by)


def pending_rows(receipt: Receipt) -> Iterable[Row]:
    for o in receipt.outcomes:
        if isinstance(o, Pending):
            yield (hexadecimal(receipt.id), o.account, o.bucket, o.object_key, o.request_id, o.code)
