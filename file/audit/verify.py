"""Verify: checks every replica in the ledger in its account; wrong replicas are reported and marked.

A missing replica becomes `pending`, so that catch-up copies the file again. A replica that differs becomes `blocked`,
and a person decides. The last good replica of a file stays `stored`. An account that does not answer changes nothing,
and delays no other account. Memory is limited: replicas are read from the ledger in batches.
Leaves to others: objects that are not in the ledger (`orphans.py`), and the comparison of a replica (`compare.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from file.audit.compare import Comparison, Result, compare, finding_of, mark, patiently
from file.audit.findings import AccountFindings, Findings
from file.ledger.audit.replicas import REPLACED, Recorded, Replicas
from file.ledger.audit.verification import Change, Verification
from file.ledger.work.holding import is_shown
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountError, AccountStalledError, AccountUnreachableError, NoSourceError
from file.logic.ports import StorageAccount
from file.logic.values import ReplicaState, Stored, checksum_text

_AT_ONCE = 16  # looks per account
_READ_AT_ONCE = 4  # objects per account
_FAILURES = 16  # in a row: then the account is not asked any more
_REMOVE_SECONDS = 300.0  # far less than a claim lasts
_ALONE = "not removed: no other account shows the file at the moment"
_REMEMBERED = 100_000  # files for which a dry run remembers which accounts lack them


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to verify, and what may be changed. `sample`: the number of replicas per account; None: all."""

    deep: bool = False
    prefix: str = ""
    sample: int | None = None
    replace: bool = False
    dry_run: bool = False


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Runs all of them at once. If one fails, the others are cancelled, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


@dataclass(eq=False, slots=True)
class Verify:
    """Verifies the accounts in `findings`. `progress` is called each time when they have grown.

    `registry`: all accounts. Before a damaged copy is removed, the others are asked, too.
    """

    replicas: Replicas
    verification: Verification
    registry: Registry
    plan: Plan
    findings: Findings
    progress: Callable[[], None] = lambda: None
    bad: dict[str, set[str]] = field(default_factory=dict, init=False)  # in a dry run: accounts by file

    async def run(self) -> None:
        """Raises `LedgerUnavailableError`; earlier findings stay."""
        await together(
            [self._verify_account(s) for s in self.registry.storages if s.account.name in self.findings.accounts]
        )

    async def look_for_others(self) -> None:
        """Finds accounts with replicas in the ledger that are not configured: they cannot be asked."""
        for name, count in (await self.replicas.elsewhere(list(self.findings.accounts))).items():
            error = AccountUnreachableError(name, "head", "has replicas, and is not configured")
            self.findings.accounts[name] = AccountFindings(unanswered=count, reached=1.0, error=error)

    async def _verify_account(self, bucket: StorageAccount) -> None:
        own = self.findings.accounts[bucket.account.name]
        try:
            await patiently(bucket.probe)
        except AccountError as error:
            own.error = error
            return
        account = _Account(self, bucket)
        async with aclosing(self._batches(bucket.account.name)) as batches:
            async for batch, reached in batches:
                await account.verify(batch)
                own.reached = reached
                self.progress()
                if own.error is not None:
                    return
        own.reached = 1.0
        if own.unanswered and not own.good + own.missing + own.differs:
            own.error = account.last_error

    async def _batches(self, name: str) -> AsyncGenerator[tuple[Sequence[Recorded], float]]:
        plan = self.plan
        if plan.sample is None:
            async for batch, reached in self.replicas.batches(name, plan.prefix):
                yield batch, reached
            return
        done = 0
        async for batch in self.replicas.sample(name, plan.sample, plan.prefix):
            done += len(batch)
            yield batch, done / plan.sample


