"""Replicas that wait for an account: its credentials are missing, or a person has to act first.

If an account is not configured, its `pending` replicas become `blocked` by `account_missing`, and `pending` again when
the account is back; its `erasing` replicas keep their state, and get the error code. Nothing is deleted, and a repeated
call changes nothing. A replica that a worker has is not changed.
"""

from datetime import timedelta
from functools import partial
from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Concat, Now

from file.ledger import states
from file.ledger.accounts.batches import ROWS, chunks_of, reading, write
from file.ledger.states import IS_UNFINISHED
from file.logic.errors import AccountMissingError, ReplacedError
from file.logic.values import Account, ReplicaState
from file.models import File, Replica

ACCOUNT_MISSING = AccountMissingError.code  # the error code of a replica whose account is not configured


def block_missing(alias: str, account: str) -> int:
    """Block some `pending` replicas of an account that is not configured. Returns how many; 0 when none is left."""
    pending = _of(alias, account).filter(IS_UNFINISHED, states.FREE, state=ReplicaState.PENDING)
    return states.block_missing(pending.filter(pk__in=_some(pending)), ACCOUNT_MISSING)


def mark_erasing(alias: str, account: str, since: timedelta | None) -> int:
    """Mark some `erasing` replicas of an account that is not configured. `since`: when all were marked last."""
    erasing = _of(alias, account).filter(IS_UNFINISHED, states.FREE, state=ReplicaState.ERASING)
    if since is not None:  # what came later is due later; the rest need not be looked at
        erasing = erasing.filter(due_at__gte=Now() - since)
    erasing = erasing.exclude(error_code=ACCOUNT_MISSING)
    return states.mark_missing(erasing.filter(pk__in=_some(erasing)), ACCOUNT_MISSING)


def unblock_missing(alias: str, account: Account) -> int:
    """Unblock some replicas of an account that is back. Returns how many; 0 when none is left.

    A replica that a rebuild made without knowing the account gets its place now.
    """
    waiting = _of(alias, account.name).filter(
        state=ReplicaState.BLOCKED, error_code=ACCOUNT_MISSING, due_at__isnull=False
    )
    return _unblock(alias, account, waiting.filter(pk__in=some)) if (some := _some(waiting)) else 0


def place_unplaced(alias: str, account: Account) -> int:
    """Some of what a rebuild left without a place, for it did not know the account. Returns how many; 0 in the end."""
    unfinished = (ReplicaState.PENDING, ReplicaState.ERASING)
    unplaced = _of(alias, account.name).filter(IS_UNFINISHED, states.UNPLACED, state__in=unfinished)
    return states.try_again(unplaced.filter(pk__in=_some(unplaced)), **place_in(alias, account))


def retry(alias: str, account: Account) -> tuple[int, int]:
    """What the account refused is tried again now: how many are `pending`, how many `erasing`.

    A replica in whose place the account has something else waits for a person all the same. Raises
    `LedgerUnavailableError`.
    """
    blocked = _of(alias, account.name).filter(IS_UNFINISHED, state=ReplicaState.BLOCKED)
    blocked = blocked.exclude(error_code=ReplacedError.code)
    erasing = _of(alias, account.name).filter(state=ReplicaState.ERASING, owner=None, due_at__gt=Now())
    erasing = erasing.filter(error_code__isnull=False)  # the others wait for the time between two looks

    def release(ids: list[int]) -> int:
        return _unblock(alias, account, blocked.filter(pk__in=ids))

    def hasten(ids: list[int]) -> int:
        return states.try_again(erasing.filter(pk__in=ids))

    with reading():
        released = sum(write(alias, partial(release, ids)) for ids in chunks_of(blocked))
        while unplaced := write(alias, partial(place_unplaced, alias, account)):
            released += unplaced
        return released, sum(write(alias, partial(hasten, ids)) for ids in chunks_of(erasing))


def place_in(alias: str, account: Account) -> dict[str, Any]:
    """The columns that say where the account has the object, or will have it."""
    key = File.objects.using(alias).filter(pk=OuterRef("file_id")).values("key")[:1]
    object_key = Concat(Value(account.prefix), Subquery(key)) if account.prefix else Subquery(key)
    return {"bucket": account.s3_bucket_name, "object_key": object_key}


def _unblock(alias: str, account: Account, blocked: QuerySet[Replica]) -> int:
    blocked.filter(states.UNPLACED).update(**place_in(alias, account))
    return states.unblock(blocked)


def _of(alias: str, account: str) -> QuerySet[Replica]:
    return Replica.objects.using(alias).filter(account=account)


def _some(rows: QuerySet[Replica]) -> list[int]:
    return list(rows.values_list("pk", flat=True)[:ROWS])
