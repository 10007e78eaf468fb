"""The sweep: a few replicas of each account are verified every day, by HEAD, as long as the service runs.

One by one, evenly over the day and by chance, so that nothing has to be remembered across restarts; of neighbours the
one that was verified the longest ago. What is wrong is logged, and marked as `manage.py verify` marks it. Each account
by itself; one that is down is left alone.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence

import structlog

from file.audit.compare import Verdict, judge
from file.ledger.audit.replicas import MISSING, REPLACED, Verifiable
from file.ledger.audit.verification import Verification
from file.logic.accounts.circuitbreaker import Breaker
from file.logic.errors import AccountError, LedgerUnavailableError
from file.logic.ports import StorageAccount

_log = structlog.get_logger()
_DAY_SECONDS = 86_400.0


class Sampling:
    """`per_day`: replicas an account, in this process; 0 for none. `breakers`: one an account."""

    def __init__(
        self,
        verifiable: Verifiable,
        verification: Verification,
        accounts: Sequence[StorageAccount],
        breakers: Mapping[str, Breaker],
        *,
        per_day: int,
    ) -> None:
        self._verifiable = verifiable
        self._verification = verification
        self._accounts = accounts
        self._breakers = breakers
        self._per_day = per_day

    async def run(self) -> None:
        """Until it is cancelled; returns at once if there is nothing to sample."""
        if not self._per_day:
            return
        async with asyncio.TaskGroup() as group:
            for account in self._accounts:
                group.create_task(self._sample(account))

    async def _sample(self, account: StorageAccount) -> None:
        while True:
            # Never in step with the other accounts, nor with other processes.
            await asyncio.sleep(_DAY_SECONDS / self._per_day * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            await self._breakers[account.account.name].passes()
            try:
                await self.verify_one(account)
            except LedgerUnavailableError as error:
                _log.warning("sampling_waits", detail=error.detail)
            except Exception:  # noqa: BLE001 - one row's nonsense must not end the sampling of all others
                _log.exception("sampling_crashed")

    async def verify_one(self, account: StorageAccount) -> Verdict | None:
        """One replica by chance. None: there is none, or its account did not tell. Raises `LedgerUnavailableError`."""
        name = account.account.name
        recorded = await self._verifiable.one(name)
        if recorded is None:
            return None
        told = {"id": recorded.file_id, "account": name}
        try:
            seen = await judge(recorded, account)
        except AccountError as error:
            _log.warning("sampling_failed", **told, code=error.code, detail=error.detail)
            self._breakers[name].failed(error)
            return None
        self._breakers[name].succeeded()
        if seen.verdict is Verdict.GOOD:
            assert seen.stored is not None  # or it would be missing
            await self._verification.verified([(recorded, seen.stored)])
            return seen.verdict
        code = MISSING if seen.verdict is Verdict.MISSING else REPLACED
        demotion = await self._verification.demote(recorded, code)
        _log.warning(
            "replica_is_wrong",
            **told,
            code=code,
            detail=seen.why,
            became=demotion.change.value,
            good_copies=demotion.good_copies,
        )
        return seen.verdict
