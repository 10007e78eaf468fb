"""What the ledger knows about each account: what it has, what it lacks and why, and whether it is retired.

Promises: unfinished replicas are found by an index, for any number of files; only counting stored ones reads the whole
table. Leaves to others: which accounts are configured.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, Min, Q
from django.db.models.functions import Now

from file.ledger.accounts.batches import patient, reading
from file.ledger.states import IS_UNFINISHED
from file.logic.values import FileState, ReplicaState
from file.models import File, Replica, RetiredAccount


@dataclass(slots=True, kw_only=True)
class KnownAccount:
    """Counts of replicas. `blocked` and `erasing` are by error code; "" counts those without an error.

    `bucket`: the last name of a bucket in a replica; `keeps`: None for an account that is not retired;
    `oldest_seconds`: the age of the oldest `pending` one.
    """

    name: str
    bucket: str = ""
    keeps: bool | None = None
    retired_at: datetime | None = None
    stored: int = 0
    pending: int = 0
    oldest_seconds: float | None = None
    blocked: dict[str, int] = field(default_factory=dict)
    erasing: dict[str, int] = field(default_factory=dict)
    last_error: str | None = None

    @property
    def unfinished(self) -> int:
        return self.pending + sum(self.blocked.values()) + sum(self.erasing.values())


def known_accounts(alias: str) -> Mapping[str, KnownAccount]:
    """All accounts that replicas or retirements name, by name. Raises `LedgerUnavailableError`."""
    found: dict[str, KnownAccount] = {}

    def of(name: str) -> KnownAccount:
        return found.setdefault(name, KnownAccount(name=name))

    with reading():
        for row in _unfinished(alias):
            _count(of(row["account"]), row)
        with patient(alias):
            for row in _lasting(alias):
                if row["stored"] or row["account"] in found:
                    of(row["account"]).stored, of(row["account"]).bucket = row["stored"], row["bucket"]
        for retired in RetiredAccount.objects.using(alias):
            of(retired.name).keeps = retired.keeps
            of(retired.name).retired_at = retired.retired_at
        for account in found.values():
            account.last_error = _last_error(alias, account)
    return found


def received(alias: str) -> Iterable[dict[str, str]]:
    """The accounts and places (`File.wanted`) of each file that is being received now."""
    files = File.objects.using(alias).filter(state=FileState.RECEIVING, lease_until__gt=Now())
    return files.values_list("wanted", flat=True)


def retired_names(alias: str) -> frozenset[str]:
    """The retired accounts."""
    return frozenset(RetiredAccount.objects.using(alias).values_list("name", flat=True))


def unfinished_of(alias: str, account: str) -> int:
    """The number of unfinished replicas of the account."""
    return Replica.objects.using(alias).filter(IS_UNFINISHED, account=account).count()


def is_known(alias: str, account: str) -> bool:
    """Whether a replica or a retirement names the account. Reads until it finds one."""
    if RetiredAccount.objects.using(alias).filter(name=account).exists():
        return True
    replicas = Replica.objects.using(alias).filter(account=account)
    if replicas.filter(IS_UNFINISHED).exists():
        return True
    with patient(alias):
        return replicas.exists()


def names_of_unfinished(alias: str) -> list[str]:
    """The accounts with unfinished replicas, in one step per account, for any number of replicas."""
    names: list[str] = []
    rows = Replica.objects.using(alias).filter(IS_UNFINISHED).order_by("account").values_list("account", flat=True)
    while (name := rows.filter(account__gt=names[-1] if names else "").first()) is not None:
        names.append(name)
    return names


def all_names(alias: str) -> set[str]:
    """All accounts that replicas or retirements name. Reads the whole table."""
    with patient(alias):
        return {
            *retired_names(alias),
            *Replica.objects.using(alias).order_by().values_list("account", flat=True).distinct(),
        }


def _unfinished(alias: str) -> Any:
    rows = Replica.objects.using(alias).filter(IS_UNFINISHED).order_by().values("account", "state", "error_code")
    return rows.annotate(count=Count("pk"), oldest=Min("created_at"), now=Now())


def _lasting(alias: str) -> Any:
    rows = Replica.objects.using(alias).order_by().values("account")
    return rows.annotate(stored=Count("pk", filter=Q(state=ReplicaState.STORED)), bucket=Max("bucket"))


def _count(account: KnownAccount, row: Mapping[str, Any]) -> None:
    code = row["error_code"] or ""
    if row["state"] == ReplicaState.PENDING:
        age = max(0.0, (row["now"] - row["oldest"]).total_seconds())
        account.pending += row["count"]
        account.oldest_seconds = max(account.oldest_seconds or 0.0, age)
        return
    codes = account.blocked if row["state"] == ReplicaState.BLOCKED else account.erasing
    codes[code] = codes.get(code, 0) + row["count"]


def _last_error(alias: str, account: KnownAccount) -> str | None:
    """The latest error: of the replica whose next attempt is the furthest away; otherwise the most frequent one."""
    waiting = Replica.objects.using(alias).filter(account=account.name, due_at__gt=Now())
    for state in (ReplicaState.PENDING, ReplicaState.ERASING):
        waits = waiting.filter(state=state).order_by("-due_at").values_list("error_code", flat=True)
        code = next((code for code in waits[:100] if code is not None), None)
        if code is not None:
            return code
    codes = {code: count for code, count in {**account.erasing, **account.blocked}.items() if code}
    return max(codes, key=lambda code: codes[code]) if codes else None
