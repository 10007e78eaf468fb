"""Catch-up: brings files to accounts that missed them, from accounts that have them, until each has all of its files.

Runs as long as the service does, in each of its processes; a claim on each replica keeps two from doing the same. Live
uploads come first: what is brought waits for memory until nobody else does. Each account is served by itself; one that
is down is left alone (`circuitbreaker.py`), also as a source. One that is slow holds all turns and memory only as long
as nobody else has work: what comes free goes to who holds least, and turns that do not come free are taken back.
An erasure wins: whoever brings asks before it publishes, and takes back after.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import structlog

from file.ledger.read.records import Records
from file.ledger.work.claims import Due, Leases
from file.ledger.work.holding import children, close_uploads, held
from file.ledger.work.results import Settling
from file.logic import metrics
from file.logic.accounts.circuitbreaker import Breaker
from file.logic.accounts.hashes import AccountHashes
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
from file.logic.memory.budget import Fair, Share
from file.logic.metadata import describe
from file.logic.ports import StorageAccount
from file.logic.reading import Reading, in_order
from file.logic.values import DeclaredDigest, Identity, IncomingFile, Limits, Receipt, ReplicaState, Stored

_log = structlog.get_logger()


class CatchUp:
    """`installation`, `hashes`: what stands in each object that is brought. `concurrency`: how many replicas are
    brought at once.

    `pause_seconds`: how often it looks when there are none.
    """

    def __init__(
        self,
        leases: Leases,
        settling: Settling,
        records: Records,
        accounts: Sequence[StorageAccount],
        breakers: Mapping[str, Breaker],
        *,
        installation: str,
        hashes: AccountHashes,
        limits: Limits,
        budget: Share,
        concurrency: int,
        read_order: Sequence[str],
        pause_seconds: float,
    ) -> None:
        self._leases = leases
        self._settling = settling
        self._records = records
        self._accounts = accounts
        self._sources = in_order(accounts, read_order)
        self._breakers = breakers
        self._installation = installation
        self._hashes = hashes
        self._limits = limits
        self._budget = budget
        self._turns = Fair(concurrency)
        self._bringing: dict[str, list[asyncio.Task[None]]] = {account.account.name: [] for account in accounts}
        self._pause_seconds = pause_seconds

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_fair())
            for account in self._accounts:
                group.create_task(self._serve(account))

    async def _serve(self, account: StorageAccount) -> None:
        """One account, over and over."""
        async with children() as under_way:
            while True:
                started = 0
                try:
                    await self._breakers[account.account.name].passes()
                    started = await self.start(account, under_way)
                except LedgerUnavailableError as error:
                    _log.warning("catch_up_waits", detail=error.detail)
                except Exception:  # noqa: BLE001 - one row's nonsense must not end the catch-up of all others
                    _log.exception("catch_up_crashed")
                if not started:
                    await asyncio.sleep(self._pause_seconds)

    async def start(self, account: StorageAccount, under_way: set[asyncio.Task[None]]) -> int:
        """Begin to bring what is due in the account, as far as there is room. Returns how many."""
        name = account.account.name
        await self._turns.take(name)
        room = 1
        while self._turns.has_more:
            await self._turns.take(name)
            room += 1
        claimed: Sequence[Due] = ()
        try:
            claimed = await self._leases.claim(name, ReplicaState.PENDING, room)
        finally:
            self._turns.give(name, room - len(claimed))
        for due in claimed:
            task = asyncio.create_task(self._bring_safely(due, account))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            self._bringing[name].append(task)
            task.add_done_callback(partial(self._end_turn, name))
        return len(claimed)

    def _end_turn(self, name: str, task: asyncio.Task[None]) -> None:
        if task in self._bringing[name]:  # else it was taken back
            self._bringing[name].remove(task)
            self._turns.give(name)

    async def _keep_fair(self) -> None:
        """Who waits in vain from one look to the next, and has something to bring, gets a turn of who holds most."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(self._pause_seconds)
            for name in before & self._turns.waiting:
                with suppress(LedgerUnavailableError):
                    if await self._leases.has_due(name, ReplicaState.PENDING):
                        self._take_back_for(name)
            before = self._turns.waiting

    def _take_back_for(self, name: str) -> None:
        """From whoever would still hold as much as it: what began last, and has cost the least."""
        most = max(self._bringing, key=lambda other: len(self._bringing[other]))
        if len(self._bringing[most]) - 1 <= self._turns.held[name]:
            return
        task = self._bringing[most].pop()
        task.cancel()
        self._turns.give(most)  # now: all that is left of it is to close its upload, which a slow account does slowly
        _log.info("turn_taken_back", account=most, given_to=name)

    async def _bring_safely(self, due: Due, account: StorageAccount) -> None:
        breaker = self._breakers[due.account]
        told = {"id": due.file_id, "account": due.account}
        try:
            await held(self._leases, due, self._settle(due, account))
        except asyncio.CancelledError:
            with suppress(LedgerUnavailableError):
                await self._settling.end_claim(due)
            raise
        except LedgerUnavailableError as error:  # the claim runs out
            _log.warning("catch_up_unrecorded", **told, detail=error.detail)
        except UploadError as error:
            _log.warning("catch_up_failed", **told, code=error.code, detail=error.detail)
            metrics.catch_up_failed(due.account, error.code)
            if isinstance(error, AccountError) and not isinstance(error, NoSourceError | TakenBackError):
                breaker.failed(error)
            with suppress(LedgerUnavailableError):
                await self._settling.failed(due, error)
        except Exception:  # noqa: BLE001 - told, and tried again when the claim has run out
            _log.exception("catch_up_crashed", **told)
        else:
            breaker.succeeded()

    async def _settle(self, due: Due, account: StorageAccount) -> None:
        await close_uploads(due, account)
        stored = await account.find(due.object_key, due.file_id, due.checksum)
        brought = stored is None
        if stored is None:
            receipt = await self._records.receipt(due.file_id)
            if receipt is None:  # it is to be erased
                return await self._settling.end_claim(due)
            try:
                stored = await self._bring(due, receipt, account)
            except PartRefusedError as error:
                if await account.find(due.object_key, due.file_id) is not None:
                    raise ReplacedError(due.account, "put") from error
                raise
        if not await self._settling.found(due, stored):
            await account.remove(stored.object_key, due.file_id, stored.version_id, stored.etag)
            return await self._settling.end_claim(due)
        metrics.caught_up(due.account, brought=brought)
        _log.info("caught_up", id=due.file_id, account=due.account, brought=brought)
        return None

    async def _bring(self, due: Due, receipt: Receipt, account: StorageAccount) -> Stored:
        digests = receipt.digests
        assert digests is not None  # what was acknowledged has them
        having = {outcome.account for outcome in receipt.outcomes if isinstance(outcome, Stored)}
        if not having:
            raise NoSourceError(due.account, "upload")
        sources = [source for source in self._sources if source.account.name in having - self._left_alone]
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
        )
        names = [outcome.account for outcome in receipt.outcomes]
        try:
            async with children() as notes:
                stored = await bring(
                    file,
                    account,
                    describe(file, identity, names, digests.sha256, self._installation, self._hashes),
                    limits=self._limits,
                    budget=self._budget.of(due.account),
                    begins=lambda: self._leases.note(due, None),
                    begun=lambda _, upload_id: notes.add(asyncio.create_task(self._note(due, upload_id))),
                    may_publish=lambda: self._leases.hold(due),
                )
                if notes:
                    await asyncio.wait(notes)
        finally:
            await pieces.aclose()
            self._blame(reading)
        if reading.account is not None:
            self._breakers[reading.account].succeeded()
        metrics.CAUGHT_UP_BYTES.labels(due.account).inc(digests.size)
        return stored

    @property
    def _left_alone(self) -> set[str]:
        return {name for name, breaker in self._breakers.items() if breaker.is_open}

    def _blame(self, reading: Reading) -> None:
        """A source's trouble is the source's, not that of the account to which the file is brought."""
        for error in reading.in_vain:
            if not isinstance(error, AccountBusyError):  # with our own readers
                self._breakers[error.account].failed(error)

    async def _note(self, due: Due, upload_id: str | None) -> None:
        """Without it a clean-up looks by key and time."""
        with suppress(LedgerUnavailableError):
            await self._leases.note(due, upload_id)
