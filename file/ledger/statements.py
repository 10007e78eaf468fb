"""The statements on the path of an upload, as SQL: the same text for SQLite and PostgreSQL but for clock and casts.

Each takes the rows of a whole group. Who won is told row by row (`RETURNING`): a claim that meets another file's key is
left out, not an error, and an outcome counts only for a file that is still ours. Times are the database's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

Row = Sequence[Any]
_ROWS_AT_ONCE = 500  # SQLite takes 32,766 parameters in a statement


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the databases write differently. `lease` is the moment at which a lease that begins now ends."""

    now: str
    lease: str
    uuid: str


def dialect_of(connection: BaseDatabaseWrapper, lease_seconds: float) -> Dialect:
    if connection.vendor == "postgresql":
        lease = f"clock_timestamp() + interval '{lease_seconds} seconds'"
        return Dialect("clock_timestamp()", lease, "CAST({} AS uuid)")
    # As Django writes it, so that both can be compared; its cursor wants percent signs doubled.
    clock = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'{})"
    return Dialect(clock.format(""), clock.format(f", '+{lease_seconds} seconds'"), "{}")


class Statements:
    """Runs them on one connection, inside whatever transaction is open."""

    def __init__(self, connection: BaseDatabaseWrapper, owner: str, lease_seconds: float) -> None:
        self._connection = connection
        self._owner = owner
        self._dialect = dialect_of(connection, lease_seconds)
        now, lease = self._dialect.now, self._dialect.lease
        self._file = (
            "(%s, %s, TRUE, %s, %s, %s, %s, NULL, %s, %s, %s, %s, 'receiving', %s, %s, "
            f"'{owner}', {lease}, {now}, NULL)"
        )
        self._stored = f"(%s, %s, %s, %s, 'stored', %s, %s, %s, %s, 0, NULL, NULL, NULL, {now}, {now})"
        self._pending = f"(%s, %s, %s, %s, 'pending', NULL, NULL, NULL, %s, 0, '{owner}', {lease}, %s, {now}, NULL)"

    def claim(self, rows: Sequence[Row]) -> set[str]:
        """Insert files: id, key, name, content_type, size, sha256, metadata, part_size, ack, wanted, who,
        idempotency_key. Returns the ids of those that are in now.
        """
        return self._ids(
            "INSERT INTO file_file (id, key, live, name, content_type, size, sha256, crc64nvme, metadata, part_size, "
            "ack, wanted, state, who, idempotency_key, owner, lease_until, created_at, stored_at) VALUES "
            f"{_repeated(self._file, rows)} ON CONFLICT DO NOTHING RETURNING id",
            chain.from_iterable(rows),
        )

    def conclude(self, rows: Sequence[Row]) -> set[str]:
        """Files that were acknowledged: id, state, size, sha256, crc64nvme. Returns the ids of those that were ours."""
        identity = self._dialect.uuid.format("outcome.id")
        return self._ids(
            "WITH outcome (id, state, size, sha256, crc64nvme) AS (VALUES "
            f"{_repeated('(%s, %s, %s, %s, %s)', rows)}) UPDATE file_file SET state = outcome.state, "
            "size = CAST(outcome.size AS bigint), sha256 = outcome.sha256, crc64nvme = outcome.crc64nvme, "
            f"stored_at = {self._dialect.now}, lease_until = NULL FROM outcome WHERE file_file.id = {identity} "
            f"AND file_file.state = 'receiving' AND file_file.owner = '{self._owner}' RETURNING file_file.id",
            chain.from_iterable(rows),
        )

    def add_stored(self, rows: Sequence[Row]) -> None:
        """Replicas: file, account, bucket, object_key, etag, version_id, checksum, request_id."""
        self._add_replicas(self._stored, rows)

    def add_pending(self, rows: Sequence[Row]) -> None:
        """Replicas under a lease of ours: file, account, bucket, object_key, request_id, error_code."""
        self._add_replicas(self._pending, rows)

    def remove(self, ids: Sequence[str]) -> None:
        """Files that are not to be: nothing of them is left anywhere."""
        places = ", ".join(["%s"] * len(ids))
        ours = f"state = 'receiving' AND owner = '{self._owner}' AND id IN ({places})"
        self._run(f"DELETE FROM file_openupload WHERE file_id IN (SELECT id FROM file_file WHERE {ours})", ids)
        self._run(f"DELETE FROM file_file WHERE {ours}", ids)

    def forget_uploads(self, ids: Sequence[str]) -> None:
        """The multipart uploads of files that need no clean-up."""
        self._run(f"DELETE FROM file_openupload WHERE file_id IN ({', '.join(['%s'] * len(ids))})", ids)

    def _add_replicas(self, row: str, rows: Sequence[Row]) -> None:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            self._run(
                "INSERT INTO file_replica (file_id, account, bucket, object_key, state, etag, version_id, checksum, "
                "request_id, attempts, owner, next_attempt_at, error_code, created_at, stored_at) VALUES "
                + _repeated(row, some),
                chain.from_iterable(some),
            )

    def _cursor(self) -> CursorWrapper:
        """Django's, but never the one of DEBUG, which has the database fill in every statement to write it down."""
        return self._connection.make_cursor(self._connection.create_cursor())

    def _run(self, statement: str, parameters: Iterable[Any]) -> None:
        with self._cursor() as cursor:
            cursor.execute(statement, tuple(parameters))

    def _ids(self, statement: str, parameters: Iterable[Any]) -> set[str]:
        with self._cursor() as cursor:
            cursor.execute(statement, tuple(parameters))
            return {hexadecimal(row[0]) for row in cursor.fetchall()}


def hexadecimal(file_id: object) -> str:
    """An id as SQLite keeps it, and as PostgreSQL reads it."""
    return str(file_id).replace("-", "")


def _repeated(row: str, rows: Sequence[Row]) -> str:
    return ", ".join([row] * len(rows))
