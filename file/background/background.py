"""What goes on behind the requests, and begins and ends with the service: clean-up, catch-up, erasures."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from file.background.breaker import Breaker
from file.background.catchup import CatchUp, Reachable
from file.background.cleaner import Cleaner
from file.ledger.databaseledger import DatabaseLedger
from file.ledger.erasure import Erasures
from file.ledger.leases import Leases
from file.ledger.records import Records
from file.ledger.settling import Settling
from file.logic.budget import Budget, Share
from file.logic.erasing import Erasure
from file.logic.seams import Probed
from file.logic.values import Limits

_PAUSES = 6  # in the length of a lease


class Served(Reachable, Probed, Protocol):
    """An account, as the background needs it."""


class Background:
    """`begin` when the accounts are open, in the event loop that they belong to; `end` before they are closed."""

    def __init__(
        self,
        ledger: DatabaseLedger,
        records: Records,
        alias: str,
        *,
        limits: Limits,
        budget: Budget,
        lease_seconds: float,
        concurrency: int,
        read_order: Sequence[str],
    ) -> None:
        self._records = records
        self._erasures = Erasures(ledger.writer, alias)
        self._leases = Leases(ledger.writer, alias, under_way=ledger.under_way, claim_seconds=lease_seconds)
        self._settling = Settling(ledger.writer, alias, settle_seconds=limits.settle_seconds)
        self._limits = limits
        self._budget = budget
        self._concurrency = concurrency
        self._read_order = read_order
        self._pause_seconds = lease_seconds / _PAUSES
        self._cleaner: Cleaner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, accounts: Sequence[Served]) -> None:
        breakers = {account.account.name: Breaker(account) for account in accounts}
        self._cleaner = Cleaner(self._leases, self._settling, accounts, breakers, pause_seconds=self._pause_seconds)
        catch_up = CatchUp(
            self._leases,
            self._settling,
            self._records,
            accounts,
            breakers,
            limits=self._limits,
            budget=Share(self._budget),
            concurrency=self._concurrency,
            read_order=self._read_order,
            pause_seconds=self._pause_seconds,
        )
        self._tasks = [asyncio.create_task(self._cleaner.run()), asyncio.create_task(catch_up.run())]

    async def end(self) -> None:
        """What is half done is left for the next start, or for another process."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def erase(self, key: str, file_id: str | None) -> Erasure | None:
        """See `file.api.erasing.Eraser`."""
        assert self._cleaner is not None  # requests come later
        erasure = await self._erasures.begin(key, file_id)
        if erasure is None or erasure.is_done:
            return erasure
        await self._cleaner.erase(erasure.id, self._limits.remove_seconds)
        return await self._records.erasure(erasure.id) or erasure
