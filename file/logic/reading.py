"""The job of reading: the bytes of one file, from whichever account can give them.

The accounts are asked in an order. When one fails, before its first byte or in the middle, the next one goes on at the
offset that was reached; each checks on opening that it still has what was stored there. One that has no room for
another reader comes after those that have, and only one is waited for. A file that is read whole
never ends cleanly with other bytes than were acknowledged: the last piece is held back until the checksum is known.
Leaves to others: asking an account (`Source`), and telling the reader (`file/api/endpoints/get.py`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import structlog
from awscrt.checksums import crc64nvme

from file.logic.errors import (
    AccountBusyError,
    AccountError,
    AccountFailingError,
    AccountUnreachableError,
    BusyError,
    UnreadableError,
    without_frames,
)
from file.logic.memory.places import TOO_MANY_READERS
from file.logic.ports import Source
from file.logic.values import Receipt, Stored

_OPERATION = "get"
_log = structlog.get_logger()


def in_order(sources: Sequence[Source], names: Sequence[str]) -> list[Source]:
    """Those that are named, in that order; then the others, in their own."""
    places = {name: place for place, name in enumerate(names)}
    return sorted(sources, key=lambda source: places.get(source.account.name, len(places)))


class ForReaders:
    """A source for clients who read, `at_once` of them: the rest of its room is for what takes no client's time.

    That is to ask whether the file is there (a read of no bytes), and to bring files to other accounts.
    """

    def __init__(self, source: Source, *, at_once: int, wait_seconds: float) -> None:
        self.account = source.account
        self._source = source
        self._slots = asyncio.Semaphore(at_once)
        self._wait_seconds = wait_seconds

    @property
    def has_room(self) -> bool:
        """See `Source.has_room`."""
        return not self._slots.locked() and self._source.has_room

    @asynccontextmanager
    async def read(
        self, stored: Stored, *, file_id: str, start: int, stop: int, size: int
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Source.read`."""
        reads = self._source.read(stored, file_id=file_id, start=start, stop=stop, size=size)
        if start == stop:
            async with reads as pieces:
                yield pieces
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise AccountBusyError(self.account.name, _OPERATION) from None
        try:
            async with reads as pieces:
                yield pieces
        finally:
            self._slots.release()


class Reading:
    """The bytes from `start` to before `stop` of an acknowledged file; of nothing, whether an account has the file.

    `account` is the one that is being read from, `errors` are those that were met on the way; `in_vain` those of them
    before which an account gave nothing.
    """

    def __init__(self, receipt: Receipt, sources: Sequence[Source], *, start: int, stop: int) -> None:
        assert receipt.digests is not None  # it was acknowledged
        self.account: str | None = None
        self.errors: list[AccountError] = []
        self.in_vain: list[AccountError] = []
        self._receipt = receipt
        self._digests = receipt.digests
        self._start, self._stop = start, stop
        self.is_of_nothing = start == stop
        self._is_whole = start == 0 and stop == self._digests.size
        self._asked = deque(_where(receipt, sources))
        self._reached = start
        self._checksum = 0
        self._held = b""  # the piece that was read last, not handed on yet

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Raises `UnreadableError` when no account is left that could go on, `BusyError` if each has too many readers.

        Close it when leaving early.
        """
        while self._asked:
            source, stored = self._next()
            began_at = self._reached
            try:
                async with aclosing(self._from(source, stored)) as pieces:
                    async for piece in pieces:
                        yield piece
                self._check(stored.account)
            except AccountError as error:
                self._note(error)
                if isinstance(error, AccountBusyError):
                    self._pass_over()
                # It did give something: with a slow reader even a healthy account hangs up now and then.
                if self._reached > began_at:
                    self._asked.append((source, stored))
                else:
                    self.in_vain.append(error)
                continue
            if self._held:
                yield self._held
            return
        if all(isinstance(error, AccountBusyError) for error in self.errors):
            raise BusyError(TOO_MANY_READERS)
        raise UnreadableError(self.errors)

    def _next(self) -> tuple[Source, Stored]:
        """The first that has room; if none has, the first, to be waited for."""
        chosen = next((asked for asked in self._asked if asked[0].has_room), self._asked[0])
        self._asked.remove(chosen)
        return chosen

    def _pass_over(self) -> None:
        """One was waited for, in vain: those that have no room now are not."""
        for source, stored in [asked for asked in self._asked if not asked[0].has_room]:
            self._asked.remove((source, stored))
            self._note(AccountBusyError(stored.account, _OPERATION))

    async def _from(self, source: Source, stored: Stored) -> AsyncGenerator[bytes]:
        """What this account adds, one piece behind what it gave."""
        size = self._digests.size
        self.account = stored.account
        async with source.read(
            stored, file_id=self._receipt.id, start=self._reached, stop=self._stop, size=size
        ) as pieces:
            async for piece in pieces:
                ready, self._held = self._held, piece
                self._reached += len(piece)
                if self._is_whole:
                    self._checksum = crc64nvme(piece, self._checksum)
                if ready:
                    yield ready

    def _check(self, account: str) -> None:
        """Raises `AccountError` if other bytes came than were stored and another account may begin anew."""
        if not self._is_whole or self._checksum == self._digests.crc64nvme:
            return
        error = AccountFailingError(account, _OPERATION, "gave other bytes than were stored there")
        if len(self._held) == self._digests.size:  # nothing was handed on yet
            self._reached, self._checksum, self._held = self._start, 0, b""
            raise error
        self._note(error)
        raise UnreadableError(self.errors)

    def _note(self, error: AccountError) -> None:
        self.errors.append(without_frames(error))
        _log.warning(
            "read_failed",
            id=self._receipt.id,
            key=self._receipt.key,
            account=error.account,
            code=error.code,
            detail=error.detail,
            at=self._reached,
            s3_code=error.s3_code,
            s3_request_id=error.request_id,
        )


def _where(receipt: Receipt, sources: Sequence[Source]) -> list[tuple[Source, Stored]]:
    """Raises `UnreadableError` if no account that has the file is configured any more."""
    stored = {outcome.account: outcome for outcome in receipt.outcomes if isinstance(outcome, Stored)}
    found = [(source, stored[source.account.name]) for source in sources if source.account.name in stored]
    if not found:
        why = "is not configured any more"
        raise UnreadableError([AccountUnreachableError(account, _OPERATION, why) for account in stored])
    return found
