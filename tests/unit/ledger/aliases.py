"""Databases that are not migrated yet, or not as far, for tests of how one is opened."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from file.ledger.database.connection import with_ledger_options


@contextmanager
def alias_of(place: dict[str, Any]) -> Iterator[str]:
    """An alias of this database, as settings.py would make it, until the block ends."""
    alias = f"opened-{uuid.uuid4().hex}"
    known = connections.configure_settings({"default": {}, alias: with_ledger_options(place)})
    connections.settings[alias] = known[alias]
    try:
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


@contextmanager
def sqlite_alias(path: Path) -> Iterator[str]:
    with alias_of({"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}) as alias:
        yield alias


def migrate_to(alias: str, *targets: tuple[str, str]) -> Any:
    """To just this state; returns the models of then."""
    MigrationExecutor(connections[alias]).migrate(list(targets))
    return MigrationExecutor(connections[alias]).loader.project_state(list(targets)).apps
