"""A ledger for a test, and a look into its database."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.db import connections

from file.ledger.commit.ledger import DatabaseLedger
from file.models import File, Replica

T = TypeVar("T")


def ledger_on(database: str, **changes: float) -> DatabaseLedger:
    return DatabaseLedger(database, **{"lease_seconds": 30.0, "wait_seconds": 10.0, "settle_seconds": 2.0} | changes)


def execute(database: str, statement: str, *parameters: Any) -> list[Any]:
    with connections[database].cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


async def ask(database: str, work: Callable[[], T]) -> T:
    """Ask the models in a thread with its own connection: Django refuses to wait on an event loop."""

    def asked() -> T:
        try:
            return work()
        finally:
            connections[database].close()

    return await asyncio.to_thread(asked)


async def files_in(database: str) -> dict[str, File]:
    """By key."""
    rows = File.objects.using(database)
    return await ask(database, lambda: {file.key: file for file in rows.all()})


async def replicas_in(database: str, key: str = "k") -> dict[str, Replica]:
    """Of one file, by account."""
    rows = Replica.objects.using(database).filter(file__key=key)
    return await ask(database, lambda: {replica.account: replica for replica in rows})


async def change_files(database: str, **columns: Any) -> None:
    await ask(database, partial(File.objects.using(database).update, **columns))


async def change_replicas(database: str, account: str, **columns: Any) -> None:
    await ask(database, partial(Replica.objects.using(database).filter(account=account).update, **columns))
