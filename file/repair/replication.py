"""Replication: copies one file to one account that missed it, from an account that has it.

Uploads have priority: a copy waits for memory until no upload does. An erasure wins: the claim is renewed before
publishing, which then fails; an object that was stored all the same is removed. A retired account keeps its files, and
gets no missing ones. An error of a source counts for the source, not for the account that gets the file.
Leaves to others: when a file is copied, and how many at once (`catchup.py`).
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import structlog

from file import metrics
from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.read.records import Records
from file.ledger.work.claims import Claims, Due
from file.ledger.work.holding import children, close_uploads, held
from file.ledger.work.results import Results
from file.logic.accounts.hashes import AccountHashes
from file.logic.accounts.placement import Placement
from file.logic.errors import (
    AccountBusyError,
    AccountError,
    LedgerUnavailableError,
    NoSourceError,
    PartRefusedError,
    ReplacedError,
    TakenBackError,
    UnreadableError,
    UploadError,
)
from file.logic.fanout.replicate import bring
from file.logic.memory.budget import Share
from file.logic.metadata import describe
from file.logic.ports import StorageAccount
from file.logic.reading import Reading
from file.logic.values import DeclaredDigest, Identity, IncomingFile, Limits, Receipt, Stored

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Replication:
    """`ledger`, `hashes`: for the metadata of each copied object."""

    claims: Claims
    results: Results
    records: Records
    placement: Placement
    ledger: DatabaseLedger
    hashes: AccountHashes
    limits: Limits
    budget: Share

    async def bring(self, due: Due) -> None:
        """Completes a claimed replica, and records the result. Raises nothing except its cancellation."""
        members = {"id": due.file_id, "account": due.account}
        try:
            await held(self.claims, due, self._settle(due))
        except asyncio.CancelledError:
            with suppress(LedgerUnavailableError):
                await self.results.end_claim(due)
            raise
        except LedgerUnavailableError as error:  # the claim ends by itself
            _log.warning("catch_up_unrecorded", **members, detail=error.detail)
        except UploadError as error:
            _log.warning("catch_up_failed", **members, code=error.code, detail=error.detail)
            metrics.catch_up_failed(due.account, error.code)
            if isinstance(error, AccountError) and not isinstance(error, NoSourceError | TakenBackError):
                self.placement.registry.breaker(due.account).failed(error)
            with suppress(LedgerUnavailableError):
                await self.results.failed(due, error)
        except Exception:  # noqa: BLE001 - logged, and tried again when the claim has run out
            _log.exception("catch_up_crashed", **members)
        else:
            self.placement.registry.breaker(due.account).succeeded()

    async def _settle(self, due: Due) -> None:
        account = self.placement.registry.storage(due.account)
        await close_uploads(due, account)
        stored = await account.find(due.object_key, due.file_id, due.checksum)
        brought = stored is None
        if stored is None:
            receipt = await self.records.receipt(due.file_id)
            if receipt is None:  # it is to be erased
                return await self.results.end_claim(due)
            if not self.placement.takes(due.account):
                return await self.results.give_up(due)
            try:
                stored = await self._bring(due, receipt, account)
            except PartRefusedError as error:
                if await account.find(due.object_key, due.file_id) is not None:
                    raise ReplacedError(due.account, "put") from error
                raise
        if not await self.results.found(due, stored):
            await account.remove(stored.object_key, due.file_id, stored.version_id, stored.etag)
            return await self.results.end_claim(due)
        metrics.caught_up(due.account, brought=brought)
        _log.info("caught_up", id=due.file_id, account=due.account, brought=brought)
        return None

    async def _bring(self, due: Due, receipt: Receipt, account: StorageAccount) -> Stored:
        digests = receipt.digests
        assert digests is not None  # an acknowledged file has them
        having = {outcome.account for outcome in receipt.outcomes if isinstance(outcome, Stored)}
        if not having:
            raise NoSourceError(due.account, "upload")
        having -= self.placement.registry.left_alone
        sources = [source for source in self.placement.sources() if source.account.name in having]
        if not sources:
            raise UnreadableError
        identity = Identity(receipt.key, receipt.name, key_is_chosen=True)
        reading = Reading(receipt, sources, start=0, stop=digests.size)
        pieces = reading.pieces()
        file = IncomingFile(
            id=receipt.id,
            chunks=pieces,
            identify=lambda: identity,
            size=digests.size,
            content_type=receipt.content_type,
            content_headers=receipt.content_headers,
            metadata=receipt.metadata,
            declared=(DeclaredDigest("sha-256", digests.sha256, "the ledger"),),
            who=due.account,
        )
        names = [outcome.account for outcome in receipt.outcomes]
        try:
            async with children() as notes:
                stored = await bring(
                    file,
                    account,
                    describe(file, identity, names, digests.sha256, self.ledger.installation, self.hashes),
                    limits=self.limits,
                    budget=self.budget,
                    begins=lambda: self.claims.note(due, None),
                    begun=lambda _, upload_id: notes.add(asyncio.create_task(self._note(due, upload_id))),
                    may_publish=lambda: self.claims.hold(due),
                )
                if notes:
                    await asyncio.wait(notes)
        finally:
            await pieces.aclose()
            for error in reading.in_vain:
                if not isinstance(error, AccountBusyError):  # the account is busy with our own readers
                    self.placement.registry.breaker(error.account).failed(error)
        if reading.account is not None:
            self.placement.registry.breaker(reading.account).succeeded()
        metrics.CAUGHT_UP_BYTES.labels(due.account).inc(digests.size)
        return stored

    async def _note(self, due: Due, upload_id: str | None) -> None:
        """Records the id of the upload. Without it, a clean-up searches by key and time."""
        with suppress(LedgerUnavailableError):
            await self.claims.note(due, upload_id)
