"""The transitions as they are drawn in `file/ledger/states.py`, and a log of those that a database sees."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from django.db import connections

from file.ledger import states
from file.logic.values import FileState, ReplicaState

Transition = tuple[str, str]
STATES = {"file": FileState, "replica": ReplicaState}
_LINE = re.compile(r"^    ([a-z, ]+?) -> ([a-z, ]+?) {2,}(\w+)  ", re.MULTILINE)
_LOG = """
CREATE TABLE log (of TEXT, before TEXT, after TEXT);
CREATE TRIGGER {table}_made AFTER INSERT ON file_{table} BEGIN
    INSERT INTO log VALUES ('{table}', 'new', NEW.state); END;
CREATE TRIGGER {table}_changed AFTER UPDATE OF state ON file_{table} WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO log VALUES ('{table}', OLD.state, NEW.state); END;
CREATE TRIGGER {table}_removed AFTER DELETE ON file_{table} BEGIN
    INSERT INTO log VALUES ('{table}', OLD.state, 'gone'); END;
"""


def drawn(table: str) -> dict[str, set[Transition]]:
    """By the name that is drawn beside them. What leads from a state to itself is no change."""
    assert states.__doc__ is not None
    of_file, of_replica = states.__doc__.split("\nReplica. ")
    found: dict[str, set[Transition]] = {}
    for before, after, name in _LINE.findall(of_file if table == "file" else of_replica):
        pairs = {(one, other) for one in before.split(", ") for other in after.split(", ")}
        found.setdefault(name, set()).update((one, other) for one, other in pairs if one != other)
    return found


def all_drawn(table: str) -> set[Transition]:
    return set().union(*drawn(table).values())


@contextmanager
def logging(database: str) -> Iterator["Log"]:
    """Of an SQLite database, as long as the block runs."""
    path = connections.settings[database]["NAME"]
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)) as connection:
        made, *rest = [_LOG.format(table=table) for table in STATES]
        connection.executescript(made + "".join(text.split(";", 1)[1] for text in rest))
        yield Log(connection)


class Log:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        """Beside the ledger."""
        self._connection.execute(statement)

    def transitions(self, table: str) -> set[Transition]:
        return set(self._connection.execute("SELECT DISTINCT before, after FROM log WHERE of = ?", (table,)))
