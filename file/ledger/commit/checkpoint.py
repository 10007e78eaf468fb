"""Emptying SQLite's write-ahead log: it keeps older states of rows, with the keys of erased files.

SQLite overwrites its log, and never shortens it while the service runs. Promises: no writer waits longer than for a
commit. The content of the log is moved first, without a lock. The last step takes the write lock for the rest, in the
writer's thread between two transactions. While another process writes, or reads an older state, the step does not
happen. PostgreSQL has no equivalent: see docs/privacy.md.
"""

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

from file.ledger.commit.writer import Writer
from file.ledger.database.privatefiles import ledger_file

_MOST_PAGES = 1000  # the most pages that the last step may move: those of a large commit


class Checkpoint:
    """For the ledger of `writer`, in the database `alias`."""

    def __init__(self, writer: Writer, alias: str) -> None:
        self._writer = writer
        self._ledger = ledger_file(alias)

    @property
    def is_needed(self) -> bool:
        """Whether there is a write-ahead log."""
        return self._ledger is not None

    async def empty_log(self) -> bool:
        """Empties the log. False: it was not possible now. Raises `sqlite3.Error` and `LedgerUnavailableError`."""
        assert self._ledger is not None
        _, left = await asyncio.to_thread(_checkpoint, self._ledger, "PASSIVE")
        if left > _MOST_PAGES:  # a process reads an older state
            return False
        done, _ = await self._writer.run(partial(_checkpoint, self._ledger, "TRUNCATE"), in_transaction=False)
        return done


def _checkpoint(ledger: Path, mode: str) -> tuple[bool, int]:
    """Whether it was complete, and the pages that are left. Uses a connection that does not wait for locks."""
    with closing(sqlite3.connect(f"{ledger.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=0)) as own:
        busy, pages, moved = own.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        return not busy, pages - moved
