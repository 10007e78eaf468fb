"""SQLite's locks are the process's (POSIX): a file of the ledger that is closed beside SQLite would take them away."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from starlette.types import Receive, Scope, Send

from file.management.server.connections import ConnectionLimits, ConnectionWatch
from testkit.processes import run_process

WRITES = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
else:
    print("it writes, too")
"""


def other_process(path: Path) -> str:
    """What becomes of another process that wants to write now."""
    run = run_process([sys.executable, "-c", WRITES, str(path)], capture_output=True, text=True, timeout=60)
    told: str = run.stdout.strip()
    return told


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application."""


async def test_a_look_at_the_connections_leaves_the_ledgers_locks_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE t (x)")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (1)")
        assert await asyncio.to_thread(other_process, path) == "database is locked"
        await ConnectionWatch(nothing, 1, ConnectionLimits(75, 1.0, connections=1)).check(regular=True)
        assert await asyncio.to_thread(other_process, path) == "database is locked"
        connection.execute("COMMIT")
        assert await asyncio.to_thread(other_process, path) == "it writes, too"
