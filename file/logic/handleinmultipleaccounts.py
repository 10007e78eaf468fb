"""THE flow: one file in, one receipt out.

Read from top to bottom: the first part is read, the key is claimed, the file goes to every account at the same time,
and it is published in as many as the ack needs, or taken back everywhere. A file that fits one part is one put an
account; a larger one is a multipart upload in each, of which nothing is visible until enough accounts have every part
and the digests match. Accounts that the ack does not need may go on after the answer (`stragglers`).
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
from file.logic.fanout.fanout import Crew
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
    """Read `file` once and store it in every bucket; in as many as `ack` needs, or in none.

    Raises `RequestError` and `BusyError` for faults of the request itself, after everything was taken back. What went
    wrong in an account is no exception but an outcome in the receipt. Cancelling it takes everything back, too.
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
        first.let_go()
        raise
    if earlier is not None:
        return await _repeat(earlier, file, first, reader)
    crew = Crew(
        buckets,
        description,
        limits,
        needed=ack.needed(len(buckets)),
        begun=partial(ledger.begun, file.id),
        behind=stragglers.has,
    )
    try:
        await (_put(first, reader, crew) if reader.ended else _send_parts(first, reader, crew))
    except BaseException:
        receipt = await _despite_cancellation(_conclude(file, identity, reader, crew, ledger, stragglers))
        if not receipt.acknowledged:
            raise
    else:
        receipt = await _despite_cancellation(_conclude(file, identity, reader, crew, ledger, stragglers))
    return receipt


async def _put(part: SharedPart, reader: PartReader, crew: Crew) -> None:
    """One put an account, all at once. If the ack cannot be met, each runs to its own end: every outcome is told."""
    try:
        reader.digests()
        part.hold(1 + len(crew.lanes))
        for lane in crew.lanes:
            lane.take(part)
        crew.start(Lane.put)
        await crew.until(lambda: crew.met or crew.ended)
        await crew.graciously(lambda lane: lane.stored is not None or lane.ended)
    finally:
        part.let_go()


async def _send_parts(first: SharedPart, reader: PartReader, crew: Crew) -> None:
    """Offer each part to every lane; publish when enough have every part and the digests match.

    If the ack cannot be met, the rest of the body is not waited for. What the body raises is raised once the parts
    under way have ended: S3 may keep a part that is in flight when its upload is aborted.
    """
    crew.start(Lane.send)
    feeding = asyncio.create_task(_feed(first, reader, crew))
    crew.watch(feeding)
    try:
        await crew.until(lambda: feeding.done() or crew.lost)
    finally:
        feeding.cancel()
        await asyncio.wait((feeding,))
    fault = None if feeding.cancelled() else feeding.result()
    await crew.until(lambda: fault is not None or crew.ready or crew.lost)
    if fault is not None or crew.lost:
        await crew.give_up()
        try:
            if fault is not None:
                raise fault
        finally:
            del fault, feeding  # or the error holds this frame, and the frame the error
        return
    crew.publish(reader.digests())
    await crew.until(lambda: crew.met or crew.lost)
    if crew.met:
        await crew.graciously(lambda lane: lane.ended)
    else:
        await crew.give_up()


async def _feed(first: SharedPart, reader: PartReader, crew: Crew) -> RequestError | None:
    """A fault of the body is returned, not raised: it is to wait for the parts under way."""
    part: SharedPart | None = first
    try:
        while part is not None:
            await crew.offer(part)
            part = await reader.next()
        reader.digests()
    except RequestError as fault:
        return fault.with_traceback(None)  # its frames hold bytes
    finally:
        crew.close()
    return None


async def _repeat(earlier: Receipt, file: IncomingFile, part: SharedPart | None, reader: PartReader) -> Receipt:
    """The file is there already, if the bytes are the same ones: what is not declared is read to know."""
    other = KeyTakenError if file.idempotency_key is None else IdempotencyKeyReusedError
    stored = earlier.digests
    assert stored is not None  # what is acknowledged has digests
    assert part is not None
    if file.size not in (None, stored.size) or file.sha256 not in (None, stored.sha256):
        part.let_go()
        raise other
    if (file.content_type, file.content_headers) != (earlier.content_type, earlier.content_headers):
        part.let_go()  # the same bytes, and they would mean something else
        raise other("The file that is there already has another Content-Type, or other content headers.")
    while part is not None:
        part.let_go()
        part = await reader.next()
    if reader.digests().sha256 != stored.sha256:
        raise other
    return replace(earlier, repeated=True)


async def _conclude(
    file: IncomingFile,
    identity: Identity,
    reader: PartReader,
    crew: Crew,
    ledger: Ledger,
    stragglers: Stragglers,
) -> Receipt:
    """Record what became of it: the ack is met, or everything is taken back.

    Raises `LedgerUnavailableError` if nobody knows whether it was recorded (then nothing is deleted), `LeaseLostError`.
    """
    behind = [lane for lane in crew.lanes if lane.stored is None]
    outcomes: Sequence[Outcome]
    if crew.met:
        stragglers.admit(behind)
        outcomes = [lane.outcome() for lane in crew.lanes]
    else:
        await crew.end()
        outcomes = await _take_back(crew)
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
    log_outcomes(receipt, crew.lanes)
    try:
        held = await ledger.conclude(receipt)
    except LedgerUnavailableError:
        await crew.end()
        raise
    if not held:
        await crew.end()
        await ledger.conclude(replace(receipt, outcomes=tuple(await _take_back(crew))))  # what could not be taken back
        raise LeaseLostError
    if receipt.acknowledged:
        stragglers.follow(file.id, behind)
    return receipt


async def _take_back(crew: Crew) -> Sequence[Outcome]:
    removals = await asyncio.gather(*(lane.roll_back() for lane in crew.lanes))
    return [lane.failed(removal) for lane, removal in zip(crew.lanes, removals, strict=True)]


async def _despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end. Who cancelled finds it done: there is nothing left to cancel."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    try:
        return task.result()
    finally:
        del task  # or an error of the work holds this frame, and the frame the error
