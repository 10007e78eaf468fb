"""The clean-up: removes erased files, and what uploads left whose process died or whose account did not answer.

It runs in each process of the service. Accounts are independent of each other: the clean-up of an account that is down
waits until it is back. Only objects with the file's id, and uploads that are known to be the file's, are removed; see
`StorageAccount`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from file.ledger.read.records import Records
from file.ledger.work.claims import Claims, Due
from file.ledger.work.holding import close_uploads, held, is_shown
from file.ledger.work.results import Results
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountError, LedgerUnavailableError, NoSourceError, TakenBackError
from file.logic.values import ReplicaState, Stored

_log = structlog.get_logger()
_AT_ONCE = 4  # per account


@dataclass(eq=False, slots=True)
class Cleaner:
    """`compare` compares the ledger with the accounts, and marks it if it is behind. `erased` is called when the ledger
    has removed the key of a file. `pause_seconds`: the time between two searches without result.
    """

    claims: Claims
    results: Results
    records: Records
    registry: Registry
    compare: Callable[[], Awaitable[None]]
    pause_seconds: float
    erased: Callable[[], None] = lambda: None
    _is_compared: bool = field(default=False, init=False)
    _erasing: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def run(self) -> None:
        """Runs until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._over_and_over(self._take_over))
                for name in self.registry.names:
                    group.create_task(self._over_and_over(partial(self._clean_if_there, name)))
                    group.create_task(self._over_and_over(partial(self.sweep, name)))
        finally:
            for task in self._erasing:
                task.cancel()
            if self._erasing:
                await asyncio.wait(self._erasing)

    async def erase(self, claimed: Sequence[Due], seconds: float) -> None:
        """Erases now, and returns after `seconds` at most; unfinished work continues."""
        tasks = {asyncio.create_task(self._settle_safely(due)) for due in claimed}
        for task in tasks:
            self._erasing.add(task)
            task.add_done_callback(self._erasing.discard)
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def clean(self, account: str) -> int:
        """Cleans one account now. Returns the number of replicas that were examined."""
        claimed = await self.claims.claim(account, ReplicaState.ERASING, _AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for due in claimed:
                group.create_task(self._settle_safely(due))
        return len(claimed)

    async def sweep(self, account: str) -> int:
        """Aborts uploads that may be open in an account, and that no other work looks for."""
        inventory = self.registry.storage(account)
        for lost in await self.results.lost_uploads(account):
            if lost.bucket != inventory.account.s3_bucket_name:
                continue
            try:
                if lost.upload_id is not None:
                    await inventory.abort(lost.object_key, lost.upload_id)
                else:
                    await inventory.abort_lost(lost.object_key, since=lost.since, until=lost.until)
            except AccountError as error:
                _log.warning("sweeping_failed", account=error.account, code=error.code, detail=error.detail)
                if error.retryable:
                    break
                continue
            await self.results.aborted(lost)
        return 0

    async def _over_and_over(self, work: Callable[[], Awaitable[int]]) -> None:
        while True:
            try:
                done = await work()
            except LedgerUnavailableError as error:
                _log.warning("cleaner_waits", detail=error.detail)
                done = 0
            except Exception:  # noqa: BLE001 - one row's nonsense must not end the clean-up of all others
                _log.exception("cleaner_crashed")
                done = 0
            if not done:
                await asyncio.sleep(self.pause_seconds)

    async def _take_over(self) -> int:
        """Takes over files whose lease ended. It compares first, once per process: in an older copy of the ledger, a
        file that was being received may have been acknowledged since.
        """
        if not self._is_compared and await self.claims.has_expired():
            await self.compare()
            self._is_compared = True
        taken = await self.claims.take_over()
        if taken:
            _log.warning("uploads_taken_over", count=taken)
        return taken

    async def _clean_if_there(self, account: str) -> int:
        await self.registry.breaker(account).passes()
        return await self.clean(account)

    async def _settle_safely(self, due: Due) -> None:
        members = {"id": due.file_id, "account": due.account}
        breaker = self.registry.breaker(due.account)
        try:
            try:
                await held(self.claims, due, self._settle(due))
            except AccountError as error:
                _log.warning("cleaning_failed", **members, code=error.code, detail=error.detail)
                if not isinstance(error, NoSourceError | TakenBackError):
                    breaker.failed(error)
                await self.results.failed(due, error)
            else:
                breaker.succeeded()
        except LedgerUnavailableError as error:  # the claim ends by itself
            _log.warning("cleaning_unrecorded", **members, detail=error.detail)
        except Exception:  # noqa: BLE001 - logged, and tried again when the claim has run out; the others go on
            _log.exception("cleaning_crashed", **members)

    async def _settle(self, due: Due) -> None:
        inventory = self.registry.storage(due.account)
        await close_uploads(due, inventory)
        if due.file_lives and not await self._is_elsewhere(due):
            raise NoSourceError(due.account, "delete", "keeps the file: no other account shows it")
        strangers = await inventory.remove(due.object_key, due.file_id, due.version_id, due.etag)
        if await self.results.gone(due, strangers):
            self.erased()
        _log.info("cleaned", id=due.file_id, account=due.account, strangers=strangers)

    async def _is_elsewhere(self, due: Due) -> bool:
        """Whether another account shows now that it has the file. Asked before this account loses its copy."""
        receipt = await self.records.receipt(due.file_id)
        others = [
            (outcome.account, outcome.object_key)
            for outcome in (() if receipt is None else receipt.outcomes)
            if isinstance(outcome, Stored) and outcome.account != due.account
        ]
        return await is_shown(others, due.file_id, due.checksum, self.registry)
