"""What goes on behind the requests, and begins and ends with the service: clean-up, catch-up, verification."""

import asyncio
from collections.abc import Callable, Sequence

from file.accounts.presence import RollCall
from file.audit.freshness import Freshness
from file.audit.scrub import Scrub
from file.ledger.audit.known import Acquaintance
from file.ledger.audit.replicas import Verifiable
from file.ledger.audit.verification import Verification
from file.ledger.commit.checkpoint import Checkpoint
from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.installations import Installations
from file.ledger.read.records import Records
from file.ledger.work.claims import Leases
from file.ledger.work.erasures import Erasures
from file.ledger.work.results import Settling
from file.logic.accounts.circuitbreaker import Breaker
from file.logic.accounts.hashes import AccountHashes
from file.logic.erasing import Erasure
from file.logic.memory.budget import Budget, Share
from file.logic.ports import StorageAccount
from file.logic.values import Limits
from file.repair.catchup import CatchUp
from file.repair.cleanup import Cleaner
from file.repair.forgetting import Forgetting

_PAUSES = 6  # in the length of a lease


class Background:
    """`begin` when the accounts are open, in the event loop that they belong to; `end` before they are closed.

    `retire` is told which accounts get no new files, at the beginning and whenever that changes. `first_look_seconds`:
    at most so long after the beginning the ledger is first compared with the accounts.
    """

    def __init__(
        self,
        ledger: DatabaseLedger,
        records: Records,
        alias: str,
        *,
        limits: Limits,
        budget: Budget,
        lease_seconds: float,
        concurrency: int,
        read_order: Sequence[str],
        verified_a_day: int,
        retire: Callable[[frozenset[str]], None],
        first_look_seconds: float,
        hashes: AccountHashes,
    ) -> None:
        self._records = records
        self._ledger = ledger
        self._writer = ledger.writer
        self._alias = alias
        self._leases = Leases(ledger.writer, alias, under_way=ledger.under_way, claim_seconds=lease_seconds)
        self._erasures = Erasures(ledger.writer, alias, self._leases)
        self._settling = Settling(ledger.writer, alias, settle_seconds=limits.settle_seconds)
        self._limits = limits
        self._budget = budget
        self._concurrency = concurrency
        self._read_order = read_order
        self._verified_a_day = verified_a_day
        self._retire = retire
        self._first_look_seconds = first_look_seconds
        self._hashes = hashes
        self._pause_seconds = lease_seconds / _PAUSES
        self._forgetting = Forgetting(Checkpoint(ledger.writer, alias))
        self._cleaner: Cleaner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, accounts: Sequence[StorageAccount]) -> None:
        """Returns once it is known which accounts get no new files."""
        roll_call = RollCall(
            self._writer,
            self._alias,
            [account.account for account in accounts],
            told=self._retire,
            pause_seconds=2 * self._pause_seconds,
        )
        await roll_call.call()
        breakers = {account.account.name: Breaker(account) for account in accounts}
        freshness = Freshness(
            Acquaintance(self._writer, self._alias),
            Installations(self._writer, self._alias),
            Verifiable(self._writer, self._alias),
            accounts,
            breakers,
            first_seconds=self._first_look_seconds,
        )
        self._cleaner = Cleaner(
            self._leases,
            self._settling,
            self._records,
            accounts,
            breakers,
            compare=freshness.look_everywhere,
            pause_seconds=self._pause_seconds,
            erased=self._forgetting.erased,
        )
        catch_up = CatchUp(
            self._leases,
            self._settling,
            self._records,
            accounts,
            breakers,
            installation=self._ledger.installation,
            hashes=self._hashes,
            limits=self._limits,
            budget=Share(self._budget),
            concurrency=self._concurrency,
            read_order=self._read_order,
            pause_seconds=self._pause_seconds,
        )
        scrub = Scrub(
            Verifiable(self._writer, self._alias),
            Verification(self._writer, self._alias),
            accounts,
            breakers,
            per_day=self._verified_a_day,
        )
        works = (
            *(roll_call.run(), self._cleaner.run(), catch_up.run(), scrub.run(), freshness.run()),
            self._forgetting.run(),
        )
        self._tasks = [asyncio.create_task(work) for work in works]

    async def end(self) -> None:
        """What is half done is left for the next start, or for another process."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def erase(self, key: str, file_id: str | None) -> Erasure | None:
        """See `file.api.endpoints.delete.Eraser`."""
        assert self._cleaner is not None  # requests come later
        erasure, claimed = await self._erasures.begin(key, file_id, self._cleaner.answering)
        if erasure is None or erasure.is_done:
            return erasure
        self._forgetting.erased()  # of its name and its metadata, which went at once
        await self._cleaner.erase(claimed, self._limits.remove_seconds)
        return await self._records.erasure(erasure.id) or erasure
