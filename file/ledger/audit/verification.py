"""What a look at a replica showed: it is as it should be, it is missing, or something else is in its place.

Promises: every change is a compare-and-swap on the replica as it was read, so a result about an earlier object changes
nothing. The last good replica of a file is never demoted: the file's row is locked for that decision (SQLite has one
writer anyway), so of two processes that verify or erase, the second one sees what the first one wrote.
"""

import secrets
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from file.ledger import states
from file.ledger.audit.replicas import MISSING, Recorded
from file.ledger.database.threads import LedgerPart, in_thread
from file.ledger.states import ACKNOWLEDGED
from file.logic.values import ReplicaState, Stored
from file.models import File, Replica

_CLAIM = timedelta(minutes=15)


class Change(StrEnum):
    """What happens to a replica that is wrong."""

    PENDING = "pending"  # catch-up copies it
    BLOCKED = "blocked"  # a person decides
    KEPT = "kept"  # the last good one: it stays `stored`, with the error code
    OVERTAKEN = "overtaken"  # the ledger has changed meanwhile


@dataclass(frozen=True, slots=True)
class Demotion:
    """`good_copies`: the number of other accounts that have the file, by the ledger."""

    change: Change
    good_copies: int = 0


class Verification(LedgerPart):
    """Writes to the database `alias`. Raises `LedgerUnavailableError`."""

    async def verified(self, shown: Sequence[tuple[Recorded, Stored]]) -> None:
        """Records replicas that are right. A `blocked` one becomes `stored` again."""
        if same := [recorded.id for recorded, stored in shown if _is_unchanged(recorded, stored)]:
            await self._runs.run(lambda: self._are_unchanged(same))
        for recorded, stored in shown:
            if not _is_unchanged(recorded, stored):
                await self._runs.run(partial(self._is_good, recorded, stored))

    @in_thread
    def demote(self, recorded: Recorded, code: str, *, dry_run: bool = False, gone: Collection[str] = ()) -> Demotion:
        """Records a replica that is missing (`MISSING`) or another object (`REPLACED`).

        `gone`: accounts in which a dry run, which writes nothing, found the file missing or replaced.
        """
        with nullcontext() if dry_run else transaction.atomic(using=self._alias):
            files = File.objects.using(self._alias).filter(pk=recorded.file_id, state__in=ACKNOWLEDGED)
            # A process that demotes another replica of the file waits here, and then sees what this one wrote.
            locked = files if dry_run else files.select_for_update()
            if locked.values_list("pk").first() is None:
                return Demotion(Change.OVERTAKEN)
            good = self._good_elsewhere(recorded, gone).count()
            change = _change(recorded, code, good)
            row = self._as_read(recorded)
            if not (row.exists() if dry_run else _demoted(row, change, code)):
                return Demotion(Change.OVERTAKEN)
            if not dry_run and change is not Change.KEPT:
                states.lack(files)
            return Demotion(change, good)

    @in_thread
    def elsewhere(self, recorded: Recorded) -> Sequence[tuple[str, str]]:
        """Account and object key of the other good copies, by the ledger."""
        return list(self._good_elsewhere(recorded).order_by("account").values_list("account", "object_key"))

    @in_thread
    def begin_removal(self, recorded: Recorded) -> str | None:
        """Before a damaged object is removed, so that no other process removes it.

        None: another process has the claim, or no other account has the file.
        """
        claim = secrets.token_hex(16)
        blocked = self._as_read(recorded).filter(file__state__in=ACKNOWLEDGED)
        if not self._good_elsewhere(recorded).exists():
            return None
        return claim if states.claim(blocked, claim, _CLAIM) else None

    @in_thread
    def end_removal(self, recorded: Recorded, claim: str, *, removed: bool) -> bool:
        """End the claim. If the object was removed, catch-up copies the file. False: the claim was lost."""
        return states.end_removal(self._replicas().filter(pk=recorded.id, owner=claim), removed=removed) > 0

    def _replicas(self) -> QuerySet[Replica]:
        return Replica.objects.using(self._alias)

    def _are_unchanged(self, ids: Collection[int]) -> None:
        stored = self._replicas().filter(pk__in=ids, state=ReplicaState.STORED, error_code=None)
        stored.update(verified_at=Now())

    def _is_good(self, recorded: Recorded, stored: Stored) -> None:
        with transaction.atomic(using=self._alias):
            if states.show_again(self._as_read(recorded), stored) and recorded.state is ReplicaState.BLOCKED:
                states.complete(self._alias, recorded.file_id, recorded.account)

    def _as_read(self, recorded: Recorded) -> QuerySet[Replica]:
        row = self._replicas().filter(
            pk=recorded.id,
            state=recorded.state,
            error_code=recorded.error_code,
            etag=recorded.etag,
            version_id=recorded.version_id,
        )
        if recorded.state is ReplicaState.BLOCKED:  # no worker is removing it
            row = row.filter(states.FREE)
        return row

    def _good_elsewhere(self, recorded: Recorded, gone: Collection[str] = ()) -> QuerySet[Replica]:
        good = self._replicas().filter(file_id=recorded.file_id, state=ReplicaState.STORED, error_code=None)
        return good.exclude(pk=recorded.id).exclude(account__in=list(gone))


def _demoted(row: QuerySet[Replica], change: Change, code: str) -> int:
    return states.doubt(row, code) if change is Change.KEPT else states.demote(row, ReplicaState(change), code)


def _change(recorded: Recorded, code: str, good_copies: int) -> Change:
    """A `blocked` replica is not good, so it is never the last good one."""
    if recorded.state is ReplicaState.STORED and not good_copies:
        return Change.KEPT
    return Change.PENDING if code == MISSING else Change.BLOCKED


def _is_unchanged(recorded: Recorded, stored: Stored) -> bool:
    known = (recorded.state, recorded.error_code, recorded.etag, recorded.version_id)
    return known == (ReplicaState.STORED, None, stored.etag, stored.version_id)
