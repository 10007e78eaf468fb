"""Scrub: verifies a random sample of replicas of each account every day by HEAD, while the service runs.

The sample is spread over the day, so that no state must survive a restart. Among some rows after a random place in the
ledger, scrub chooses the replica with the oldest verification. Wrong replicas are logged, and marked as by
`manage.py verify`. Accounts are independent of each other; an account that is down is paused.
"""

import asyncio
from dataclasses import dataclass

import structlog

from file.audit.compare import Result, compare, mark
from file.ledger.audit.replicas import Replicas
from file.ledger.audit.verification import Verification
from file.logic.accounts.registry import Registry
from file.logic.backoff import spread
from file.logic.errors import AccountError, LedgerUnavailableError

_log = structlog.get_logger()
_DAY_SECONDS = 86_400.0


@dataclass(eq=False, slots=True)
class Scrub:
    """`per_day`: replicas per account, in this process; 0 for none."""

    replicas: Replicas
    verification: Verification
    registry: Registry
    per_day: int

    async def run(self) -> None:
        """Runs until it is cancelled; returns at once if there is nothing to do."""
        if not self.per_day:
            return
        async with asyncio.TaskGroup() as group:
            for name in self.registry.names:
                group.create_task(self._scrub(name))

    async def _scrub(self, account: str) -> None:
        while True:
            # Random, so that accounts and processes do not run in step.
            await asyncio.sleep(spread(_DAY_SECONDS / self.per_day, 0.5, 1.5))
            await self.registry.breaker(account).passes()
            try:
                await self.verify_one(account)
            except LedgerUnavailableError as error:
                _log.warning("sampling_waits", detail=error.detail)
            except Exception:  # noqa: BLE001 - one bad row must not end the scrub of all others
                _log.exception("sampling_crashed")

    async def verify_one(self, account: str) -> Result | None:
        """Verifies a random replica; None without one or without an answer. Raises `LedgerUnavailableError`."""
        recorded = await self.replicas.one(account)
        if recorded is None:
            return None
        members = {"id": recorded.file_id, "account": account}
        try:
            seen = await compare(recorded, self.registry.storage(account))
        except AccountError as error:
            _log.warning("sampling_failed", **members, code=error.code, detail=error.detail)
            self.registry.breaker(account).failed(error)
            return None
        self.registry.breaker(account).succeeded()
        if seen.result is Result.GOOD:
            assert seen.stored is not None  # or it would be missing
            await self.verification.verified([(recorded, seen.stored)])
            return seen.result
        problem = await mark(self.verification, recorded, seen)
        _log.warning(
            "replica_is_wrong",
            **members,
            code=problem.code,
            detail=problem.detail,
            became=problem.became,
            good_copies=problem.good_copies,
        )
        return seen.result
