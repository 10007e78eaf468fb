"""What everybody does who looks after a replica: hold the claim, and first of all close what may be open."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from file.ledger.leases import Due, Leases
from file.logic.errors import BucketMissingError, LedgerUnavailableError, TakenBackError
from file.logic.seams import Inventory


@asynccontextmanager
async def children() -> AsyncIterator[set[asyncio.Task[None]]]:
    """Tasks that end with whoever started them."""
    tasks: set[asyncio.Task[None]] = set()
    try:
        yield tasks
    finally:
        left = set(tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


async def held(leases: Leases, due: Due, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, and renew the claim meanwhile. Broken off with `TakenBackError` when the claim is lost."""
    async with children() as under_way:
        task = asyncio.create_task(work)
        under_way.add(task)
        while not task.done():
            await asyncio.wait((task,), timeout=leases.claim_seconds / 3)
            if task.done():
                break
            with suppress(LedgerUnavailableError):  # it runs out, if it stays so: then another one does it, too
                if not await leases.hold(due):
                    raise TakenBackError(due.account, "upload")
        task.result()


async def close_uploads(due: Due, inventory: Inventory) -> None:
    """Abort every upload that may be open. Raises `AccountError`."""
    if due.bucket != inventory.account.s3_bucket_name:  # what lies in this one says nothing about that one
        raise BucketMissingError(due.account, "clean", f"no longer has the bucket {due.bucket} configured")
    for upload_id in due.upload_ids:
        await inventory.abort(due.object_key, upload_id)
    if due.lost is not None:
        since, until = due.lost
        await inventory.abort_lost(due.object_key, since=since, until=until)
