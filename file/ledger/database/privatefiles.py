"""Makes the files of an SQLite ledger private, because they contain keys, names, and senders of all files.

SQLite gives its log and its index the mode of the database. So the database file is created with mode 0600 before
SQLite opens it. Existing files get this mode too, including copies of earlier releases. Folders are not changed.
"""

import glob
import logging
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from django.db import connections

_OWN = 0o600
_log = logging.getLogger(__name__)


def ledger_file(alias: str) -> Path | None:
    """The path of the SQLite ledger; None if it is on a server or in memory."""
    database = connections.settings[alias]
    if not database["ENGINE"].endswith("sqlite3") or ":memory:" in str(database["NAME"]):
        return None
    return Path(database["NAME"]).absolute()


def keep_private(ledger: Path) -> None:
    """Before the ledger is opened. For a file of another user there is only a warning."""
    with suppress(FileExistsError, FileNotFoundError, PermissionError):  # SQLite says why it cannot be created
        ledger.touch(_OWN, exist_ok=False)
    for file in _files(ledger):
        try:
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & ~_OWN:
                file.chmod(mode & _OWN)
        except OSError as error:
            _log.warning("%s can be read by other users, and its mode cannot be changed (%s)", file, error.strerror)


def _files(ledger: Path) -> Iterator[Path]:
    for ending in ("", "-wal", "-shm", "-journal"):
        if (file := ledger.with_name(ledger.name + ending)).exists():
            yield file
    yield from ledger.parent.glob(f"{glob.escape(ledger.name)}.before-*")
