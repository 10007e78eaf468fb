"""How the ledger's database is opened: what Django gets besides the URL.

SQLite: a write-ahead log, so that readers and the one writer do not wait for each other; a commit is on the disk
before it is reported (`synchronous=FULL`); a writing transaction takes the write lock at its beginning, or two of them
could wait for each other without end; deleted rows are overwritten, also in free pages. PostgreSQL: nothing
waits without end, neither for a lock, nor for a statement, nor for a server that went silent. Connections stay open,
and one that broke is noticed.
"""

from collections.abc import Mapping
from typing import Any

LOCKED_SECONDS = 5
CONNECT_SECONDS = 10
# A value in the URL has priority.
_POSTGRESQL_LIMITS = f"-c lock_timeout={LOCKED_SECONDS}s -c statement_timeout={2 * LOCKED_SECONDS}s"
_POSTGRESQL = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}
_SQLITE = {
    "timeout": LOCKED_SECONDS,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;",
}


def with_ledger_options(database: Mapping[str, Any]) -> dict[str, Any]:
    """Django's entry for a database, with the options of the ledger. An empty entry stays empty."""
    if not database:
        return {}
    options = dict(database.get("OPTIONS", {}))
    if str(database.get("ENGINE", "")).endswith("postgresql"):
        options = {**_POSTGRESQL, **options}
        options["options"] = f"{_POSTGRESQL_LIMITS} {options.get('options', '')}".strip()
    if str(database.get("ENGINE", "")).endswith("sqlite3"):
        options |= _SQLITE
    return {**database, "OPTIONS": options, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
