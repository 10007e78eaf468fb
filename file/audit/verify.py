"""Verifying: every account is asked for every replica that it is to have; what it lacks is told, and marked.

What is missing becomes `pending`, so that catch-up brings it; what is something else becomes `blocked`, for a person to
decide; the last good replica of a file stays `stored`. An account that does not tell changes nothing, and holds up no
other. Memory is bounded: replicas come from the ledger a window at a time. Leaves to others: what is not in the ledger
(`orphans.py`), and how a replica is judged (`compare.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from file.audit.compare import Seen, Verdict, judge, patiently
from file.audit.findings import AccountFindings, Findings, Problem
from file.ledger.audit.replicas import MISSING, REPLACED, Recorded, Verifiable
from file.ledger.audit.verification import Change, Verification
from file.ledger.work.holding import is_shown
from file.logic.errors import AccountError, AccountStalledError, AccountUnreachableError, NoSourceError
from file.logic.ports import StorageAccount
from file.logic.values import ReplicaState, Stored, checksum_text

_AT_ONCE = 16  # looks, an account
_READ_AT_ONCE = 4  # objects, an account
_FAILURES = 16  # in a row: then the account is not asked any more
_REMOVE_SECONDS = 300.0  # far less than a claim lasts
_ALONE = "not removed: no other account shows the file at the moment"
_REMEMBERED = 100_000  # files of which a dry run remembers where they are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is verified, and what may be changed. `sample`: so many replicas an account; None: all."""

    deep: bool = False
    prefix: str = ""
    sample: int | None = None
    replace: bool = False
    dry_run: bool = False


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of them at once. Raises what the first that fails raises, once the others have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors


