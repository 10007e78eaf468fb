"""After an erasure, soon: the ledger's write-ahead log is emptied, for it still has the key of the file.

Runs beside the uploads, as often as it takes: a moment in which nobody reads or writes comes between two transactions.
Also at the start and every hour: what was erased may have been erased by another process, or by one that was killed.
"""

import asyncio
import sqlite3
from contextlib import suppress

import structlog

from file.ledger.commit.checkpoint import Checkpoint
from file.logic.errors import LedgerUnavailableError

_PAUSE_SECONDS = 0.5  # also for erasures that follow each other
_LONGEST_PAUSE_SECONDS = 30.0
_ANYWAY_SECONDS = 3600.0
_log = structlog.get_logger()


class Forgetting:
    """Belongs to one event loop."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._wanted = asyncio.Event()

    def erased(self) -> None:
        """The ledger has less of a file than before."""
        self._wanted.set()

    async def run(self) -> None:
        """Until it is cancelled."""
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
