"""Catch-up: copies files to accounts that missed them, from accounts that have them, until each has all its files.

It runs in each process of the service. A claim on each replica prevents two processes from copying the same. Accounts
are independent of each other; an account that is down is paused (`circuitbreaker.py`). A slow account may hold all
turns only while no other account has work: a free turn goes to the account that holds least, and if none becomes free,
the newest copy of the account that holds most is stopped. Leaves to others: copying one file (`replication.py`).
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import structlog

from file.ledger.work.claims import Claims, Due
from file.ledger.work.holding import children
from file.logic.accounts.registry import Registry
from file.logic.errors import LedgerUnavailableError
from file.logic.memory.places import Fair
from file.logic.values import ReplicaState
from file.repair.replication import Replication

_log = structlog.get_logger()


class CatchUp:
    """`concurrency`: the number of replicas at once. `pause_seconds`: the time between two searches without result."""

    def __init__(
        self, claims: Claims, replication: Replication, registry: Registry, *, concurrency: int, pause_seconds: float
    ) -> None:
        self._claims = claims
        self._replication = replication
        self._registry = registry
        self._turns = Fair(concurrency)
        self._bringing = defaultdict[str, list[asyncio.Task[None]]](list)  # by account
        self._pause_seconds = pause_seconds

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_fair())
            for name in self._registry.names:
                group.create_task(self._serve(name))

    async def _serve(self, name: str) -> None:
        """Serves one account, again and again."""
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
        """Starts to copy due replicas of the account, as many as it gets turns. Returns their number."""
        await self._turns.take(name)
        turns = 1
        while self._turns.take_at_once(name):
            turns += 1
        claimed: Sequence[Due] = ()
        try:
            claimed = await self._claims.claim(name, ReplicaState.PENDING, turns)
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
        if task in self._bringing[name]:  # otherwise `_take_back_for` took the turn
            self._bringing[name].remove(task)
            self._turns.give(name)

    async def _keep_fair(self) -> None:
        """Gives a turn of another account to one that has work, and got none between two checks."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(self._pause_seconds)
            for name in before & self._turns.waiting:
                with suppress(LedgerUnavailableError):
                    if await self._claims.has_due(name, ReplicaState.PENDING):
                        self._take_back_for(name)
            before = self._turns.waiting

    def _take_back_for(self, name: str) -> None:
        """Takes the newest turn, which cost the least, of an account that then still holds as much as this one."""
        most = max(self._bringing, key=lambda other: len(self._bringing[other]), default=name)
        if len(self._bringing[most]) - 1 <= self._turns.held[name]:
            return
        task = self._bringing[most].pop()
        task.cancel()
        self._turns.give(most)  # at once: it only has to close its upload, which takes a slow account some time
        _log.info("turn_taken_back", account=most, given_to=name)