class Verify:
    """`findings` has an entry an account. `told` is called whenever they have become more.

    `others`: every account there is, to be asked before a damaged copy is removed.
    """

    def __init__(
        self,
        verifiable: Verifiable,
        verification: Verification,
        accounts: Sequence[StorageAccount],
        plan: Plan,
        findings: Findings,
        *,
        others: Sequence[StorageAccount],
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._verifiable = verifiable
        self._inventories = {inventory.account.name: inventory for inventory in others}
        self._verification = verification
        self._accounts = accounts
        self._plan = plan
        self._findings = findings
        self._told = told
        self._bad: dict[str, set[str]] = {}  # in a dry run: accounts by file

    async def run(self) -> None:
        """Raises `LedgerUnavailableError`; what was found until then stays."""
        await together([self._verify_account(bucket) for bucket in self._accounts])

    async def look_for_others(self) -> None:
        """Accounts that have replicas, as the ledger says, and are not configured: they cannot be asked."""
        for name, count in (await self._verifiable.elsewhere(list(self._findings.accounts))).items():
            error = AccountUnreachableError(name, "head", "has replicas, and is not configured")
            self._findings.accounts[name] = AccountFindings(unanswered=count, reached=1.0, error=error)

    async def _verify_account(self, bucket: StorageAccount) -> None:
        own = self._findings.accounts[bucket.account.name]
        try:
            await patiently(bucket.probe)
        except AccountError as error:
            own.error = error
            return
        account = _Account(self._verification, bucket, self._plan, self._findings, self._bad, self._inventories)
        async with aclosing(self._batches(bucket.account.name)) as batches:
            async for batch, reached in batches:
                await account.verify(batch)
                own.reached = reached
                self._told()
                if own.error is not None:
                    return
        own.reached = 1.0
        if own.unanswered and not own.good + own.missing + own.differs:
            own.error = account.last_error

    async def _batches(self, name: str) -> AsyncGenerator[tuple[Sequence[Recorded], float]]:
        plan = self._plan
        if plan.sample is None:
            async for batch, reached in self._verifiable.batches(name, plan.prefix):
                yield batch, reached
            return
        done = 0
        async for batch in self._verifiable.sample(name, plan.sample, plan.prefix):
            done += len(batch)
            yield batch, done / plan.sample


class _Account:
    """One account's replicas, a batch at a time."""

    def __init__(
        self,
        verification: Verification,
        bucket: StorageAccount,
        plan: Plan,
        findings: Findings,
        bad: dict[str, set[str]],
        inventories: Mapping[str, StorageAccount],
    ) -> None:
        self.last_error: AccountError | None = None
        self._verification = verification
        self._bucket = bucket
        self._plan = plan
        self._findings = findings
        self._own = findings.accounts[bucket.account.name]
        self._bad = bad
        self._inventories = inventories
        self._slots = asyncio.Semaphore(_READ_AT_ONCE if plan.deep else _AT_ONCE)
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
                seen = await judge(recorded, self._bucket, deep=self._plan.deep)
            except AccountError as error:
                self._fail(recorded, error)
                return
            self._failures = 0
            if seen.verdict is Verdict.GOOD:
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

    async def _mark(self, recorded: Recorded, seen: Seen) -> None:
        code = MISSING if seen.verdict is Verdict.MISSING else REPLACED
        if code == REPLACED and recorded.state is ReplicaState.BLOCKED and self._plan.replace:
            return await self._replace(recorded, seen)
        gone = self._remember(recorded) if self._plan.dry_run else frozenset[str]()
        demotion = await self._verification.demote(recorded, code, dry_run=self._plan.dry_run, gone=gone)
        if demotion.change is Change.OVERTAKEN:  # it was erased meanwhile, or somebody else settled it
            self._bad.get(recorded.file_id, set()).discard(recorded.account)
            return None
        self._count(seen)
        self._tell(recorded, code, demotion.change.value, seen.why, good_copies=demotion.good_copies)
        return None

    def _remember(self, recorded: Recorded) -> frozenset[str]:
        """For a dry run, before the ledger is asked: two accounts at once would each take the other for good."""
        if recorded.file_id not in self._bad and len(self._bad) >= _REMEMBERED:
            return frozenset()
        bad = self._bad.setdefault(recorded.file_id, set())
        bad.add(recorded.account)
        return frozenset(bad)

    async def _replace(self, recorded: Recorded, seen: Seen) -> None:
        """Remove what carries our id and has other bytes, so that catch-up brings the file; never a stranger's."""
        if not seen.is_ours:
            self._count(seen)
            why = f"{seen.why}; once its owner has moved it, the next run has the file brought"
            return self._tell(recorded, REPLACED, Change.BLOCKED.value, why)
        if self._plan.dry_run:
            self._count(seen)
            if not await self._is_elsewhere(recorded):
                return self._tell(recorded, REPLACED, Change.BLOCKED.value, f"{seen.why}; {_ALONE}")
            return self._tell(recorded, REPLACED, "removed", seen.why)
        claim = await self._verification.begin_removal(recorded)
        if claim is None:
            self._count(seen)
            why = f"{seen.why}; not removed: no other account has the file, or somebody else is at it"
            return self._tell(recorded, REPLACED, Change.BLOCKED.value, why)
        removed = False
        try:
            removed = await self._remove(recorded)
        except NoSourceError:
            self._count(seen)
            self._tell(recorded, REPLACED, Change.BLOCKED.value, f"{seen.why}; {_ALONE}")
        except AccountError as error:
            self._fail(recorded, error)
        finally:
            await self._verification.end_removal(recorded, claim, removed=removed)
        if removed:
            self._count(seen)
            self._tell(recorded, REPLACED, "removed", seen.why)
        return None

    async def _remove(self, recorded: Recorded) -> bool:
        """Looked at once more, under the claim. Whether it was removed. Raises `AccountError`."""
        seen = await judge(recorded, self._bucket)
        if seen.verdict is not Verdict.DIFFERS or not seen.is_ours:
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
        """Another account shows the file now; what the ledger says of it does not suffice."""
        others = await self._verification.elsewhere(recorded)
        checksum = checksum_text(recorded.digests.crc64nvme)
        return await is_shown(others, recorded.file_id, checksum, self._inventories)

    def _count(self, seen: Seen) -> None:
        if seen.verdict is Verdict.MISSING:
            self._own.missing += 1
        else:
            self._own.differs += 1

    def _tell(self, recorded: Recorded, code: str, became: str, detail: str, *, good_copies: int | None = None) -> None:
        self._findings.add_problem(
            Problem(
                account=recorded.account,
                object_key=recorded.object_key,
                code=code,
                became=became,
                detail=detail,
                file_id=recorded.file_id,
                good_copies=good_copies,
            )
        )
