"""Databases that are not migrated yet, or only to an earlier release."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from tests.databases import registered, sqlite


def sqlite_alias(path: Path) -> AbstractContextManager[str]:
    return registered(sqlite(path))


def migrate_to(alias: str, *targets: tuple[str, str]) -> Any:
    """Migrate to exactly this state; returns its models."""
    MigrationExecutor(connections[alias]).migrate(list(targets))
    return MigrationExecutor(connections[alias]).loader.project_state(list(targets)).apps
