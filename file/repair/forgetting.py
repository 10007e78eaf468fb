"""Empties the ledger's write-ahead log soon after an erasure, because it still has the key of the file.

It runs beside the uploads, and repeats until it succeeds: this needs a moment between two transactions without readers
and writers. It also runs at the start and every hour, because another process may have erased files, or was killed.
"""

import asyncio
import sqlite3
from contextlib import suppress

import structlog

from file.ledger.commit.checkpoint import Checkpoint
from file.logic.errors import LedgerUnavailableError

_PAUSE_SECONDS = 0.5  # together with erasures that follow soon
_LONGEST_PAUSE_SECONDS = 30.0
_ANYWAY_SECONDS = 3600.0
_log = structlog.get_logger()


class Forgetting:
    """Belongs to one event loop. `erased` orders a run."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._wanted = asyncio.Event()

    def erased(self) -> None:
        """Orders a run, because the ledger removed data of a file."""
        self._wanted.set()

    async def run(self) -> None:
        """Runs until it is cancelled."""
        seconds = 0.0
        while self._checkpoint.is_needed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), seconds)
            seconds = _ANYWAY_SECONDS
            await asyncio.sleep(_PAUSE_SECONDS)
            was_wanted = self._wanted.is_set()
            self._wanted.clear()
            pause = _PAUSE_SECONDS
            while not await self._is_empty():
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause)
            if was_wanted:
                _log.info("ledger_log_emptied")

    async def _is_empty(self) -> bool:
        try:
            return await self._checkpoint.empty_log()
        except (sqlite3.Error, LedgerUnavailableError) as error:
            _log.warning("ledger_log_not_emptied", error=repr(error))
            return False
