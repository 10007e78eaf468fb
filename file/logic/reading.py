"""Reading: the bytes of one file, from the first account that can deliver them.

The accounts are asked in an order. If one fails, before its first byte or later, the next one continues at the offset
that was reached. Each checks first that it still has the stored object. An account without room for another reader
comes after the others, and a read waits for only one of these. A file that is read as a whole never ends normally with
wrong bytes: the last piece is held back until the checksum is known.
Leaves to others: asking an account (`Source`), and answering the reader (`file/api/endpoints/get.py`).
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


class ForReaders:
    """A source for clients who read. `slots`: as many as may read from the account; the rest of its reads is for work
    that waits for no client: to ask whether a file is there (a read of no bytes), and to bring files to other accounts.
    """

    def __init__(self, source: Source, slots: asyncio.Semaphore, *, wait_seconds: float) -> None:
        self.account = source.account
        self._source = source
        self._slots = slots
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
    """The bytes from `start` to before `stop` of an acknowledged file; for no bytes, whether an account has the file.

    `account`: the one that is being read; `errors`: the errors so far; `in_vain`: those of accounts that gave no byte.
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
        self._held = b""  # the last piece, which was not passed on yet

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The pieces. Raises `UnreadableError` if no account is left, `BusyError` if each has too many readers.

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
                # It gave some bytes: with a slow reader, even a healthy account sometimes closes the connection.
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
        """The first account with room; without one, the first account, which must be waited for."""
        chosen = next((asked for asked in self._asked if asked[0].has_room), self._asked[0])
        self._asked.remove(chosen)
        return chosen

    def _pass_over(self) -> None:
        """After one wait without success: drops the accounts that have no room now."""
        for source, stored in [asked for asked in self._asked if not asked[0].has_room]:
            self._asked.remove((source, stored))
            self._note(AccountBusyError(stored.account, _OPERATION))

    async def _from(self, source: Source, stored: Stored) -> AsyncGenerator[bytes]:
        """The pieces of this account, each one passed on after the next one was read."""
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
        """For wrong bytes raises `AccountError` if another account can start again, otherwise `UnreadableError`."""
        if not self._is_whole or self._checksum == self._digests.crc64nvme:
            return
        error = AccountFailingError(account, _OPERATION, "gave other bytes than were stored there")
        if len(self._held) == self._digests.size:  # nothing was passed on yet
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
    """The sources of the file. Raises `UnreadableError` if none of its accounts is configured."""
    stored = {outcome.account: outcome for outcome in receipt.outcomes if isinstance(outcome, Stored)}
    found = [(source, stored[source.account.name]) for source in sources if source.account.name in stored]
    if not found:
        why = "is not configured any more"
        raise UnreadableError([AccountUnreachableError(account, _OPERATION, why) for account in stored])
    return found
