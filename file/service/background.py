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
        writer, registry, limits = ledger.writer, placement.registry, settings.limits
        pause_seconds = settings.lease_seconds / _PAUSES
        claims = Claims(writer, alias, under_way=ledger.under_way, claim_seconds=settings.lease_seconds)
        results = Results(writer, alias, settle_seconds=limits.settle_seconds)
        replicas, known = Replicas(writer, alias), KnownObjects(writer, alias)
        installations, verification = Installations(writer, alias), Verification(writer, alias)
        freshness = Freshness(known, installations, replicas, registry, first_seconds=first_look_seconds)
        scrub = Scrub(replicas, verification, registry, per_day=settings.verified_a_day)
        replication = Replication(claims, results, records, placement, ledger, hashes, limits, Share(budget))
        concurrency = settings.catchup_concurrency
        catch_up = CatchUp(claims, replication, registry, concurrency=concurrency, pause_seconds=pause_seconds)
        self._registry = registry
        self._records = records
        self._remove_seconds = limits.remove_seconds
        self._erasures = Erasures(writer, alias, claims)
        self._forgetting = Forgetting(Checkpoint(writer, alias))
        self._presence = Presence(writer, alias, registry, pause_seconds=2 * pause_seconds)
        self._cleaner = Cleaner(
            claims,
            results,
            records,
            registry,
            compare=freshness.look_everywhere,
            pause_seconds=pause_seconds,
            erased=self._forgetting.erased,
        )
        self._works = (self._presence, self._cleaner, catch_up, scrub, freshness, self._forgetting)
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Starts the tasks. Returns when it is known which accounts are retired."""
        await self._presence.call()
        self._tasks = [asyncio.create_task(work.run()) for work in self._works]

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
        await self._cleaner.erase(claimed, self._remove_seconds)
        return await self._records.erasure(erasure.id) or erasure