class _Account:
    """The replicas of one account, in batches."""

    def __init__(self, verify: Verify, bucket: StorageAccount) -> None:
        self.last_error: AccountError | None = None
        self._verification = verify.verification
        self._bucket = bucket
        self._plan = verify.plan
        self._findings = verify.findings
        self._own = verify.findings.accounts[bucket.account.name]
        self._bad = verify.bad
        self._registry = verify.registry
        self._slots = asyncio.Semaphore(_READ_AT_ONCE if verify.plan.deep else _AT_ONCE)
        self._failures = 0  # in a row

    async def verify(self, batch: Sequence[Recorded]) -> None:
        shown: list[tuple[Recorded, Stored]] = []
        await together([self._verify_one(recorded, shown) for recorded in batch])
        if not self._plan.dry_run:
            await self._verification.verified(shown)

    async def _verify_one(self, recorded: Recorded, shown: list[tuple[Recorded, Stored]]) -> None:
        async with self._slots:
            if self._own.error is not None:  # it failed too often meanwhile
                return
            self._own.asked += 1
            try:
                seen = await compare(recorded, self._bucket, deep=self._plan.deep)
            except AccountError as error:
                self._fail(recorded, error)
                return
            self._failures = 0
            if seen.result is Result.GOOD:
                self._own.good += 1
                assert seen.stored is not None  # or it would be missing
                shown.append((recorded, seen.stored))
            else:
                await self._mark(recorded, seen)

    def _fail(self, recorded: Recorded, error: AccountError) -> None:
        self._own.unanswered += 1
        self.last_error = error
        self._failures += 1
        if self._failures >= _FAILURES:
            self._own.error = error
        self._tell(recorded, error.code, "not_verified", error.detail)

    async def _mark(self, recorded: Recorded, seen: Comparison) -> None:
        if seen.result is Result.DIFFERS and recorded.state is ReplicaState.BLOCKED and self._plan.replace:
            await self._replace(recorded, seen)
            return
        gone = self._remember(recorded) if self._plan.dry_run else frozenset[str]()
        problem = await mark(self._verification, recorded, seen, dry_run=self._plan.dry_run, gone=gone)
        if problem.became == Change.OVERTAKEN:  # it was erased meanwhile, or another process settled it
            self._bad.get(recorded.file_id, set()).discard(recorded.account)
            return
        if seen.result is Result.MISSING:
            self._own.missing += 1
        else:
            self._own.differs += 1
        self._findings.add(problem)

    def _remember(self, recorded: Recorded) -> frozenset[str]:
        """For a dry run: otherwise two accounts at once would each count the other's replica as good."""
        if recorded.file_id not in self._bad and len(self._bad) >= _REMEMBERED:
            return frozenset()
        bad = self._bad.setdefault(recorded.file_id, set())
        bad.add(recorded.account)
        return frozenset(bad)

    async def _replace(self, recorded: Recorded, seen: Comparison) -> None:
        """Removes an object of ours with wrong bytes, so that catch-up copies the file again. Others' objects stay."""
        blocked = Change.BLOCKED.value
        if not seen.is_ours:
            why = "once its owner has moved it, the next run has the file brought"
            self._differs(recorded, blocked, f"{seen.why}; {why}")
            return
        if self._plan.dry_run:
            if await self._is_elsewhere(recorded):
                self._differs(recorded, "removed", seen.why)
            else:
                self._differs(recorded, blocked, f"{seen.why}; {_ALONE}")
            return
        claim = await self._verification.begin_removal(recorded)
        if claim is None:
            why = "not removed: no other account has the file, or another process works on it"
            self._differs(recorded, blocked, f"{seen.why}; {why}")
            return
        removed = False
        try:
            removed = await self._remove(recorded)
        except NoSourceError:
            self._differs(recorded, blocked, f"{seen.why}; {_ALONE}")
        except AccountError as error:
            self._fail(recorded, error)
        finally:
            await self._verification.end_removal(recorded, claim, removed=removed)
        if removed:
            self._differs(recorded, "removed", seen.why)

    async def _remove(self, recorded: Recorded) -> bool:
        """Compares again under the claim. Returns whether it was removed. Raises `AccountError`."""
        seen = await compare(recorded, self._bucket)
        if seen.result is not Result.DIFFERS or not seen.is_ours:
            return False
        if not await self._is_elsewhere(recorded):
            raise NoSourceError(recorded.account, "delete")
        try:
            async with asyncio.timeout(_REMOVE_SECONDS):
                await self._bucket.remove(recorded.object_key, recorded.file_id)
        except TimeoutError:
            raise AccountStalledError(recorded.account, "delete", unanswered=True) from None
        return True

    async def _is_elsewhere(self, recorded: Recorded) -> bool:
        """Whether another account has the file now, independent of the ledger."""
        others = await self._verification.elsewhere(recorded)
        checksum = checksum_text(recorded.digests.crc64nvme)
        return await is_shown(others, recorded.file_id, checksum, self._registry)

    def _differs(self, recorded: Recorded, became: str, detail: str) -> None:
        self._own.differs += 1
        self._tell(recorded, REPLACED, became, detail)

    def _tell(self, recorded: Recorded, code: str, became: str, detail: str) -> None:
        self._findings.add(finding_of(recorded, code, became, detail))
