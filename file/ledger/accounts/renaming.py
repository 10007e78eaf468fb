"""Renaming an account: `AWS_ACCOUNT_A` became `AWS_ACCOUNT_B`, with the same bucket.

Refused if it is not certain that both names are one account, and while a process may still write under the old name.
Restartable: rows that have the new name already are no obstacle. The hashes of names in the objects do not change.
"""

from collections.abc import Callable
from functools import partial

from django.db.models import QuerySet, Value
from django.db.models.functions import Concat, Now

from file.ledger import states
from file.ledger.accounts.accountstates import received
from file.ledger.accounts.batches import reading, replica_ranges, write
from file.ledger.accounts.presence import unblock_missing
from file.ledger.accounts.retirement import forget_unplaced
from file.logic.errors import CommandRefusedError
from file.logic.values import Account, FileState, ReplicaState
from file.models import File, OpenUpload, Replica, RetiredAccount

_HELD = (ReplicaState.PENDING, ReplicaState.ERASING)
Progress = Callable[[int], None]


class RenamingRefusedError(CommandRefusedError):
    """The account cannot be renamed. `detail` is one line with the reason."""


def rename(alias: str, old: str, new: Account, progress: Progress) -> int:
    """Returns how many replicas have the new name now. Raises `RenamingRefusedError`, `LedgerUnavailableError`."""
    with reading():
        _check_nobody_writes(alias, old)
        _check_one_account(alias, old, new)
        forget_unplaced(alias, old, beside=new.name)
        write(alias, partial(_rename_beside, alias, old, new.name))
        renamed = 0
        for low, high in replica_ranges(alias):
            mine = Replica.objects.using(alias).filter(pk__gt=low, pk__lte=high, account=old)
            if mine.exists():
                renamed += write(alias, partial(_rename_replicas, alias, mine, old, new.name))
                progress(renamed)
        while write(alias, partial(unblock_missing, alias, new)):
            continue
    return renamed


def _check_nobody_writes(alias: str, old: str) -> None:
    if count := sum(old in wanted for wanted in received(alias)):
        raise RenamingRefusedError(f"{count} files for {old} are being received: stop the services that have {old}")
    held = Replica.objects.using(alias).filter(states.HELD, account=old, state__in=_HELD)
    if count := held.count():
        raise RenamingRefusedError(
            f"{count} replicas of {old} are being worked on: stop the services that have {old}, and try again "
            "when UPLOAD_LEASE_SECONDS have passed"
        )


def _check_one_account(alias: str, old: str, new: Account) -> None:
    """Every replica is in the bucket of the new one, the latest and those to come under its prefix, and no file has
    replicas under both names.
    """
    place = Concat(Value(new.prefix), "file__key")
    latest, count = None, 0
    for low, high in replica_ranges(alias):
        mine = Replica.objects.using(alias).filter(pk__gt=low, pk__lte=high, account=old)
        both = mine.exclude(states.UNPLACED, state__in=(ReplicaState.PENDING, ReplicaState.BLOCKED))
        if both.filter(file__replicas__account=new.name).exists():
            raise RenamingRefusedError(f"there are files with a replica in {old} and one in {new.name}: they are two")
        placed = mine.exclude(state=ReplicaState.ERASED).exclude(states.UNPLACED)
        if (other := placed.exclude(bucket=new.s3_bucket_name).first()) is not None:
            raise RenamingRefusedError(f"{old} has files in {other.bucket}, and the bucket of {new.name} is another")
        waiting = placed.filter(state__in=(ReplicaState.PENDING, ReplicaState.BLOCKED))
        if waiting.exclude(object_key=place).exists():
            raise RenamingRefusedError(f"{old} is to get files under another prefix than that of {new.name}")
        count += mine.count()
        latest = placed.order_by("-pk").values_list("pk", flat=True).first() or latest
    if not count and not RetiredAccount.objects.using(alias).filter(name=old).exists():
        raise RenamingRefusedError(f"the ledger knows no account {old}")
    if latest is not None and not Replica.objects.using(alias).filter(pk=latest, object_key=place).exists():
        raise RenamingRefusedError(f"the latest file of {old} lies under another prefix than that of {new.name}")


def _rename_beside(alias: str, old: str, new: str) -> None:
    """Everything that names it but the replicas."""
    retired = RetiredAccount.objects.using(alias)
    if (former := retired.filter(name=old).first()) is not None:
        retired.get_or_create(name=new, defaults={"keeps": former.keeps, "retired_at": former.retired_at})
        former.delete(using=alias)
    OpenUpload.objects.using(alias).filter(account=old).update(account=new)
    # Its process died: the clean-up creates replicas for the accounts in `wanted`.
    _rename_wanted(File.objects.using(alias).filter(state=FileState.RECEIVING, lease_until__lte=Now()), old, new)


def _rename_replicas(alias: str, mine: QuerySet[Replica], old: str, new: str) -> int:
    erasing = mine.filter(file__state=FileState.ERASING).values_list("file_id", flat=True)
    _rename_wanted(File.objects.using(alias).filter(pk__in=list(erasing)), old, new)
    return mine.update(account=new)


def _rename_wanted(files: QuerySet[File], old: str, new: str) -> None:
    for file in files:
        if old in file.wanted:
            wanted = {new if name == old else name: where for name, where in file.wanted.items()}
            files.filter(pk=file.pk).update(wanted=wanted)
