"""THE flow: one file in, one receipt out.

Read from top to bottom: the first part is read, the key is claimed, the file goes to every account at the same time,
and it is published everywhere or taken back everywhere. A file that fits one part is one put an account; a larger one
is a multipart upload in each, of which nothing is visible until every account has every part and the digests match.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import structlog

from file.logic.budget import Budget
from file.logic.errors import RequestError
from file.logic.lane import Lane
from file.logic.naming import check_metadata, encode_name
from file.logic.parts import PartReader, SharedPart
from file.logic.seams import Bucket, Ledger
from file.logic.values import (
    FILE_ID,
    FILE_NAME,
    FILE_SHA256,
    Failed,
    Identity,
    IncomingFile,
    Limits,
    ObjectDescription,
    Receipt,
    Removal,
)

T = TypeVar("T")
_log = structlog.get_logger()


async def handle_in_multiple_accounts(
    file: IncomingFile, buckets: Sequence[Bucket], *, limits: Limits, budget: Budget, ledger: Ledger
) -> Receipt:
    """Read `file` once and store it in every bucket, or in none.

    Raises `RequestError` and `BusyError` for faults of the request itself, after everything was taken back. What went
    wrong in an account is no exception but a `Failed` in the receipt. Cancelling it takes everything back, too.
    """
    reader = PartReader(file, limits, budget)
    first = await reader.next()
    assert first is not None  # an empty file has one empty part
    try:
        identity = file.identify()
        description = describe(file, identity, reader.digests().sha256 if reader.ended else file.sha256)
        await ledger.intend(file.id, identity)
    except BaseException:
        first.let_go()
        raise
    lanes = [Lane(bucket, description, limits) for bucket in buckets]
    try:
        await (_put(first, reader, lanes) if reader.ended else _send_parts(first, reader, lanes))
    except BaseException:
        receipt = await _despite_cancellation(_conclude(file, identity, reader, lanes, ledger))
        if not receipt.stored:
            raise
    else:
        receipt = await _despite_cancellation(_conclude(file, identity, reader, lanes, ledger))
    return receipt


async def _conclude(
    file: IncomingFile, identity: Identity, reader: PartReader, lanes: Sequence[Lane], ledger: Ledger
) -> Receipt:
    """Take everything back unless every account has the file; record what became of it."""
    if all(lane.stored for lane in lanes):
        outcomes = [lane.outcome(None) for lane in lanes]
    else:
        removals = await asyncio.gather(*(lane.roll_back() for lane in lanes))
        outcomes = [lane.outcome(removal) for lane, removal in zip(lanes, removals, strict=True)]
    receipt = Receipt(
        id=file.id,
        key=identity.key,
        name=identity.name,
        content_type=file.content_type,
        digests=reader.checked,
        outcomes=tuple(outcomes),
    )
    _log_outcomes(receipt, lanes)
    await ledger.conclude(receipt)
    return receipt


async def _put(part: SharedPart, reader: PartReader, lanes: Sequence[Lane]) -> None:
    """One put an account, all at once. Each runs to its own end, so that every outcome is told."""
    try:
        reader.digests()
        async with asyncio.TaskGroup() as group:
            for lane in lanes:
                group.create_task(lane.put(part.part))
    finally:
        part.let_go()


async def _send_parts(first: SharedPart, reader: PartReader, lanes: Sequence[Lane]) -> None:
    """Offer each part to every lane; publish when every account has every part and the digests match.

    If an account fails, the rest of the body is not waited for. What the body raises is raised once the parts under
    way have ended: S3 may keep a part that is in flight when its upload is aborted.
    """
    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(first, reader, lanes))
            for lane in lanes:
                lane.open(group, on_failure=lambda: _give_up(feeding, lanes))
    finally:
        _discard(lanes)
    if any(lane.error for lane in lanes):
        return
    if (fault := feeding.result()) is not None:
        try:
            raise fault
        finally:
            del fault, feeding  # or the error holds this frame, and the frame the error
    digests = reader.digests()
    async with asyncio.TaskGroup() as group:
        for lane in lanes:
            group.create_task(lane.complete(digests))


def _give_up(feeding: asyncio.Task[Any], lanes: Sequence[Lane]) -> None:
    """An account has failed: nothing more is read, nor sent to the others."""
    feeding.cancel()
    _discard(lanes)


def _discard(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.discard()


async def _feed(first: SharedPart, reader: PartReader, lanes: Sequence[Lane]) -> RequestError | None:
    """A fault of the body is returned, not raised: raising would cut off the parts under way."""
    part: SharedPart | None = first
    try:
        while part is not None:
            await _offer(part, lanes)
            part = await reader.next()
    except RequestError as fault:
        return fault.with_traceback(None)  # its frames hold bytes
    finally:
        for lane in lanes:
            lane.close()
    return None


async def _offer(part: SharedPart, lanes: Sequence[Lane]) -> None:
    part.hold(len(lanes))
    offered = 0
    try:
        for lane in lanes:
            await lane.offer(part)
            offered += 1
    finally:
        for _ in lanes[offered:]:
            part.let_go()


async def _despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end. Who cancelled finds it done: there is nothing left to cancel."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


def describe(file: IncomingFile, identity: Identity, sha256: bytes | None) -> ObjectDescription:
    """What every account is to hold. Raises `MetadataRefusedError`."""
    ours = {FILE_ID: file.id, FILE_NAME: encode_name(identity.name)}
    if sha256 is not None:
        ours[FILE_SHA256] = sha256.hex()
    check_metadata(file.metadata, ours=ours)
    return ObjectDescription(
        file_id=file.id, key=identity.key, content_type=file.content_type, metadata={**file.metadata, **ours}
    )


def _log_outcomes(receipt: Receipt, lanes: Sequence[Lane]) -> None:
    """One line an account: the account's own truth."""
    for lane, outcome in zip(lanes, receipt.outcomes, strict=True):
        entry = {
            "id": receipt.id,
            "key": receipt.key,
            "size": receipt.digests.size if receipt.digests else None,
            "account": outcome.account,
            "bucket": outcome.bucket,
            "seconds": round(lane.seconds, 4),
            "attempts": lane.attempts,
            "s3_request_id": outcome.request_id,
        }
        if isinstance(outcome, Failed):
            error = outcome.error
            _log.warning(
                "account_failed",
                **entry,
                code=error.code,
                detail=error.detail,
                operation=error.operation,
                s3_code=error.s3_code,
                removal=outcome.removal.value,
                cause=repr(error.__cause__) if error.__cause__ else None,
                object_key=outcome.object_key if outcome.removal is Removal.PENDING else None,
            )
        else:
            _log.info("account_stored", **entry, version_id=outcome.version_id)
