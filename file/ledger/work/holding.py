"""What every worker on a replica does: hold its claim; first close uploads that may be open; and before it removes a
copy of a file that stays, ask another account for its copy.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog

from file.ledger.work.claims import Claims, Due
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountError, BucketMissingError, LedgerUnavailableError, TakenBackError
from file.logic.ports import StorageAccount

_log = structlog.get_logger()


@asynccontextmanager
async def children() -> AsyncIterator[set[asyncio.Task[None]]]:
    """Tasks that end with the block that started them."""
    tasks: set[asyncio.Task[None]] = set()
    try:
        yield tasks
    finally:
        await _end(set(tasks))
        tasks.clear()  # or an error of one of them holds this frame, and the frame the error


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def held(claims: Claims, due: Due, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, and renew the claim meanwhile. Broken off with `TakenBackError` when the claim is lost."""
    async with children() as under_way:
        task = asyncio.create_task(work)
        under_way.add(task)
        while not task.done():
            await asyncio.wait((task,), timeout=claims.claim_seconds / 3)
            if task.done():
                break
            with suppress(LedgerUnavailableError):  # it runs out, if it stays so: then another one does it, too
                if not await claims.hold(due):
                    raise TakenBackError(due.account, "upload")
        try:
            task.result()
        finally:
            del task  # or an error of the work holds this frame, and the frame the error


async def close_uploads(due: Due, inventory: StorageAccount) -> None:
    """Abort every upload that may be open. Raises `AccountError`."""
    if due.bucket != inventory.account.s3_bucket_name:  # this bucket says nothing about that one
        raise BucketMissingError(due.account, "clean", f"no longer has the bucket {due.bucket} configured")
    for upload_id in due.upload_ids:
        await inventory.abort(due.object_key, upload_id)
    if due.lost is not None:
        since, until = due.lost
        await inventory.abort_lost(due.object_key, since=since, until=until)


async def is_shown(places: Iterable[tuple[str, str]], file_id: str, checksum: str | None, registry: Registry) -> bool:
    """Whether one of these accounts shows at this moment that it has the file, under that object key.

    What the ledger says of them may be of yesterday. One that does not answer, or is not configured, shows nothing.
    """
    for account, object_key in places:
        if (storage := registry.find(account)) is None:
            continue
        try:
            if await storage.find(object_key, file_id, checksum) is not None:
                return True
        except AccountError as error:
            _log.warning("not_seen_elsewhere", id=file_id, account=account, code=error.code)
    return False
