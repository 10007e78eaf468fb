"""The result of a look into an account: gone, found, to be tried again, or waiting for a person.

Every step is a compare-and-swap on the claim, so a claim that has ended changes nothing. One exception: that an account
has the file may be recorded without the claim, because every other worker would find the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from file.ledger import states
from file.ledger.commit.writer import Writer
from file.ledger.database.threads import LedgerPart, in_thread
from file.ledger.work.claims import LATE, Due, clock_ahead
from file.logic.backoff import spread
from file.logic.errors import AccountError, KeyOccupiedError, UploadError
from file.logic.values import ReplicaState, Stored
from file.models import File, OpenUpload, Replica, RetiredAccount

_BATCH = 100
_LONGEST_SILENCE_SECONDS = 60.0  # between two looks, if the account does not answer; per replica
_LONGEST_REFUSAL_SECONDS = 3600.0  # between two attempts at what it refuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An upload that may be open in an account where no worker looks for it: the replica is `stored` or `blocked`.

    `upload_id`: if it is known; else it was begun between the two moments, by our clock.
    """

    id: int
    bucket: str
    object_key: str
    upload_id: str | None
    since: datetime
    until: datetime


class Results(LedgerPart):
    """`settle_seconds`: the time between two looks."""

    def __init__(self, writer: Writer, alias: str, *, settle_seconds: float) -> None:
        super().__init__(writer, alias)
        self._settle = timedelta(seconds=settle_seconds)

    @in_thread
    def gone(self, due: Due, strangers: int = 0) -> bool:
        """The account has nothing of the file, and `strangers` versions of others under its key. True: gone everywhere.

        A request without an answer may take effect late, so only the last look counts (see `states.py`): it comes some
        time after the first one, and after the lease of the process that receives the file has ended.
        """
        states.lock(self._alias, due.file_id)
        files = File.objects.using(self._alias).filter(pk=due.file_id)
        mine = self._mine(due)
        received = files.filter(states.STILL_RECEIVED).values_list("lease_until", flat=True)
        if (lease_until := received.first()) is not None:
            states.await_receiver(mine, lease_until)
            return False
        if not due.last_look:
            # Of an upload that failed there is a last look later (`finish`); what is called erased is not to come back.
            has_failed = files.filter(states.GIVEN_UP).exists()
            states.await_landing(mine, self._settle if has_failed else states.LANDING * self._settle)
            return False
        if not states.account_has_none(mine, strangers):
            return False
        uploads = OpenUpload.objects.using(self._alias).filter(file_id=due.file_id, account=due.account)
        uploads.filter(upload_id__isnull=False).delete()  # of the others `finish` wants to know
        is_gone = states.finish(self._alias, due.file_id, states.LANDING * self._settle)
        self._unblock_others(due)
        # The account was retired, and the last without the file.
        states.complete(self._alias, due.file_id, due.account)
        return is_gone

    @in_thread
    def found(self, due: Due, stored: Stored) -> bool:
        """The account has the file. False: it is not to be there any more, and its worker has to remove it again."""
        states.lock(self._alias, due.file_id)
        replicas = Replica.objects.using(self._alias).filter(pk=due.id)
        if states.store(replicas, stored):
            states.complete(self._alias, due.file_id, due.account)
        if replicas.filter(state=ReplicaState.STORED).exists():
            return True
        lease = timedelta(seconds=_LONGEST_SILENCE_SECONDS)
        states.hold(self._claimed(due), lease)  # to remove it again
        states.reopen(self._alias, due.file_id, due.account, stored.object_key, lease)
        return False

    @in_thread
    def failed(self, due: Due, error: UploadError) -> None:
        """Try again later, with growing pauses. If an account refuses the file for good, a person has to act.

        Erasing is retried without end; the error code says why it fails.
        """
        retryable = error.retryable or (isinstance(error, AccountError) and error.passes_with_another_upload)
        mine = self._mine(due)
        if not retryable and due.state is ReplicaState.PENDING:
            states.refuse(mine, error.code)
            return
        longest = _LONGEST_SILENCE_SECONDS if retryable else _LONGEST_REFUSAL_SECONDS
        seconds = min(longest, max(self._settle.total_seconds(), 0.1) * 2 ** min(due.attempts, 20))
        if not states.put_off(mine, error.code, timedelta(seconds=spread(seconds))):
            states.end_claim(self._claimed(due), self._settle)

    @in_thread
    def end_claim(self, due: Due) -> None:
        """The claim is not needed any more, and nothing is said of the account: it is due again soon."""
        states.end_claim(self._claimed(due), self._settle)

    @in_thread
    def give_up(self, due: Due) -> None:
        """The account lacks the file and is retired: it is not to get it any more. Ends the claim.

        Only if it is retired at this moment: its worker may have read a retirement that was cancelled since.
        """
        states.lock(self._alias, due.file_id)
        retired = RetiredAccount.objects.using(self._alias).filter(name=due.account)
        if states.withdraw(self._mine(due).filter(Exists(retired))):
            states.complete(self._alias, due.file_id, due.account, keeps_uploads=True)
        states.end_claim(self._claimed(due), self._settle)

    @in_thread
    def lost_uploads(self, account: str) -> Sequence[Lost]:
        """Uploads that may be open where the replica is `stored` (the answer to a begin was lost) or `blocked`."""
        left = Replica.objects.using(self._alias).filter(
            file=OuterRef("file"), account=account, state__in=(ReplicaState.STORED, ReplicaState.BLOCKED)
        )
        notes = OpenUpload.objects.using(self._alias).filter(account=account)
        notes = notes.filter(Q(upload_id__isnull=False) | Q(created_at__lt=Now() - LATE)).annotate(
            now=Now(), object_key=Subquery(left.values("object_key")[:1]), bucket=Subquery(left.values("bucket")[:1])
        )
        return [
            Lost(
                id=note.pk,
                bucket=note.bucket,
                object_key=note.object_key,
                upload_id=note.upload_id,
                since=note.file.created_at + clock_ahead(note.now),
                until=note.created_at + LATE + clock_ahead(note.now),
            )
            for note in notes.filter(object_key__isnull=False).select_related("file")[:_BATCH]
        ]

    @in_thread
    def aborted(self, lost: Lost) -> None:
        """It is not open any more."""
        OpenUpload.objects.using(self._alias).filter(pk=lost.id).delete()

    def _claimed(self, due: Due) -> QuerySet[Replica]:
        return Replica.objects.using(self._alias).filter(pk=due.id, owner=due.claim)

    def _mine(self, due: Due) -> QuerySet[Replica]:
        return self._claimed(due).filter(state=due.state)

    def _unblock_others(self, due: Due) -> None:
        """What is gone may have kept another file from the account: under the same key, and landed before it."""
        kept_out = Replica.objects.using(self._alias).filter(
            file__live=True, file__key__in=File.objects.using(self._alias).filter(pk=due.file_id).values("key")
        )
        kept_out = kept_out.filter(account=due.account, error_code=KeyOccupiedError.code)
        states.unblock(kept_out.exclude(file_id=due.file_id))
