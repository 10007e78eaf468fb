"""The flow: one file in, one receipt out.

Read it from top to bottom: the first part is read, the key is claimed, the file goes to every account at the same time,
and it is published in the number of accounts that the ack needs, or rolled back in all. A file that fits one part is
one put per account. A larger file is a multipart upload per account; nothing of it is visible until enough accounts
have every part and the digests match. Accounts that the ack does not need may go on after the answer (`stragglers`).
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from file.logic.accounts.hashes import AccountHashes
from file.logic.errors import (
    IdempotencyKeyReusedError,
    KeyTakenError,
    LeaseLostError,
    LedgerUnavailableError,
    RequestError,
)
from file.logic.fanout.fanout import FanOut
from file.logic.fanout.lane import Lane
from file.logic.fanout.stragglers import Stragglers
from file.logic.memory.budget import Budget
from file.logic.metadata import describe, intent_of, log_outcomes
from file.logic.parts import PartReader, SharedPart
from file.logic.ports import Ledger, StorageAccount
from file.logic.values import Ack, Identity, IncomingFile, Limits, Outcome, Receipt

T = TypeVar("T")


async def handle_in_multiple_accounts(
    file: IncomingFile,
    buckets: Sequence[StorageAccount],
    *,
    ack: Ack,
    limits: Limits,
    budget: Budget,
    ledger: Ledger,
    stragglers: Stragglers,
    hashes: AccountHashes,
) -> Receipt:
    """Reads `file` once and stores it in every bucket: at least in the number that `ack` needs, or in none.

    Raises `RequestError` and `BusyError` for faults of the request itself, after everything was rolled back. A failure
    in an account is not an exception but an outcome in the receipt. Cancellation rolls everything back, too.
    Returns an earlier receipt (`repeated`) if the request repeats an upload that was acknowledged.
    """
    reader = PartReader(file, limits, budget)
    first = await reader.next()
    assert first is not None  # an empty file has one empty part
    try:
        identity = file.identify()
        accounts = [bucket.account.name for bucket in buckets]
        sha256 = reader.digests().sha256 if reader.ended else file.sha256
        description = describe(file, identity, accounts, sha256, ledger.installation, hashes)
        earlier = await ledger.intend(intent_of(file, identity, buckets, ack, limits, reader))
    except BaseException:
        first.release()
        raise
    if earlier is not None:
        return await _repeat(earlier, file, first, reader)
    fanout = FanOut(
        buckets,
        description,
        limits,
        needed=ack.needed(len(buckets)),
        begun=partial(ledger.begun, file.id),
        behind=stragglers.has,
    )
    try:
        await (_put(first, reader, fanout) if reader.ended else _send_parts(first, reader, fanout))
    except BaseException:
        receipt = await _despite_cancellation(_conclude(file, identity, reader, fanout, ledger, stragglers))
        if not receipt.acknowledged:
            raise
    else:
        receipt = await _despite_cancellation(_conclude(file, identity, reader, fanout, ledger, stragglers))
    return receipt


async def _put(part: SharedPart, reader: PartReader, fanout: FanOut) -> None:
    """One put per account, all at once. If the ack cannot be met, each still runs to its end, for its outcome."""
    try:
        reader.digests()
        part.hold(1 + len(fanout.lanes))
        for lane in fanout.lanes:
            lane.parts.take(part)
        fanout.start(Lane.put)
        await fanout.until(lambda: fanout.met or fanout.ended)
        await fanout.within_grace(lambda lane: lane.stored is not None or lane.ended)
    finally:
        part.release()


async def _send_parts(first: SharedPart, reader: PartReader, fanout: FanOut) -> None:
    """Offers each part to every lane, and publishes when enough have every part and the digests match.

    If the ack cannot be met, it does not wait for the rest of the body. A fault of the body is raised after the parts
    in flight have ended: S3 may keep a part that is in flight when its upload is aborted.
    """
    fanout.start(Lane.send)
    feeding = asyncio.create_task(_feed(first, reader, fanout))
    fanout.watch(feeding)
    try:
        await fanout.until(lambda: feeding.done() or fanout.lost)
    finally:
        feeding.cancel()
        await asyncio.wait((feeding,))
    fault = None if feeding.cancelled() else feeding.result()
    await fanout.until(lambda: fault is not None or fanout.ready or fanout.lost)
    if fault is not None or fanout.lost:
        await fanout.give_up()
        try:
            if fault is not None:
                raise fault
        finally:
            del fault, feeding  # or the error holds this frame, and the frame the error
        return
    fanout.publish(reader.digests())
    await fanout.until(lambda: fanout.met or fanout.lost)
    if fanout.met:
        await fanout.within_grace(lambda lane: lane.ended)
    else:
        await fanout.give_up()


async def _feed(first: SharedPart, reader: PartReader, fanout: FanOut) -> RequestError | None:
    """Returns a fault of the body, because it must be raised only after the parts in flight."""
    part: SharedPart | None = first
    try:
        while part is not None:
            await fanout.offer(part)
            part = await reader.next()
        reader.digests()
    except RequestError as fault:
        return fault.with_traceback(None)  # its frames hold bytes
    finally:
        fanout.close()
    return None


async def _repeat(earlier: Receipt, file: IncomingFile, part: SharedPart | None, reader: PartReader) -> Receipt:
    """The earlier receipt, if the bytes are the same. Without a declared digest, the whole body is read for this."""
    other = KeyTakenError if file.idempotency_key is None else IdempotencyKeyReusedError
    stored = earlier.digests
    assert stored is not None  # an acknowledged file has digests
    assert part is not None
    if file.size not in (None, stored.size) or file.sha256 not in (None, stored.sha256):
        part.release()
        raise other
    if (file.content_type, file.content_headers) != (earlier.content_type, earlier.content_headers):
        part.release()  # the same bytes with another meaning
        raise other("The file that is there already has another Content-Type, or other content headers.")
    while part is not None:
        part.release()
        part = await reader.next()
    if reader.digests().sha256 != stored.sha256:
        raise other
    return replace(earlier, repeated=True)


async def _conclude(
    file: IncomingFile,
    identity: Identity,
    reader: PartReader,
    fanout: FanOut,
    ledger: Ledger,
    stragglers: Stragglers,
) -> Receipt:
    """Records the outcome: the ack is met, or everything is rolled back.

    Raises `LeaseLostError`, and `LedgerUnavailableError` if it may have been recorded (then nothing is deleted).
    """
    behind = [lane for lane in fanout.lanes if lane.stored is None]
    outcomes: Sequence[Outcome]
    if fanout.met:
        stragglers.admit(behind)
        outcomes = [lane.outcome() for lane in fanout.lanes]
    else:
        await fanout.end()
        outcomes = await _roll_back(fanout)
    receipt = Receipt(
        id=file.id,
        key=identity.key,
        name=identity.name,
        content_type=file.content_type,
        digests=reader.checked,
        outcomes=tuple(outcomes),
        metadata=file.metadata,
        content_headers=file.content_headers,
    )
    log_outcomes(receipt, fanout.lanes)
    try:
        held = await ledger.conclude(receipt)
    except LedgerUnavailableError:
        await fanout.end()
        raise
    if not held:
        await fanout.end()
        await ledger.conclude(
            replace(receipt, outcomes=tuple(await _roll_back(fanout)))
        )  # with what could not be removed
        raise LeaseLostError
    if receipt.acknowledged:
        stragglers.follow(file.id, behind)
    return receipt


async def _roll_back(fanout: FanOut) -> Sequence[Outcome]:
    removals = await asyncio.gather(*(lane.roll_back() for lane in fanout.lanes))
    return [lane.failed(removal) for lane, removal in zip(fanout.lanes, removals, strict=True)]


async def _despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end, also if the caller is cancelled meanwhile: then the work is done."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    try:
        return task.result()
    finally:
        del task  # or an error of the work holds this frame, and the frame the error
