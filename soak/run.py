"""The run: a time of faults, then a time without, then the examination of every account.

Before the examination all processes run again, uploads under way have ended, and leases have run out. Only then is it
certain what is lost and what is left.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from soak.blows import Blows
from soak.clients import Clients
from soak.examination import Asking, list_account, read_all
from soak.journal import Journal
from soak.mix import Mix
from soak.oracle import LEFT, LOST, Finding, State, Verdict, judge
from soak.trouble import Trouble
from soak.world import World
from testkit.errors import StoreError
from testkit.serviceprocess import ServiceProcessError

DRAIN_SECONDS = 900.0
STALE_SECONDS = 12.0  # the service reads its figures every ten seconds
CRASHED = "ended by itself"
_LOOK_SECONDS = 1.0
_STRAY_SECONDS = 30.0
_RELEASES = 5

Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """The figures of a run."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    blows: Counter[str] = field(default_factory=Counter)
    states: Counter[State] = field(default_factory=Counter)
    peaks: dict[str, int] = field(default_factory=dict)
    verdict: Verdict = field(default_factory=Verdict)
    deletes: bool = False
    unfinished: dict[str, int] = field(default_factory=dict)
    drained_seconds: float = 0.0
    read_bytes: int = 0


class Run:
    """One soak run in a world."""

    def __init__(self, world: World, seed: int, seconds: float, journal: Journal, say: Say) -> None:
        self._world = world
        self._seconds = seconds
        self._journal = journal
        self._say = say
        self._lock = asyncio.Lock()  # held by the thread that ends or starts a process
        self._crashes: list[Finding] = []
        self._released: Counter[str] = Counter()
        self._draining = ""
        self._read = self._reading = 0  # objects
        mix = Mix(seed)
        self.clients = Clients(seed, mix, world.services, sorted(world.accounts), world.token, journal)
        self._trouble = Trouble(seed, world.proxies, mix, journal)
        self._blows = Blows(seed, world, self._lock, journal)
        self._asking = [Asking(service.url, world.token) for service in world.services]

    async def run(self, *, deletes: bool) -> Result:
        """Runs everything. Raises `ServiceProcessError` or `StoreError` if a process does not come back."""
        self.clients.deletes = deletes and await asyncio.to_thread(self._asking[0].deletes)
        if deletes and not self.clients.deletes:
            self._say("There is no DELETE /files/{key} yet: nothing is deleted.")
        over = asyncio.Event()
        watching = asyncio.create_task(self._watch(over))
        try:
            await self._troubled()
            self._journal.note("peace")
            await asyncio.to_thread(self._world.recover)
            began = time.monotonic()
            unfinished = await self._drain()
            result = await self._judge()
            result.unfinished, result.drained_seconds = unfinished, time.monotonic() - began
        finally:
            over.set()
            await watching
        return result

    async def _troubled(self) -> None:
        stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.clients.run(stop))
                group.create_task(self._blows.run(stop))
                for account in self._world.proxies:
                    group.create_task(self._trouble.run(account, stop))
                await asyncio.sleep(self._seconds)
                stop.set()
        except* (ServiceProcessError, StoreError) as errors:
            raise errors.exceptions[0] from None

    async def _watch(self, over: asyncio.Event) -> None:
        """Records memory, unexpected ends of processes, and progress. Writes the proxies' requests to the disk."""
        while not over.is_set():
            for service in self._world.services:
                if self._lock.locked():
                    break
                if not service.look():
                    self._journal.note(f"{service.name} {CRASHED}")
                    self._crashes.append(Finding(CRASHED, f"{service.name} in its run {service.runs}"))
                    async with self._lock:
                        await asyncio.to_thread(service.start)
            for name, proxy in self._world.proxies.items():
                self._journal.note_requests(name, proxy.take_ended())
            self._say(self.progress())
            await asyncio.sleep(_LOOK_SECONDS)

    def progress(self) -> str:
        """The line of progress."""
        if self._reading:
            return f"{self._journal.seconds:6.0f} s: read {self._read:,} of {self._reading:,} objects"
        states = Counter(record.state for record in self.clients.records.values())
        gone = states[State.DELETED] + states[State.DELETE_UNKNOWN]
        acknowledged = states[State.ACKNOWLEDGED] + gone
        kills = sum(count for blow, count in self._blows.happened.items() if blow.startswith("kill"))
        peak = max(service.peak_bytes for service in self._world.services) // 2**20
        return (
            f"{self._journal.seconds:6.0f} s: tried {len(self.clients.records):,}, "
            f"acknowledged {acknowledged:,} (deleted {gone:,}), refused {states[State.REFUSED]:,}, "
            f"unknown {states[State.UNKNOWN]:,}; faults {self._trouble.happened.total():,}, kills {kills}; "
            f"peak {peak} MiB{self._draining}"
        )

    # --- without faults

    async def _drain(self) -> dict[str, int]:
        """Waits until no upload and no repair is under way. Returns what is not done by then, by state."""
        began = quiet_since = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            unfinished = await self._unfinished()
            self._draining = f"; draining {told(unfinished) or 'nothing'}"
            now = time.monotonic()
            if any(count for (_, state), count in unfinished.items() if state != "blocked"):
                quiet_since = now
            # The uploads of a dead process are in no figure until their leases have ended.
            if now - quiet_since > STALE_SECONDS and now - began > STALE_SECONDS + 2 * self._world.lease_seconds:
                if not await self._release(unfinished):
                    break
                quiet_since = time.monotonic()
            if now - began > DRAIN_SECONDS:
                self._journal.note(f"not drained after {DRAIN_SECONDS:.0f} s: {told(unfinished)}")
                break
        return told(unfinished)

    async def _unfinished(self) -> Counter[tuple[str, str]]:
        """For each figure the larger value of all processes, because they read at different times."""
        found = await asyncio.gather(*(asyncio.to_thread(asking.unfinished) for asking in self._asking))
        most: Counter[tuple[str, str]] = Counter()
        for one in found:
            most |= one
        return most

    async def _release(self, unfinished: Counter[tuple[str, str]]) -> bool:
        """Does what an operator does when the accounts work again. False if there is nothing to do, or no use."""
        done = False
        for account in self._world.accounts:
            if unfinished[account, "blocked"] and self._released[account] < _RELEASES:
                self._released[account] += 1
                code, said = await asyncio.to_thread(self._world.manage, "accounts", "--retry", account)
                self._journal.note(f"manage.py accounts --retry {account}: {code} {said}")
                done = done or code == 0
        return done

    # --- the examination

    async def _judge(self) -> Result:
        verdict = await self._verdict()
        deadline = time.monotonic() + _STRAY_SECONDS
        while verdict.findings and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
            verdict = await self._verdict()

        self._say(f"Reading {len(verdict.expected):,} objects ...")
        self._reading = len(verdict.expected)
        verdict.findings += await asyncio.to_thread(read_all, self._world.accounts, verdict.expected, self._has_read)
        verdict.findings += self.clients.findings + self._crashes
        records = self.clients.records.values()
        return Result(
            counts=self.clients.counts + Counter({"released": self._released.total()}),
            refusals=self.clients.refusals,
            faults=self._trouble.happened,
            blows=self._blows.happened,
            states=Counter(record.state for record in records),
            peaks={service.name: service.peak_bytes for service in self._world.services},
            verdict=verdict,
            deletes=self.clients.deletes,
            read_bytes=sum(record.size for _, record, _ in verdict.expected),
        )

    def _has_read(self, count: int) -> None:
        self._read = count

    async def _verdict(self) -> Verdict:
        accounts, records = self._world.accounts, self.clients.records
        listings = await asyncio.gather(*(asyncio.to_thread(list_account, one) for one in accounts.values()))
        held = dict(zip(accounts, listings, strict=True))
        listed = await asyncio.to_thread(self._asking[0].acknowledged)
        asked = [number for number, record in records.items() if record.may_be_there and number in listed]
        there = [await asyncio.to_thread(self._asking[0].has, listed[number]) for number in asked]
        verdict = judge(records, held, set(itertools.compress(asked, there)))
        for number, record in records.items():
            if record.state is State.ACKNOWLEDGED and number not in listed:
                verdict.findings.append(Finding(LOST, f"{record.name}: GET /files does not tell it", None, number))
            if record.state in (State.REFUSED, State.DELETED) and number in listed:
                text = f"{record.name}: GET /files tells a {record.state} file"
                verdict.findings.append(Finding(LEFT, text, None, number))
        return verdict


def told(unfinished: Counter[tuple[str, str]]) -> dict[str, int]:
    """The value for the table."""
    return {f"{account} {state}": count for (account, state), count in sorted(unfinished.items()) if count}
