"""Retiring an account: it gets no new files, and keeps its objects, or loses them one by one.

Files that it lacks are given up: their replicas become `erasing`, so that the clean-up removes incomplete uploads, and
then `erased`. If the account is drained, its stored replicas become `erasing`, too, but only if another configured
account has a good copy. That is decided with the file's row locked, so that of two processes that remove replicas, the
second one sees what the first one did. Restartable: a repeated call continues.
"""

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from django.db import connections
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from file.ledger import states
from file.ledger.accounts.accountstates import received, retired_names, unfinished_of
from file.ledger.accounts.batches import ROWS, chunks_of, reading, replica_ranges, write
from file.ledger.states import ACKNOWLEDGED, IS_UNFINISHED, SHOWN
from file.logic.errors import CommandRefusedError, ReplacedError
from file.logic.values import Ack, ReplicaState
from file.models import File, Replica, RetiredAccount


class RetirementRefusedError(CommandRefusedError):
    """The account cannot be retired. `detail` is one line with the reason."""


@dataclass(slots=True, kw_only=True)
class Retirement:
    """Counts of replicas: given up now, taken away now, those that stay since no other account has the file in good
    order, those that a person has to decide about, and all that is not done by now. `under_way`: files that are being
    received for the account at this moment.
    """

    given_up: int = 0
    leaving: int = 0
    only_there: int = 0
    replaced: int = 0
    unfinished: int = 0
    under_way: int = 0

    @property
    def is_done(self) -> bool:
        return not self.only_there and not self.unfinished and not self.under_way


Progress = Callable[[Retirement], None]


def retire(
    alias: str, account: str, *, keeps: bool, configured: Collection[str], ack: Ack, progress: Progress
) -> Retirement:
    """`ack` is what uploads want that say nothing. Raises `RetirementRefusedError`, `LedgerUnavailableError`."""
    write(alias, lambda: _begin(alias, account, keeps, configured, ack))
    done = Retirement()
    with reading():
        if account not in configured:
            forget_unplaced(alias, account)
        waiting = _undecided(alias, account, replaced=False)
        for ids in chunks_of(waiting):
            done.given_up += write(alias, partial(_give_up, alias, waiting.filter(pk__in=ids)))
            progress(done)
        if keeps:
            done.replaced = _undecided(alias, account, replaced=True).count()
        else:
            _drain_all(alias, account, set(configured) - {account}, done, progress)
        done.unfinished = unfinished_of(alias, account) - done.replaced
        done.under_way = sum(account in wanted for wanted in received(alias))
    return done


def forget_unplaced(alias: str, account: str, beside: str | None = None) -> int:
    """Replicas that a rebuild made because an object's metadata names the account, with no place to look at.

    Nothing was ever known to be there. Of files only that have one `beside` it, if that is given. Returns how many.
    """
    unplaced = Replica.objects.using(alias).filter(IS_UNFINISHED, states.UNPLACED, account=account, stored_at=None)
    if beside is not None:
        unplaced = unplaced.filter(file__replicas__account=beside)

    def forget(ids: list[int]) -> int:
        mine = Replica.objects.using(alias).filter(pk__in=ids)
        files = sorted(set(mine.values_list("file_id", flat=True)))
        forgotten = states.forget(mine)
        for file_id in files:  # it may have been the last that was not done
            states.complete(alias, str(file_id), account)
            states.finish(alias, str(file_id))
        return forgotten

    return sum(write(alias, partial(forget, ids)) for ids in chunks_of(unplaced))


def _undecided(alias: str, account: str, *, replaced: bool) -> QuerySet[Replica]:
    """What the account lacks; or what it has something else of, which a person decides about."""
    lacking = (ReplicaState.PENDING, ReplicaState.BLOCKED)
    waiting = Replica.objects.using(alias).filter(IS_UNFINISHED, account=account, state__in=lacking)
    of_a_person = Q(state=ReplicaState.BLOCKED, error_code=ReplacedError.code)
    return waiting.filter(of_a_person) if replaced else waiting.exclude(of_a_person)


def _begin(alias: str, account: str, keeps: bool, configured: Collection[str], ack: Ack) -> None:
    if connections[alias].vendor == "postgresql":  # two that retire the last two run one after the other
        with connections[alias].cursor() as cursor:
            cursor.execute("LOCK TABLE file_retiredaccount IN SHARE ROW EXCLUSIVE MODE")
    left = set(configured) - retired_names(alias) - {account}
    if not left:
        raise RetirementRefusedError(f"{account} is the last account that gets new files")
    if ack.needed(len(left)) > len(left):
        raise RetirementRefusedError(
            f"UPLOAD_ACK wants {ack.needed(len(left))} accounts, and {len(left)} would be left"
        )
    RetiredAccount.objects.using(alias).update_or_create(
        name=account, defaults={"keeps": keeps}, create_defaults={"keeps": keeps, "retired_at": Now()}
    )


def _give_up(alias: str, waiting: QuerySet[Replica]) -> int:
    without = list(waiting.values_list("file_id", "account"))
    given_up = states.withdraw(waiting)
    for file_id, account in sorted(without):  # it may have been the last that was not done
        states.complete(alias, str(file_id), account, keeps_uploads=True)
    return given_up


def _drain_all(alias: str, account: str, others: Collection[str], done: Retirement, progress: Progress) -> None:
    mine = Replica.objects.using(alias).filter(SHOWN, account=account)
    for low, high in replica_ranges(alias):
        ids = list(mine.filter(pk__gt=low, pk__lte=high).values_list("file_id", flat=True))
        for start in range(0, len(ids), ROWS):
            leaving, kept = write(alias, partial(_drain, alias, account, ids[start : start + ROWS], others))
            done.leaving += leaving
            done.only_there += kept
            progress(done)


def _drain(alias: str, account: str, ids: Sequence[uuid.UUID], others: Collection[str]) -> tuple[int, int]:
    """In a transaction. How many become `erasing`, and how many stay."""
    files = File.objects.using(alias).filter(pk__in=ids, state__in=ACKNOWLEDGED)
    live = list(files.order_by("pk").select_for_update().values_list("pk", flat=True))
    replicas = Replica.objects.using(alias).filter(file_id__in=live)
    good = replicas.filter(state=ReplicaState.STORED, error_code=None, account__in=others)
    mine = replicas.filter(SHOWN, states.FREE, account=account)
    leaving = states.drain(mine.filter(file_id__in=set(good.values_list("file_id", flat=True))))
    return leaving, replicas.filter(SHOWN, account=account).count()
