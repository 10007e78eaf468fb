"""What waits for an account: because nobody has its credentials, or because somebody has to act first.

What is `pending` in an account that is missing from the environment becomes `blocked` by `account_missing`, and
`pending` again when the account is back; what is `erasing` there stays so, and says why. Nothing is deleted, and doing
it twice does no more. A replica that somebody works on is left to them. Times are the database's.

`due_at` of a replica never grows here: before its first attempt it says how long somebody may have begun
uploads for it (see `claims.py`). One that is blocked by `account_missing` keeps it, so that it is found by its index.
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

ACCOUNT_MISSING = AccountMissingError.code  # the error code of what waits for an account that is not configured


def block_missing(alias: str, account: str) -> int:
    """Some of what is `pending` in an account that is not configured. Returns how many; 0 when all are."""
    pending = _of(alias, account).filter(IS_UNFINISHED, states.FREE, state=ReplicaState.PENDING)
    return states.block_missing(pending.filter(pk__in=_some(pending)), ACCOUNT_MISSING)


def mark_erasing(alias: str, account: str, since: timedelta | None) -> int:
    """Some of what is `erasing` in an account that is not configured. `since`: how long ago all of it was marked."""
    erasing = _of(alias, account).filter(IS_UNFINISHED, states.FREE, state=ReplicaState.ERASING)
    if since is not None:  # what came later is due later; the rest need not be looked at
        erasing = erasing.filter(due_at__gte=Now() - since)
    erasing = erasing.exclude(error_code=ACCOUNT_MISSING)
    return states.mark_missing(erasing.filter(pk__in=_some(erasing)), ACCOUNT_MISSING)


def unblock_missing(alias: str, account: Account) -> int:
    """Some of what waited for an account that is back. Returns how many; 0 when all are released.

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
    """The columns that say where in the account a replica lies, or shall lie."""
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
