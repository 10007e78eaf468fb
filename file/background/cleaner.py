"""The clean-up: what uploads left behind whose process died, or whose account did not answer.

Runs as long as the service does, in each of its processes. Each account is cleaned by itself, so that one that is down
holds up no other; its clean-up stays open until it is back. Only objects that carry the file's id and uploads that are
known to be the file's are touched; see `Inventory`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import structlog

from file.ledger.leases import Due, Leases
from file.logic.errors import AccountError, BucketMissingError, LedgerUnavailableError
from file.logic.seams import Inventory
from file.logic.values import ReplicaState

_log = structlog.get_logger()
_AT_ONCE = 4  # an account


class Cleaner:
    """`pause_seconds`: how often it looks when there is nothing to do."""

    def __init__(self, leases: Leases, inventories: Iterable[Inventory], *, pause_seconds: float) -> None:
        self._leases = leases
        self._inventories = list(inventories)
        self._pause_seconds = pause_seconds

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._over_and_over(self._take_over))
            for inventory in self._inventories:
                group.create_task(self._over_and_over(partial(self.clean, inventory)))
                group.create_task(self._over_and_over(partial(self.sweep, inventory)))

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
                await asyncio.sleep(self._pause_seconds)

    async def _take_over(self) -> int:
        taken = await self._leases.take_over()
        if taken:
            _log.warning("uploads_taken_over", count=taken)
        return taken

    async def clean(self, inventory: Inventory) -> int:
        """Settle what is due in one account now. Returns how many replicas that were."""
        claimed = await self._leases.claim(inventory.account.name, _AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for due in claimed:
                group.create_task(self._settle_safely(due, inventory))
        return len(claimed)

    async def sweep(self, inventory: Inventory) -> int:
        """Abort what may be open in an account that has the file all the same: a begin whose answer was lost."""
        for lost in await self._leases.lost_uploads(inventory.account.name):
            try:
                await inventory.abort_lost(lost.object_key, since=lost.since, until=lost.until)
            except AccountError as error:
                _log.warning("sweeping_failed", account=error.account, code=error.code, detail=error.detail)
                break
            await self._leases.aborted(lost)
        return 0

    async def _settle_safely(self, due: Due, inventory: Inventory) -> None:
        try:
            await self._settle(due, inventory)
        except AccountError as error:
            _log.warning("cleaning_failed", id=due.file_id, account=due.account, code=error.code, detail=error.detail)
            await self._leases.failed(due, error.code)
        else:
            _log.info("cleaned", id=due.file_id, account=due.account, object_key=due.object_key, state=due.state.value)

    async def _settle(self, due: Due, inventory: Inventory) -> None:
        if due.bucket != inventory.account.s3_bucket_name:  # what lies in this one says nothing about that one
            raise BucketMissingError(due.account, "clean", f"no longer has the bucket {due.bucket} configured")
        for upload_id in due.upload_ids:
            await inventory.abort(due.object_key, upload_id)
        if due.lost is not None:
            since, until = due.lost
            await inventory.abort_lost(due.object_key, since=since, until=until)
        if due.state is ReplicaState.ERASING:
            await inventory.remove(due.object_key, due.file_id)
            await self._leases.gone(due)
        elif (stored := await inventory.find(due.object_key, due.file_id, due.checksum)) is not None:
            await self._leases.found(due, stored)
        else:
            await self._leases.missing(due)
