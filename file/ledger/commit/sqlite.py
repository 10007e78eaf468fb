"""SQLite: what a group usually asks for, claims and outcomes of small files, as one statement and transaction.

Python's driver gives the interpreter away around every step of a statement, and waits until it gets it back from a busy
event loop: about twenty times for a group of three entries; here, three times. So the rows are passed as JSON, and a
temporary trigger of the connection spreads them over the tables by the same rules as `statements.py`. Leaves to others:
unusual groups, and which entry failed.
"""

import sqlite3
from collections.abc import Sequence

import orjson
import structlog
from django.db import Error, IntegrityError, connections

from file.ledger import states
from file.ledger.commit.statements import CLAIM, CLAIM_VALUES, STORED, STORED_VALUES, Row, dialect_of

_log = structlog.get_logger()
_VIEW = "CREATE TEMP VIEW IF NOT EXISTS entries AS SELECT NULL AS claims, NULL AS stored, NULL AS outcomes"
# `WHERE TRUE` is needed: otherwise SQLite parses ON CONFLICT as the condition of a join.
_TRIGGER = """
CREATE TEMP TRIGGER IF NOT EXISTS entries_in INSTEAD OF INSERT ON entries BEGIN
    {into_files}
    SELECT {claim}, {claimed}
    FROM json_each(NEW.claims) WHERE TRUE ON CONFLICT DO NOTHING;
    {into_replicas}
    SELECT {replica}, {stored}
    FROM json_each(NEW.stored) AS replica JOIN file_file ON file_file.id = json_extract(replica.value, '$[0]')
    WHERE {ours};
    UPDATE file_file SET state = {state}, size = {size}, sha256 = {sha256}, crc64nvme = {crc64nvme}, stored_at = {now},
        {concluded}
    FROM json_each(NEW.outcomes) AS outcome
    WHERE file_file.id = {id} AND {ours};
END
"""
_NUL = "\\u0000"  # in JSON: SQLite's functions treat NUL as the end of a text
_INSERT = "INSERT INTO temp.entries VALUES (?, ?, ?)"


class OneStatement:
    """Works on the writer's connection to the database `alias`."""

    def __init__(self, alias: str, owner: str, lease_seconds: float) -> None:
        self._connection = connections[alias]
        dialect = dialect_of(self._connection, lease_seconds)
        outcome = dict(zip(("id", "state", "size", "sha256", "crc64nvme"), _columns("outcome", 5), strict=True))
        self._trigger = _TRIGGER.format(
            into_files=CLAIM,
            claim=", ".join(_columns("json_each", CLAIM_VALUES)),
            claimed=dialect.claimed(owner),
            into_replicas=STORED,
            replica=", ".join(_columns("replica", STORED_VALUES)),
            stored=dialect.stored,
            ours=states.received_by(owner),
            concluded=states.CONCLUDED,
            now=dialect.now,
            **outcome,
        )
        self._prepared: object = None  # the connection with the trigger

    @property
    def applies(self) -> bool:
        """Whether it is SQLite. PostgreSQL does not need this: there, the driver waits once per statement."""
        return self._connection.vendor == "sqlite"

    def write(self, *, claims: Sequence[Row], stored: Sequence[Row], outcomes: Sequence[Row]) -> bool:
        """Rows as `Statements` takes them, in a transaction that is durable at the end.

        False: not all of them are in the database, or none; look to know which. Raises
        `OperationalError` if the database is locked for too long.
        """
        try:
            rows = [orjson.dumps(each).decode() for each in (claims, stored, outcomes)]
        except TypeError:  # a text that is not valid Unicode
            return False
        if any(_NUL in row for row in rows):
            return False
        try:
            self._connection.ensure_connection()
            with self._connection.wrap_database_errors:
                driver = self._connection.connection
                if self._prepared is not driver:
                    driver.execute(_VIEW)
                    driver.execute(self._trigger)
                    self._prepared = driver
                before = driver.total_changes
                driver.execute(_INSERT, rows)
                changed = driver.total_changes - before
        except Error as error:
            if getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:  # of any kind
                raise
            if not isinstance(error, IntegrityError):  # if this is permanent, every group is tried twice
                _log.warning("ledger_not_at_once", error=repr(error))
            return False
        return bool(changed == len(claims) + len(stored) + len(outcomes))


def _columns(table: str, count: int) -> list[str]:
    return [f"json_extract({table}.value, '$[{place}]')" for place in range(count)]
