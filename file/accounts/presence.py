"""Presence: blocks and releases replicas of accounts that are missing, back, or retired.

It runs in each process of the service, and writes to the registry which accounts are retired. `file/ledger/accounts/`
says what happens to the replicas. The environment is read once at the start; later calls are for new rows and for
retirements. All processes should have the same accounts: if one process lacks an account, the replicas of that account
change between two states.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from file.ledger.accounts.accountstates import names_of_unfinished, retired_names
from file.ledger.accounts.presence import block_missing, mark_erasing, place_unplaced, unblock_missing
from file.ledger.commit.writer import Writer
from file.logic.accounts.registry import Registry
from file.logic.errors import LedgerUnavailableError
from file.logic.values import Account

_log = structlog.get_logger()
_MARGIN_SECONDS = 60.0  # longer than a transaction, whose rows may become visible only after a call

_ROUNDS = 200  # transactions of some hundred rows per call


class Presence:
    """`registry`: the configured accounts; the retired ones are written there. `pause_seconds`: between two calls."""

    def __init__(self, writer: Writer, alias: str, registry: Registry, *, pause_seconds: float) -> None:
        self._writer = writer
        self._alias = alias
        self._registry = registry
        self._pause_seconds = pause_seconds
        self._placed: set[str] = set()
        self._marked: dict[str, float] = {}  # missing accounts, and when all their erasing replicas were marked

    async def run(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await self.call()
            await asyncio.sleep(self._pause_seconds)

    async def call(self) -> None:
        """Runs once. The first call must end before the service accepts uploads."""
        try:
            self._registry.retired = await self._writer.run(lambda: retired_names(self._alias))
            names = await self._writer.run(lambda: names_of_unfinished(self._alias))
            for name in names:
                account = self._registry.account(name)
                if account is None:
                    await self._is_missing(name)
                else:
                    await self._is_here(account)
        except LedgerUnavailableError as error:
            _log.warning("roll_call_waits", detail=error.detail)
        except Exception:  # noqa: BLE001 - one row's nonsense must not end the calls that follow
            _log.exception("roll_call_crashed")

    async def _is_here(self, account: Account) -> None:
        if account.name not in self._placed:
            await self._all(lambda: place_unplaced(self._alias, account))
            self._placed.add(account.name)
        if released := await self._all(lambda: unblock_missing(self._alias, account)):
            _log.info("account_is_back", account=account.name, replicas=released)

    async def _is_missing(self, name: str) -> None:
        blocked = await self._all(lambda: block_missing(self._alias, name))
        began, last = time.monotonic(), self._marked.get(name)
        since = None if last is None else timedelta(seconds=began - last + _MARGIN_SECONDS)
        marked = await self._all(lambda: mark_erasing(self._alias, name, since))
        self._marked[name] = began
        if blocked or marked:
            _log.warning("account_missing", account=name, blocked=blocked, erasing=marked)

    async def _all(self, some: Callable[[], int]) -> int:
        """Changes all rows, some per transaction, so that uploads get their turn. It stops after many rounds, because a
        process with other accounts may undo the changes; the next call continues.
        """
        total = 0
        for _ in range(_ROUNDS):
            if not (done := await self._writer.run(some)):
                break
            total += done
        return total
