"""The questions that are asked of the ledger, as query sets.

Promises: each finds its rows by an index, however many files there are (`bench/ledger_rows.py` measures it, a test asks
for the plans). Conditions of partial indexes are written as in `file/models.py` and hold no parameter, for SQLite takes
such an index only where it finds the very condition again. Leaves to others: in which thread they run.
"""

import uuid
from typing import Any

from django.db.models import Count, Min, QuerySet
from django.db.models.functions import Now

from file.ledger.states import ACKNOWLEDGED, DUE, IS_PARTIAL, IS_UNFINISHED, LEASE_EXPIRED
from file.logic.values import FileState, ReplicaState
from file.models import File, Replica

_LISTED = ("id", "key", "name", "size", "content_type", "sha256", "state", "created_at", "stored_at")
_LAST_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


def replicas_of_key(alias: str, key: str) -> QuerySet[Replica]:
    """The file and its replicas in one query, so that they are from the same moment."""
    return _acknowledged(alias).filter(file__live=True, file__key=key)


def replicas_of_file(alias: str, file_id: uuid.UUID) -> QuerySet[Replica]:
    return _acknowledged(alias).filter(file__live=True, file_id=file_id)


def listing(alias: str, *, prefix: str = "", after: str = "", state: FileState | None = None) -> QuerySet[File]:
    """Files by prefix, as a range of keys: `LIKE` uses no index on SQLite, and only special ones on PostgreSQL."""
    files = File.objects.using(alias).only(*_LISTED).order_by("key")
    if state is FileState.PARTIAL:
        # All partial files hold their keys; with `live` in the condition, the larger index could be chosen.
        files = files.filter(IS_PARTIAL)
    else:
        files = files.filter(live=True, state__in=ACKNOWLEDGED if state is None else (state,))
    if prefix > after:
        files = files.filter(key__gte=prefix)
    elif after:
        files = files.filter(key__gt=after)
    end = end_of_prefix(prefix)
    return files if end is None else files.filter(key__lt=end)


def unfinished_replicas(alias: str) -> QuerySet[Any, Any]:
    """One row per account and unfinished state: `count`, `oldest`, and the database's `now`."""
    rows = Replica.objects.using(alias).filter(IS_UNFINISHED).order_by("account", "state")
    return rows.values("account", "state").annotate(count=Count("id"), oldest=Min("created_at"), now=Now())


def due_replicas(alias: str, account: str, state: ReplicaState) -> QuerySet[Replica]:
    """Replicas of the account in this state that are due now; the longest due first."""
    due = Replica.objects.using(alias).filter(DUE, account=account, state=state)
    return due.order_by("due_at")


def expired_leases(alias: str) -> QuerySet[File]:
    """Files that a process was receiving which no longer renews its lease."""
    return File.objects.using(alias).filter(LEASE_EXPIRED).order_by("lease_until")


def end_of_prefix(prefix: str) -> str | None:
    """The first text, in the order of bytes, after all texts with this prefix; None if there is none.

    UTF-8 sorts like the code points. Surrogates are skipped, and the last code point has no successor.
    """
    rest = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not rest:
        return None
    following = ord(rest[-1]) + 1
    return rest[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)


def is_storable(text: str) -> bool:
    """Whether a database can store the text: PostgreSQL accepts no NUL, and no database half a surrogate pair."""
    return "\0" not in text and not any(ord(character) in _SURROGATES for character in text)


def uuid_of(text: str) -> uuid.UUID | None:
    """The UUID, only in the form that we write: Python also accepts others, but a file has one address."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def _acknowledged(alias: str) -> QuerySet[Replica]:
    return Replica.objects.using(alias).select_related("file").filter(file__state__in=ACKNOWLEDGED)
