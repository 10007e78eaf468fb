"""Scrub: some replicas of each account are verified every day, by HEAD, as long as the service runs.

They are drawn at random, evenly over the day, so that nothing has to be remembered across restarts; of neighbours in
the ledger the one is taken whose verification is the longest ago. What is wrong is logged, and marked as
`manage.py verify` marks it. Each account is scrubbed by itself; one that is down is left alone.
"""

import asyncio

import structlog

from file.audit.compare import Result, compare, mark
from file.ledger.audit.replicas import RecordedReplicas
from file.ledger.audit.verification import Verification
from file.logic.accounts.registry import Registry
from file.logic.backoff import spread
from file.logic.errors import AccountError, LedgerUnavailableError

_log = structlog.get_logger()
_DAY_SECONDS = 86_400.0


class Scrub:
    """`per_day`: replicas per account, in this process; 0 for none."""

    def __init__(
        self,
        recorded_replicas: RecordedReplicas,
        verification: Verification,
        registry: Registry,
        *,
        per_day: int,
    ) -> None:
        self._recorded_replicas = recorded_replicas
        self._verification = verification
        self._registry = registry
        self._per_day = per_day

    async def run(self) -> None:
        """Until it is cancelled; returns at once if there is nothing to do."""
        if not self._per_day:
            return
        async with asyncio.TaskGroup() as group:
            for name in self._registry.names:
                group.create_task(self._scrub(name))

    async def _scrub(self, account: str) -> None:
        while True:
            # Never in step with the other accounts, nor with other processes.
            await asyncio.sleep(spread(_DAY_SECONDS / self._per_day, 0.5, 1.5))
            await self._registry.breaker(account).passes()
            try:
                await self.verify_one(account)
            except LedgerUnavailableError as error:
                _log.warning("sampling_waits", detail=error.detail)
            except Exception:  # noqa: BLE001 - one bad row must not end the scrub of all others
                _log.exception("sampling_crashed")

    async def verify_one(self, account: str) -> Result | None:
        """One random replica. None: there is none, or its account did not answer. Raises `LedgerUnavailableError`."""
        recorded = await self._recorded_replicas.one(account)
        if recorded is None:
            return None
        told = {"id": recorded.file_id, "account": account}
        try:
            seen = await compare(recorded, self._registry.storage(account))
        except AccountError as error:
            _log.warning("sampling_failed", **told, code=error.code, detail=error.detail)
            self._registry.breaker(account).failed(error)
            return None
        self._registry.breaker(account).succeeded()
        if seen.result is Result.GOOD:
            assert seen.stored is not None  # or it would be missing
            await self._verification.verified([(recorded, seen.stored)])
            return seen.result
        problem = await mark(self._verification, recorded, seen)
        _log.warning(
            "replica_is_wrong",
            **told,
            code=problem.code,
            detail=problem.detail,
            became=problem.became,
            good_copies=problem.good_copies,
        )
        return seen.result
