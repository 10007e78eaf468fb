"""Copies one file to an account that missed it: sends it like an upload, and publishes it only if it is right.

An object that the account has in the end stays, also if the outcome is uncertain: it carries the file's id, and S3
checked it. Leaves to others: which file goes where (`file/repair/catchup.py`), and reading (`reading.py`).
"""

from collections.abc import Awaitable, Callable

from file.logic.errors import TakenBackError
from file.logic.fanout.fanout import FanOut
from file.logic.fanout.lane import Lane
from file.logic.memory.budget import Share
from file.logic.parts import PartReader
from file.logic.ports import StorageAccount
from file.logic.values import IncomingFile, Limits, ObjectDescription, Stored


async def bring(
    file: IncomingFile,
    bucket: StorageAccount,
    description: ObjectDescription,
    *,
    limits: Limits,
    budget: Share,
    begins: Callable[[], Awaitable[object]],
    begun: Callable[[str, str | None], object],
    may_publish: Callable[[], Awaitable[bool]],
) -> Stored:
    """Stores `file`, whose size and SHA-256 are known, in one bucket. Its account, `file.who`, holds the memory.
    `begins` is awaited before a multipart upload is opened, `begun` is called with its id, `may_publish` is asked when
    everything is sent.

    Raises `AccountError` of that account, `RequestError` if the bytes are not those of the file, and the errors of the
    source of the chunks. Then nothing is published.
    """
    fanout = FanOut((bucket,), description, limits, needed=1, begun=begun)
    (lane,) = fanout.lanes
    try:
        await _send(PartReader(file, limits, budget), fanout, lane, begins, may_publish)
    finally:
        await lane.end()
        if lane.stored is None:
            await lane.abandon()
    if lane.stored is None:
        raise lane.error or TakenBackError(bucket.account.name, "upload")
    return lane.stored


async def _send(
    reader: PartReader,
    fanout: FanOut,
    lane: Lane,
    begins: Callable[[], Awaitable[object]],
    may_publish: Callable[[], Awaitable[bool]],
) -> None:
    part = await reader.next()
    assert part is not None  # an empty file has one empty part
    try:
        if reader.ended:
            reader.digests()
            if await may_publish():
                lane.put(part)
                part = None
            return await lane.until_ended()
        await begins()
        lane.start()
        while part is not None:
            offered, part = part, None
            await fanout.offer(offered)
            if fanout.lost:
                return None
            part = await reader.next()
    finally:
        if part is not None:
            part.release()
    digests = reader.digests()
    fanout.close()
    await fanout.until(lambda: fanout.ready or fanout.lost)
    if fanout.ready and await may_publish():
        lane.publish(digests)
    else:
        lane.give_up()
    return await lane.until_ended()
