"""Databases for the ledger's tests, on SQLite and on PostgreSQL: each test gets a copy of a migrated, empty template.

PostgreSQL listens only on a Unix socket.
"""

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.core.management import call_command
from django.db import connections

from file.ledger.database.connection import with_ledger_options
from testkit.postgresql import USER, PostgresqlServer


@contextmanager
def registered(database: dict[str, Any]) -> Iterator[str]:
    """An alias of the database until the block ends; then this thread's connection is closed."""
    alias = f"tests-{uuid4().hex[:8]}"
    known = connections.configure_settings({"default": {}, alias: with_ledger_options(database)})
    connections.settings[alias] = known[alias]
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


def sqlite(path: Path) -> dict[str, Any]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}


@contextmanager
def locked(alias: str) -> Iterator[None]:
    """Another writer holds the lock of the SQLite file until the block ends."""
    path = str(connections[alias].settings_dict["NAME"])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def with_options(alias: str, **changes: object) -> Iterator[None]:
    """For connections that are opened from now on."""
    options = connections.settings[alias]["OPTIONS"]
    before = dict(options)
    options.update(changes)
    try:
        yield
    finally:
        options.update(before)


def migrate(alias: str) -> None:
    call_command("migrate", database=alias, interactive=False, verbosity=0)


@cache
def sqlite_template() -> Path:
    """A migrated file to copy; it is removed when this process ends."""
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
    """A migrated, empty database in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder, sqlite_copy(Path(folder) / "ledger.sqlite3") as alias:
        yield alias


class Postgres(PostgresqlServer):
    """A server with a migrated template. A test kills it at most: what it has written, the system keeps."""

    def __init__(self) -> None:
        super().__init__(fsync="off")
        try:
            self.execute("CREATE DATABASE template_of_tests")
            with registered(self.database("template_of_tests")) as alias:
                migrate(alias)
        except BaseException:
            self.close()
            raise

    def database(self, name: str) -> dict[str, Any]:
        """Django's entry for a database of the server."""
        return {"ENGINE": "django.db.backends.postgresql", "NAME": name, "HOST": self.socket_folder, "USER": USER}

    @contextmanager
    def copy(self, template: str = "template_of_tests") -> Iterator[str]:
        """A new database; of PostgreSQL's own `template1` it is empty."""
        name = f"tests_{uuid4().hex[:8]}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            with registered(self.database(name)) as alias:
                yield alias
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")
