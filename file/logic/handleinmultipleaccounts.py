"""The flow: one file in, one receipt out.

Read it from top to bottom: the first part is read, the key is claimed, the file goes to every account at the same time,
and it is published in the number of accounts that the ack needs, or rolled back in all. A file that fits one part is
one put per account. A larger file is a multipart upload per account; nothing of it is visible until enough accounts
have every part and the digests match. Accounts that the ack does not need may go on after the answer (`stragglers`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from file.logic.accounts.hashes import AccountHashes
from file.logic.errors import IdempotencyKeyReusedError, KeyTakenError, RequestError
from file.logic.fanout.conclusion import Conclusion
from file.logic.fanout.fanout import FanOut
from file.logic.fanout.stragglers import Stragglers
from file.logic.memory.budget import Budget
from file.logic.metadata import describe, intent_of
from file.logic.parts import PartReader, SharedPart
from file.logic.ports import Ledger, StorageAccount
from file.logic.straight import store_straight
from file.logic.values import Ack, IncomingFile, Limits, Receipt


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
    conclusion = Conclusion(file, identity, reader, ledger, stragglers)
    needed = ack.needed(len(buckets))
    open_lanes = partial(
        FanOut, buckets, description, limits, needed=needed, begun=partial(ledger.begun, file.id), behind=stragglers.has
    )
    if reader.ended:
        return await store_straight(
            first,
            buckets,
            description,
            limits,
            needs_all=needed == len(buckets),
            open_lanes=open_lanes,
            conclusion=conclusion,
        )
    fanout = open_lanes()
    return await conclusion.after(_send_parts(first, reader, fanout), fanout)


async def _send_parts(first: SharedPart, reader: PartReader, fanout: FanOut) -> None:
    """Offers each part to every lane, and publishes when enough have every part and the digests match.

    If the ack cannot be met, it does not wait for the rest of the body. A fault of the body is raised after the parts
    in flight have ended: S3 may keep a part that is in flight when its upload is aborted.
    """
    fanout.start()
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
