"""Catch-up: brings files to accounts that missed them, from accounts that have them, until each has all of its files.

Runs as long as the service does, in each of its processes; a claim on each replica keeps two from doing the same. Each
account is served by itself; one that is down is left alone (`circuitbreaker.py`). An account that is slow holds all
turns only as long as nobody else has work: what comes free goes to the one that holds least, and turns that do not come
free are taken back. Leaves to others: bringing one file (`replication.py`).
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog

from file.ledger.work.claims import Due, Leases
from file.ledger.work.holding import children
from file.logic.accounts.registry import Registry
from file.logic.errors import LedgerUnavailableError
from file.logic.memory.places import Fair
from file.logic.values import ReplicaState
from file.repair.replication import Replication

_log = structlog.get_logger()


class CatchUp:
    """`concurrency`: how many replicas are brought at once. `pause_seconds`: how often it looks when there are none."""

    def __init__(
        self,
        leases: Leases,
        replication: Replication,
        registry: Registry,
        *,
        concurrency: int,
        pause_seconds: float,
    ) -> None:
        self._leases = leases
        self._replication = replication
        self._registry = registry
        self._turns = Fair(concurrency)
        self._bringing = defaultdict[str, list[asyncio.Task[None]]](list)  # by account
        self._pause_seconds = pause_seconds

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_fair())
            for name in self._registry.names:
                group.create_task(self._serve(name))

    async def _serve(self, name: str) -> None:
        """One account, over and over."""
        async with children() as under_way:
            while True:
                started = 0
                try:
                    await self._registry.breaker(name).passes()
                    started = await self._start(name, under_way)
                except LedgerUnavailableError as error:
                    _log.warning("catch_up_waits", detail=error.detail)
                except Exception:  # noqa: BLE001 - one row's nonsense must not end the catch-up of all others
                    _log.exception("catch_up_crashed")
                if not started:
                    await asyncio.sleep(self._pause_seconds)

    async def _start(self, name: str, under_way: set[asyncio.Task[None]]) -> int:
        """Begin to bring what is due in the account, as many replicas as it gets turns. Returns how many."""
        await self._turns.take(name)
        turns = 1
        while self._turns.has_more:
            await self._turns.take(name)
            turns += 1
        claimed: Sequence[Due] = ()
        try:
            claimed = await self._leases.claim(name, ReplicaState.PENDING, turns)
        finally:
            self._turns.give(name, turns - len(claimed))
        for due in claimed:
            task = asyncio.create_task(self._replication.bring(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            self._bringing[name].append(task)
            task.add_done_callback(partial(self._end_turn, name))
        return len(claimed)

    def _end_turn(self, name: str, task: asyncio.Task[None]) -> None:
        if task in self._bringing[name]:  # else it was taken back
            self._bringing[name].remove(task)
            self._turns.give(name)

    async def _keep_fair(self) -> None:
        """An account that waits in vain from one look to the next, and has work, gets a turn of another one."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(self._pause_seconds)
            for name in before & self._turns.waiting:
                with suppress(LedgerUnavailableError):
                    if await self._leases.has_due(name, ReplicaState.PENDING):
                        self._take_back_for(name)
            before = self._turns.waiting

    def _take_back_for(self, name: str) -> None:
        """From an account that would still hold as much as this one: what began last, and has cost the least."""
        most = max(self._bringing, key=lambda other: len(self._bringing[other]), default=name)
        if len(self._bringing[most]) - 1 <= self._turns.held[name]:
            return
        task = self._bringing[most].pop()
        task.cancel()
        self._turns.give(most)  # now: all that is left of it is to close its upload, which a slow account does slowly
        _log.info("turn_taken_back", account=most, given_to=name)
