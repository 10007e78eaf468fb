"""Files for an account that is new, or returns: a `pending` replica per file that the account does not have.

Restartable: existing replicas stay, so a repeated call adds what is missing. Catch-up copies the files. A file that is
erased meanwhile gets no replica: that is decided with its row locked.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from file.ledger import states
from file.ledger.accounts.accountstates import received, retired_names
from file.ledger.accounts.batches import ROWS, reading, write
from file.ledger.accounts.presence import place_in
from file.ledger.states import ACKNOWLEDGED
from file.logic.accounts.placement import Placement
from file.logic.errors import AccountsRefusedError
from file.logic.values import Account, ReplicaState
from file.models import File, Replica, RetiredAccount


@dataclass(slots=True, kw_only=True)
class Backfilled:
    """Counts of files: gone through, given a replica, still being taken out of the account, and being received now
    without being meant for the account.
    """

    files: int = 0
    added: int = 0
    leaving: int = 0
    under_way: int = 0

    @property
    def is_whole(self) -> bool:
        """Every file has a replica there."""
        return not self.leaving and not self.under_way


Progress = Callable[[Backfilled], None]


def unretire(alias: str, account: str) -> bool:
    """The account gets new files again. False: it was not retired. Raises `LedgerUnavailableError`."""
    retired = RetiredAccount.objects.using(alias).filter(name=account)
    return write(alias, lambda: retired.delete()[0] > 0)


def backfill(alias: str, placement: Placement, account: Account, progress: Progress) -> Backfilled:
    """Every acknowledged file that the account does not have. What was added stays, whatever is raised.

    Raises `LedgerUnavailableError`, and `AccountsRefusedError` when the account is retired, also in the meantime.
    """
    done = Backfilled()
    after: uuid.UUID | None = None
    while True:
        with reading():
            page = _page(alias, after)
            if not page:
                break
            acknowledged = [file_id for file_id, state in page if state in ACKNOWLEDGED]
            lacking, leaving = _lacking(alias, account.name, acknowledged)
        if lacking:
            done.added += write(alias, partial(_add, alias, placement, account, lacking))
        done.leaving += leaving
        done.files += len(acknowledged)
        after = page[-1][0]
        progress(done)
    with reading():
        done.under_way = sum(account.name not in wanted for wanted in received(alias))
    return done


def _page(alias: str, after: uuid.UUID | None) -> list[tuple[uuid.UUID, str]]:
    files = File.objects.using(alias).order_by("pk")
    if after is not None:
        files = files.filter(pk__gt=after)
    return list(files.values_list("pk", "state")[:ROWS])


def _lacking(alias: str, account: str, ids: Sequence[uuid.UUID]) -> tuple[list[uuid.UUID], int]:
    """Those of the files that the account neither has nor shall have, and how many it is just losing."""
    there = dict(Replica.objects.using(alias).filter(file_id__in=ids, account=account).values_list("file_id", "state"))
    lacking = [file_id for file_id in ids if there.get(file_id, ReplicaState.ERASED) == ReplicaState.ERASED]
    return lacking, sum(state == ReplicaState.ERASING for state in there.values())


def _add(alias: str, placement: Placement, account: Account, ids: Sequence[uuid.UUID]) -> int:
    """In a transaction. Returns how many of the files shall be there from now on."""
    placement.registry.retired = retired_names(alias)
    if not placement.takes(account.name):
        raise AccountsRefusedError(f"{account.name} is retired: it gets no files.")
    files = File.objects.using(alias).filter(pk__in=ids, state__in=ACKNOWLEDGED)
    # A process that erases one of them waits here, and then finds its new replica.
    keys = dict(files.order_by("pk").select_for_update().values_list("pk", "key"))
    lacking, _ = _lacking(alias, account.name, list(keys))
    erased = Replica.objects.using(alias).filter(file_id__in=lacking, account=account.name, state=ReplicaState.ERASED)
    returning = set(erased.values_list("file_id", flat=True))
    states.want_again(erased, **place_in(alias, account))
    Replica.objects.using(alias).bulk_create(
        Replica(
            file_id=file_id,
            account=account.name,
            bucket=account.s3_bucket_name,
            object_key=account.prefix + keys[file_id],
            **states.WANTED,
        )
        for file_id in lacking
        if file_id not in returning
    )
    states.lack(files.filter(pk__in=lacking))
    return len(lacking)
