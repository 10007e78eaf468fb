"""What came of a look into an account: what is gone, what is there, what is tried again, what a person has to end.

Every step is a compare-and-swap on the claim, so that one which ran out settles nothing. Only that an account has the
file may be said by whoever saw it: it is what everybody else would find. Times are the database's.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from file.ledger.commit.outcomes import LANDING, complete, stored_fields
from file.ledger.commit.writer import Writer
from file.ledger.work.claims import LATE, Due, clock_ahead
from file.ledger.work.erasures import finish, reopen
from file.logic.errors import AccountError, KeyOccupiedError, UploadError
from file.logic.values import FileState, ReplicaState, Stored
from file.models import File, OpenUpload, Replica

_BATCH = 100
_LONGEST_SILENCE_SECONDS = 60.0  # between two looks into an account that does not answer
_LONGEST_REFUSAL_SECONDS = 3600.0  # between two attempts at what it refuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An upload that may be open in an account where nobody would look for it: it has its file, or refuses it.

    `upload_id`: if it is known; else it was begun between the two moments, by our clock.
    """

    id: int
    bucket: str
    object_key: str
    upload_id: str | None
    since: datetime
    until: datetime


class Settling:
    """`settle_seconds`: between two looks into an account."""

    def __init__(self, writer: Writer, alias: str, *, settle_seconds: float) -> None:
        self._writer = writer
        self._alias = alias
        self._settle = timedelta(seconds=settle_seconds)

    async def gone(self, due: Due, strangers: int = 0) -> bool:
        """Nothing of it is in the account; under its key are so many versions of others. True: it is gone everywhere.

        Counts when the account said so twice, some time apart, unless nothing was under way; and only once whoever
        receives the file has ended. See design 7.4 and 7.7.
        """
        return await self._writer.run(lambda: self._gone(due, strangers))

    async def found(self, due: Due, stored: Stored) -> bool:
        """The account has the file. False: it is not to be there any more, and whoever brought it takes it back."""
        return await self._writer.run(lambda: self._found(due, stored))

    async def failed(self, due: Due, error: UploadError) -> None:
        """Try again later, ever later; an account that is to get the file and refuses it for good waits for a person.

        What has to go is tried for ever, and says what stands in the way.
        """
        retryable = error.retryable or (isinstance(error, AccountError) and error.passes_with_another_upload)
        await self._writer.run(lambda: self._failed(due, error.code, retryable=retryable))

    async def let_go(self, due: Due, code: str | None = None) -> None:
        """The claim is not needed any more, and nothing is said of the account: it is due again soon."""
        await self._writer.run(lambda: self._let_go(due, code))

    async def lost_uploads(self, account: str) -> Sequence[Lost]:
        """What may be open in an account that has the file (a begin whose answer was lost), or that is blocked."""
        return await self._writer.run(lambda: self._lost_uploads(account))

    async def aborted(self, lost: Lost) -> None:
        """It is not open any more."""
        await self._writer.run(lambda: OpenUpload.objects.using(self._alias).filter(pk=lost.id).delete())

    # --- in the writer's thread

    def _claimed(self, due: Due) -> QuerySet[Replica]:
        return Replica.objects.using(self._alias).filter(pk=due.id, owner=due.claim)

    def _mine(self, due: Due) -> QuerySet[Replica]:
        return self._claimed(due).filter(state=due.state)

    def _lock(self, due: Due) -> None:
        """The file before its replicas, as whoever begins an erasure does: or two processes wait for each other."""
        File.objects.using(self._alias).select_for_update().filter(pk=due.file_id).values_list("pk").first()

    def _gone(self, due: Due, strangers: int) -> bool:
        self._lock(due)
        received = File.objects.using(self._alias).filter(
            pk=due.file_id, stored_at=None, key_hash__isnull=False, lease_until__gt=Now()
        )
        if (lease_until := received.values_list("lease_until", flat=True).first()) is not None:
            self._mine(due).update(owner=None, next_attempt_at=lease_until)
            return False
        if not due.answered:
            # Of an upload that failed there is a last look later (`finish`); what is called erased is not to come back.
            files = File.objects.using(self._alias).filter(pk=due.file_id)
            has_failed = files.filter(state=FileState.ERASING, key_hash=None).exists()
            again = self._settle if has_failed else LANDING * self._settle
            self._mine(due).update(owner=None, error_code=None, next_attempt_at=Now() + again)
            return False
        erased = {"state": ReplicaState.ERASED, "erased_at": Now(), "strangers": strangers or None}
        is_gone = False
        if self._mine(due).update(owner=None, error_code=None, next_attempt_at=None, **erased):
            uploads = OpenUpload.objects.using(self._alias).filter(file_id=due.file_id, account=due.account)
            uploads.filter(upload_id__isnull=False).delete()  # of the others `finish` wants to know
            is_gone = finish(self._alias, due.file_id, LANDING * self._settle)
            self._make_room(due)
            complete(self._alias, due.file_id, due.account)  # the account was retired, and the last without the file
        return is_gone

    def _make_room(self, due: Due) -> None:
        """What is gone may have kept another file from the account: under the same key, and landed before it."""
        kept_out = Replica.objects.using(self._alias).filter(
            file__live=True, file__key__in=File.objects.using(self._alias).filter(pk=due.file_id).values("key")
        )
        kept_out = kept_out.filter(account=due.account, state=ReplicaState.BLOCKED, error_code=KeyOccupiedError.code)
        kept_out.exclude(file_id=due.file_id).update(state=ReplicaState.PENDING, next_attempt_at=Now())

    def _found(self, due: Due, stored: Stored) -> bool:
        self._lock(due)
        replicas = Replica.objects.using(self._alias).filter(pk=due.id)
        wanted = replicas.filter(state__in=(ReplicaState.PENDING, ReplicaState.BLOCKED))
        if wanted.update(**stored_fields(stored)):
            complete(self._alias, due.file_id, due.account)
        if replicas.filter(state=ReplicaState.STORED).exists():
            return True
        self._claimed(due).update(
            next_attempt_at=Now() + timedelta(seconds=_LONGEST_SILENCE_SECONDS)
        )  # to take it back
        reopen(self._alias, due.file_id, due.account, stored.object_key, timedelta(seconds=_LONGEST_SILENCE_SECONDS))
        return False

    def _failed(self, due: Due, code: str, *, retryable: bool) -> None:
        mine = self._mine(due)
        if not retryable and due.state is ReplicaState.PENDING:
            mine.update(owner=None, attempts=F("attempts") + 1, error_code=code, state=ReplicaState.BLOCKED,
                        next_attempt_at=None)  # fmt: skip
            return
        longest = _LONGEST_SILENCE_SECONDS if retryable else _LONGEST_REFUSAL_SECONDS
        seconds = min(longest, max(self._settle.total_seconds(), 0.1) * 2 ** min(due.attempts, 20))
        seconds *= random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret
        again = Now() + timedelta(seconds=seconds)
        if not mine.update(owner=None, attempts=F("attempts") + 1, error_code=code, next_attempt_at=again):
            self._let_go(due, None)

    def _let_go(self, due: Due, code: str | None) -> None:
        told = {} if code is None else {"error_code": code}
        again = Now() + self._settle
        self._claimed(due).filter(next_attempt_at__isnull=False).update(owner=None, next_attempt_at=again, **told)

    def _lost_uploads(self, account: str) -> Sequence[Lost]:
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
