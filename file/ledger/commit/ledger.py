"""The `Ledger` on a database: claims, outcomes and leases, all through one writer.

The intent is durable before the first byte is sent, the outcome before the answer. This process renews the leases of
its own uploads. A lease that it does not know of ends by itself, also that of a claim whose commit was uncertain.
"""

import asyncio
import secrets
import time
from collections.abc import Container
from functools import partial
from types import TracebackType
from typing import Any, Self

import structlog

from file.ledger.commit.conflicts import earlier_receipt
from file.ledger.commit.outcomes import Followed, MayPublish, Noted, Outcomes
from file.ledger.commit.renewal import Renewal
from file.ledger.commit.writer import Entry, Writer
from file.ledger.database.threads import ReadingThreads
from file.ledger.installations import Installations
from file.logic.errors import ConditionFailedError, LedgerUnavailableError
from file.logic.fanout.cancellation import despite_cancellation
from file.logic.values import Intent, Pending, Receipt, Stored

_log = structlog.get_logger()
_PAUSE_SECONDS = 0.2


class DatabaseLedger:
    """Use it as a context, in the event loop that it belongs to. Other parts of the process write through `writer`."""

    def __init__(self, alias: str, *, lease_seconds: float, wait_seconds: float, settle_seconds: float) -> None:
        self._alias = alias
        self._wait_seconds = wait_seconds
        owner = secrets.token_hex(16)
        self._outcomes = Outcomes(alias, owner, lease_seconds=lease_seconds, settle_seconds=settle_seconds)
        self.writer = Writer(alias, self._outcomes, self._outcomes.at_once)
        self._renewal = Renewal(self.writer, alias, owner, lease_seconds)
        self._unwanted: set[asyncio.Future[bool]] = set()
        self.installation = ""  # read once, when the ledger is opened

    async def __aenter__(self) -> Self:
        self.installation = await self._read_installation()
        await self.writer.__aenter__()
        self._renewal.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._renewal.stop()
        if self._unwanted:
            await asyncio.wait(self._unwanted)
        await self.writer.__aexit__(kind, error, trace)

    @property
    def under_way(self) -> Container[str]:
        """The ids of the files that this process receives."""
        return self._renewal.files

    async def intend(self, intent: Intent) -> Receipt | None:
        """See `Ledger.intend`."""
        if intent.expected_id is not None:
            return await self._expected(intent)
        while not await self._claim(intent):
            # Raises the reason; None: the claim is possible now.
            if (earlier := await self.writer.run(lambda: earlier_receipt(self._alias, intent))) is not None:
                return earlier
        self._renewal.files.add(intent.id)
        return None

    def begun(self, file_id: str, account: str, upload_id: str | None) -> None:
        """See `Ledger.begun`."""
        if file_id in self._renewal.files:  # a straggler may still begin after the outcome
            self._outcomes.multipart.add(file_id)
        self._in_background(Entry(Noted(file_id, account, upload_id)), "upload_not_noted", file_id)

    async def conclude(self, receipt: Receipt) -> bool:
        """See `Ledger.conclude`."""
        followed = {(receipt.id, o.account) for o in receipt.outcomes if isinstance(o, Pending)}
        self._renewal.replicas |= followed  # before the commit: from then on their leases run
        held = False
        try:
            held = await self._until_known(receipt)
        except LedgerUnavailableError:
            if receipt.acknowledged:
                raise
            held = True  # the lease runs out, and the clean-up finds nothing, or what is left
        finally:
            self._renewal.files.discard(receipt.id)
            self._outcomes.multipart.discard(receipt.id)
            if not held:
                self._renewal.replicas -= followed
        return held

    async def may_publish(self, file_id: str, account: str) -> bool:
        """See `Following.may_publish`."""
        return await self.writer.ask(Entry[MayPublish, bool](MayPublish(file_id, account)))

    async def follow(self, file_id: str, outcome: Stored | Pending) -> bool:
        """See `Following.follow`."""
        try:
            return await self.writer.ask(Entry[Followed, bool](Followed(file_id, outcome)))
        finally:
            self._renewal.replicas.discard((file_id, outcome.account))

    async def _read_installation(self) -> str:
        """Not by the writer: a read-only database is reported by the first write, not here."""
        threads = ReadingThreads(self._alias, count=1)
        try:
            return (await Installations(threads, self._alias).read()).own
        finally:
            await threads.close()

    async def _until_known(self, receipt: Receipt) -> bool:
        """A commit without an answer may have happened. So nothing is deleted; the repetition shows whether it did."""
        deadline = time.monotonic() + self._wait_seconds
        while True:
            try:
                return await despite_cancellation(self.writer.submit(Entry[Receipt, bool](receipt)))
            except LedgerUnavailableError:
                if not receipt.acknowledged or time.monotonic() > deadline:
                    raise
            await despite_cancellation(asyncio.sleep(_PAUSE_SECONDS))

    async def _expected(self, intent: Intent) -> Receipt:
        """The file that has the key, or the idempotency key, in one query, without a claim."""
        earlier = await self.writer.run(lambda: earlier_receipt(self._alias, intent))
        if earlier is None or earlier.id != intent.expected_id:
            raise ConditionFailedError
        return earlier

    async def _claim(self, intent: Intent) -> bool:
        entry: Entry[Intent, bool] = Entry(intent)
        self.writer.submit(entry, bounded=True)
        try:
            done, _ = await asyncio.wait((entry.result,), timeout=self._wait_seconds)
        except asyncio.CancelledError:
            self._abandon(entry)
            raise
        if not done:
            self._abandon(entry)
            raise LedgerUnavailableError("The service cannot write to its ledger: others have waited for too long.")
        try:
            return entry.result.result()
        finally:
            del entry, done  # or the error holds this frame, and the frame the error

    def _abandon(self, entry: Entry[Intent, bool]) -> None:
        """The caller does not want the key any more."""
        if not self.writer.withdraw(entry):
            self._unwanted.add(entry.result)
            entry.result.add_done_callback(lambda result: self._undo(entry.asked, result))

    def _undo(self, intent: Intent, claimed: asyncio.Future[bool]) -> None:
        """The claim succeeded after its caller had gone."""
        self._unwanted.discard(claimed)
        if claimed.cancelled() or claimed.exception() is not None or not claimed.result():
            return
        remove = partial(self._outcomes.remove, [intent.id])
        self._in_background(Entry(remove, is_job=True), "claim_not_given_back", intent.id)

    def _in_background(self, entry: Entry[Any, Any], event: str, file_id: str) -> None:
        """An entry without a waiting caller. If it fails, the lease ends, and the clean-up works without it."""

        def log_failure(result: asyncio.Future[Any]) -> None:
            if (error := result.exception()) is not None:
                _log.warning(event, id=file_id, error=repr(error.__cause__ or error))

        try:
            self.writer.submit(entry)
        except LedgerUnavailableError as error:
            _log.warning(event, id=file_id, error=repr(error))
        else:
            entry.result.add_done_callback(log_failure)
