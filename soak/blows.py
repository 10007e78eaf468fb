"""Kills, freezes, stops, and restarts processes, one after the other.

This concerns the processes of the service and the servers of the accounts. After each blow all processes run again.
"""

import asyncio
import random
from collections import Counter

from soak.journal import Journal
from soak.mix import Deck
from soak.services import Service
from soak.trouble import pause
from soak.world import World
from testkit.seaweed import Seaweed

KILL, KILL_ALL, STOP, FREEZE = "kill -9 service", "kill -9 all services", "stop service", "freeze service"
KILL_ACCOUNT, RESTART_ACCOUNT, FREEZE_ACCOUNT = "kill -9 account", "restart account", "freeze account"
BLOWS = (KILL, STOP, FREEZE, KILL_ACCOUNT, RESTART_ACCOUNT, FREEZE_ACCOUNT)
_CARDS = (
    *(KILL,) * 4,
    KILL_ALL,
    STOP,
    *(FREEZE,) * 2,
    *(KILL_ACCOUNT,) * 2,
    RESTART_ACCOUNT,
    *(FREEZE_ACCOUNT,) * 2,
)
_FIRST_SECONDS = 3.0
_PAUSE_SECONDS = (6.0, 14.0)
_DOWN_SECONDS = (0.0, 3.0)
_READY_SECONDS = 120.0  # for the start of a server on a busy machine
_FROZEN_SECONDS = (0.3, 8.0)
_FROZEN_LONG_SECONDS = (
    0.0,
    8.0,
)  # added to the lease: other processes then take over the uploads
_FROZEN_LONG = 0.25


class Blows:
    """`happened` counts the blows by kind."""

    def __init__(self, seed: int, world: World, lock: asyncio.Lock, journal: Journal) -> None:
        self.happened: Counter[str] = Counter(dict.fromkeys(BLOWS, 0))
        self._chance = random.Random(f"{seed} blows")
        self._deck = Deck(self._chance, _CARDS)
        self._services = world.services
        self._stores = world.stores
        self._lease_seconds = world.lease_seconds
        self._lock = lock
        self._journal = journal

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until it is told to stop. After the last blow all processes run again."""
        await pause(stop, _FIRST_SECONDS)
        while not stop.is_set():
            async with self._lock:
                await self._strike(self._deck.draw())
            await pause(stop, self._chance.uniform(*_PAUSE_SECONDS))

    async def _strike(self, blow: str) -> None:
        if blow in (KILL, KILL_ALL, STOP):
            await self._end_services(blow)
        elif blow == FREEZE:
            await self._freeze(self._chance.choice(self._services))
        elif blow == FREEZE_ACCOUNT:
            await self._freeze(self._chance.choice(self._stores))
        else:
            await self._end_account(blow)

    async def _end_services(self, blow: str) -> None:
        chosen = self._services if blow == KILL_ALL else [self._chance.choice(self._services)]
        for service in chosen:
            self._note(STOP if blow == STOP else KILL, service.name)
        ends = [service.stop if blow == STOP else service.kill for service in chosen]
        await asyncio.gather(*(asyncio.to_thread(end) for end in ends))
        await asyncio.sleep(self._chance.uniform(*_DOWN_SECONDS))
        await asyncio.gather(*(asyncio.to_thread(service.start) for service in chosen))
        for service in chosen:
            self._journal.note(f"{service.name} is back")

    async def _end_account(self, blow: str) -> None:
        store = self._chance.choice(self._stores)
        self._note(blow, store.account.name)
        await asyncio.to_thread(store.kill if blow == KILL_ACCOUNT else store.stop)
        await asyncio.sleep(self._chance.uniform(*_DOWN_SECONDS))
        store.start()
        await asyncio.to_thread(store.wait_until_ready, _READY_SECONDS)
        self._journal.note(f"account {store.account.name} is back")

    async def _freeze(self, frozen: Service | Seaweed) -> None:
        is_service = isinstance(frozen, Service)
        name = frozen.name if isinstance(frozen, Service) else frozen.account.name
        is_long = is_service and self._chance.random() < _FROZEN_LONG
        seconds = self._chance.uniform(*(_FROZEN_LONG_SECONDS if is_long else _FROZEN_SECONDS))
        seconds += self._lease_seconds if is_long else 0.0
        self._note(FREEZE if is_service else FREEZE_ACCOUNT, f"{name} for {seconds:.1f} s")
        frozen.freeze()
        try:
            await asyncio.sleep(seconds)
        finally:
            frozen.thaw()
        self._journal.note(f"{name} goes on")

    def _note(self, blow: str, whom: str) -> None:
        self.happened[blow] += 1
        self._journal.note(f"{blow}: {whom}")
