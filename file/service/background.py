"""The background tasks of the service: clean-up, catch-up, verification, and others. They start and end with it."""

import asyncio

from file.accounts.presence import Presence
from file.audit.freshness import Freshness
from file.audit.scrub import Scrub
from file.ledger.audit.known import KnownObjects
from file.ledger.audit.replicas import Replicas
from file.ledger.audit.verification import Verification
from file.ledger.commit.checkpoint import Checkpoint
from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.installations import Installations
from file.ledger.read.records import Records
from file.ledger.work.claims import Claims
from file.ledger.work.erasures import Erasures
from file.ledger.work.results import Results
from file.logic.accounts.hashes import AccountHashes
from file.logic.accounts.placement import Placement
from file.logic.memory.budget import Budget, Share
from file.logic.values import Erasure
from file.repair.catchup import CatchUp
from file.repair.cleanup import Cleaner
from file.repair.forgetting import Forgetting
from file.repair.replication import Replication
from file.service.settings import UploadSettings

_PAUSES = 6  # per lease


class Background:
    """`begin` when the accounts are connected, in the event loop that they belong to; `end` before they are closed.

    `first_look_seconds`: the ledger is compared with the accounts for the first time within this time.
    """

    def __init__(
        self,
        settings: UploadSettings,
        placement: Placement,
        ledger: DatabaseLedger,
        records: Records,
        alias: str,
        budget: Budget,
        hashes: AccountHashes,
        *,
        first_look_seconds: float,
    ) -> None:
        writer = ledger.writer
        self._settings = settings
        self._placement = placement
        self._registry = placement.registry
        self._records = records
        self._ledger = ledger
        self._alias = alias
        self._budget = budget
        self._hashes = hashes
        self._pause_seconds = settings.lease_seconds / _PAUSES
        self._claims = Claims(writer, alias, under_way=ledger.under_way, claim_seconds=settings.lease_seconds)
        self._erasures = Erasures(writer, alias, self._claims)
        self._results = Results(writer, alias, settle_seconds=settings.limits.settle_seconds)
        self._forgetting = Forgetting(Checkpoint(writer, alias))
        self._freshness = Freshness(
            KnownObjects(writer, alias),
            Installations(writer, alias),
            Replicas(writer, alias),
            self._registry,
            first_seconds=first_look_seconds,
        )
        self._cleaner = Cleaner(
            self._claims,
            self._results,
            records,
            self._registry,
            compare=self._freshness.look_everywhere,
            pause_seconds=self._pause_seconds,
            erased=self._forgetting.erased,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Starts the tasks. Returns when it is known which accounts are retired."""
        writer, alias = self._ledger.writer, self._alias
        presence = Presence(writer, alias, self._registry, pause_seconds=2 * self._pause_seconds)
        await presence.call()
        scrub = Scrub(
            Replicas(writer, alias),
            Verification(writer, alias),
            self._registry,
            per_day=self._settings.verified_a_day,
        )
        works = (
            *(presence.run(), self._cleaner.run(), self._catch_up().run(), scrub.run()),
            *(self._freshness.run(), self._forgetting.run()),
        )
        self._tasks = [asyncio.create_task(work) for work in works]

    def _catch_up(self) -> CatchUp:
        replication = Replication(
            self._claims,
            self._results,
            self._records,
            self._placement,
            installation=self._ledger.installation,  # known once the ledger is open
            hashes=self._hashes,
            limits=self._settings.limits,
            budget=Share(self._budget),
        )
        return CatchUp(
            self._claims,
            replication,
            self._registry,
            concurrency=self._settings.catchup_concurrency,
            pause_seconds=self._pause_seconds,
        )

    async def end(self) -> None:
        """Cancels the tasks. The next start, or another process, continues unfinished work."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def erase(self, key: str, file_id: str | None) -> Erasure | None:
        """See `file.api.endpoints.delete.Eraser`."""
        answering = [name for name in self._registry.names if name not in self._registry.left_alone]
        erasure, claimed = await self._erasures.begin(key, file_id, answering)
        if erasure is None or erasure.is_done:
            return erasure
        self._forgetting.erased()  # its name and metadata were removed at once
        await self._cleaner.erase(claimed, self._settings.limits.remove_seconds)
        return await self._records.erasure(erasure.id) or erasure
