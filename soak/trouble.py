"""Short faults between the service and the accounts: one at a time per account, every kind equally often.

Each fault is armed, meets a few requests (or lasts for a moment), and is removed. A fault that met no request in time
is repeated later.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from soak.journal import Journal
from soak.mix import Deck, Mix
from soak.proxy import SoakProxy
from testkit.faults.faults import Fault, Which

_PATIENCE_SECONDS = 6.0  # until a request meets it
_LASTS_SECONDS = (0.2, 2.0)
_PAUSE_SECONDS = (0.2, 2.0)
_LOOK_AGAIN_SECONDS = 0.02
_REFUSED = "refuses connections"
_MULTIPART = ("begin", "part", "complete")

Make = Callable[[random.Random, Which], Fault]


@dataclass(frozen=True)
class Kind:
    """A fault. `make` is None if connections are refused; `operations`: the operations that it may be for."""

    name: str
    make: Make | None
    operations: tuple[str | None, ...] = (None, None, "put", "put", "begin", "part", "complete")


def _answers(code: str, status: int | None = None, *, carried_out: bool = False) -> Make:
    def make(chance: random.Random, which: Which) -> Fault:
        early = not carried_out and chance.random() < 0.3
        return Fault.refuses(code, status=status, early=early, carried_out=carried_out, **which)

    return make


_REDIRECT = {"Location": "http://127.0.0.1:9/elsewhere"}  # no server listens there; the redirect must not be followed
KINDS = (
    Kind(_REFUSED, None),
    Kind("resets", lambda chance, which: Fault.drops_connection(after_bytes=chance.choice((0, 900, 300_000)), **which)),
    Kind("hangs", lambda chance, which: Fault.stalls(after_bytes=chance.choice((None, 500)), **which)),
    Kind("slow", lambda chance, which: Fault.slows(100_000, **which)),
    Kind("500", _answers("InternalError")),
    Kind("500, but done", _answers("InternalError", carried_out=True)),
    Kind("SlowDown", _answers("SlowDown")),
    Kind("200 with an error", _answers("InternalError", 200), ("complete",)),
    Kind("loses the answer", lambda chance, which: Fault.loses_reply(**which)),
    Kind("late answer", lambda chance, which: Fault.delays_reply(chance.uniform(0.2, 2.0), **which)),
    Kind("damages the body", lambda chance, which: Fault.damages_body(at_byte=20, **which), ("put", "part")),
    Kind("damages the answer", lambda chance, which: Fault.damages_reply(at_byte=20, **which), ("get",)),
    Kind("403", _answers("AccessDenied")),
    Kind("409", _answers("ConditionalRequestConflict"), ("put", "complete")),
    Kind("412", _answers("PreconditionFailed"), ("put", "complete")),
    Kind("307", lambda chance, which: Fault.refuses("TemporaryRedirect", headers=_REDIRECT, **which)),
    Kind("wrong clock", lambda chance, which: Fault.has_wrong_clock(ahead_seconds=chance.choice((-600, 600)), **which)),
    Kind("NoSuchUpload", _answers("NoSuchUpload"), ("part", "complete")),
    Kind("refuses to delete", _answers("AccessDenied"), ("delete",)),
)


class Trouble:
    """`happened` counts by kind the requests that met a fault, and the periods of refused connections."""

    def __init__(self, seed: int, proxies: Mapping[str, SoakProxy], mix: Mix, journal: Journal) -> None:
        self._chance = random.Random(f"{seed} faults")
        # A period of refused connections counts once, for any number of requests.
        self._deck = Deck(self._chance, (*KINDS, *(kind for kind in KINDS if kind.make is None)))
        self._proxies = proxies
        self._mix = mix
        self._journal = journal
        self._refusals: Counter[str] = Counter()

    @property
    def happened(self) -> Counter[str]:
        total = Counter({kind.name: 0 for kind in KINDS}) + self._refusals
        for proxy in self._proxies.values():
            total.update(proxy.met)
        return Counter({kind.name: total[kind.name] for kind in KINDS})

    async def run(self, account: str, stop: asyncio.Event) -> None:
        """Causes one fault after the other in one account, until it is told to stop."""
        while not stop.is_set():
            await pause(stop, self._chance.uniform(*_PAUSE_SECONDS))
            if not stop.is_set():
                await self._one(account)

    async def _one(self, account: str) -> None:
        kind, proxy = self._deck.draw(), self._proxies[account]
        lasts = self._chance.uniform(*_LASTS_SECONDS)
        if kind.make is None:
            self._refusals[kind.name] += 1
            self._journal.note(f"account {account} {kind.name} for {lasts:.1f} s")
            await asyncio.to_thread(proxy.refuse_connections)
            await asyncio.sleep(lasts)
            await asyncio.to_thread(proxy.accept_connections)
            return
        operation = self._chance.choice(kind.operations)
        times = self._chance.choice((1, 1, 2, 3, 6))
        if operation in _MULTIPART:
            self._mix.large_wanted += 1
            times = min(times, 2)
        before = proxy.met[kind.name]
        proxy.add(replace(kind.make(self._chance, {"operation": operation, "times": times}), name=kind.name))
        met = await self._met(proxy, kind.name, before + times, lasts)
        proxy.clear()
        self._journal.note(f"account {account} {kind.name} at {operation or 'anything'}, met {met - before} of {times}")
        if met == before:
            self._deck.put_back(kind)

    async def _met(self, proxy: SoakProxy, name: str, wanted: int, lasts: float) -> int:
        """Waits until the fault met enough requests, or a time after the first one, or the limit. Returns the count."""
        first, deadline = proxy.met[name], time.monotonic() + _PATIENCE_SECONDS
        is_met = False
        while proxy.met[name] < wanted and time.monotonic() < deadline:
            if not is_met and proxy.met[name] > first:
                is_met, deadline = True, time.monotonic() + lasts
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)  # the proxy's thread sends no event
        return proxy.met[name]


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleeps, but not beyond the end of the run."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
