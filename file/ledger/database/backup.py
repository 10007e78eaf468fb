"""A copy of an SQLite ledger while the service continues to write.

Promises: the copy is the ledger at one moment, in one file, and on the disk before it gets its name; it never replaces
another file; the service is not stopped, and not slowed by more than the reading. PostgreSQL has pg_dump.

The copy leaves out files that are being received at that moment. They may be acknowledged a moment later; in the copy
they would look like uploads whose process died, and the clean-up would remove them. Without a row, their objects are
unknown to the copy: they are never removed, and a rebuild restores them.
"""

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from file.ledger import states
from file.logic.errors import CommandRefusedError

# Pages between two reports of progress. A transaction holds the snapshot.
_PAGES = 4096


class CopyRefusedError(CommandRefusedError):
    """The ledger cannot be copied. `detail` is one line with the reason."""


def copy_ledger(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Copy the SQLite database. `progress` receives the pages copied and all pages. Returns the bytes of the copy.

    Raises `CopyRefusedError`; then nothing of the copy is left.
    """
    if not source.is_file():
        raise CopyRefusedError(f"there is no ledger {source}")
    if target.exists():
        raise CopyRefusedError(f"{target} is there already, and is not overwritten")
    try:
        unfinished = unfinished_copy(source, target.parent, progress)
    except (OSError, sqlite3.Error) as error:
        raise CopyRefusedError(f"the copy cannot be made: {_reason(error)}") from error
    try:
        _forget_received(unfinished)
        return keep_copy(unfinished, target)
    except (OSError, sqlite3.Error) as error:
        unfinished.unlink(missing_ok=True)
        raise CopyRefusedError(f"the copy cannot be made: {_reason(error)}") from error


def unfinished_copy(source: Path, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """A durable copy under a temporary name, readable for our user only.

    Raises OSError and sqlite3.Error, and then leaves nothing.
    """
    handle, name = tempfile.mkstemp(prefix=f".{source.name}.", suffix=".unfinished", dir=folder)
    os.close(handle)
    unfinished = Path(name)
    try:
        _copy_pages(source, unfinished, progress)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return unfinished


def keep_copy(unfinished: Path, target: Path) -> int:
    """Gives it its final name. Returns its size in bytes."""
    size = unfinished.stat().st_size
    unfinished.rename(target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return size


def _forget_received(copy: Path) -> None:
    """Whether the table exists: a ledger of an earlier release may lack it."""
    with closing(sqlite3.connect(copy, isolation_level=None)) as writing:
        tables = {name for (name,) in writing.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        writing.execute("BEGIN")
        for table, column in (("file_openupload", "file_id"), ("file_replica", "file_id"), ("file_file", "id")):
            if table in tables:
                received = f"SELECT id FROM file_file WHERE {states.RECEIVED}"  # noqa: S608 - ours
                writing.execute(f"DELETE FROM {table} WHERE {column} IN ({received})")  # noqa: S608 - names of ours
        writing.execute("COMMIT")
    with copy.open("rb") as file:
        os.fsync(file.fileno())


def _copy_pages(source: Path, target: Path, progress: Callable[[int, int], None] | None) -> None:
    def report(status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as reading,
        closing(sqlite3.connect(target, isolation_level=None)) as writing,
    ):
        reading.execute("PRAGMA busy_timeout = 10000")
        # Without a transaction, a copy in steps starts again with each commit of the service, and may never
        # end; in WAL mode this one blocks no other.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
        writing.execute("PRAGMA synchronous = OFF")  # the whole file is synced once
        reading.backup(writing, pages=_PAGES, progress=report)
        reading.execute("ROLLBACK")
        # One file, readable where nothing can be written. Opening it as a ledger switches WAL on again.
        writing.execute("PRAGMA journal_mode = DELETE").fetchone()


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
