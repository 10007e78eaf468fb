"""A ledger for a test, and a look into its database beside it."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from django.db import connections

from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.work.claims import Claims
from file.ledger.work.erasures import Erasures
from file.models import File, Replica

T = TypeVar("T")


def ledger_on(database: str, **changes: float) -> DatabaseLedger:
    return DatabaseLedger(database, **{"lease_seconds": 30.0, "wait_seconds": 10.0, "settle_seconds": 2.0} | changes)


def erasures_of(ledger: DatabaseLedger, database: str) -> Erasures:
    claims = Claims(ledger.writer, database, under_way=(), claim_seconds=30)
    return Erasures(ledger.writer, database, claims)


async def ask(database: str, work: Callable[[], T]) -> T:
    """Ask the models, in a thread with a connection of its own: Django refuses to wait on an event loop."""

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
