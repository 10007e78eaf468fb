"""What nobody works on any more: uploads whose process died, replicas that are due. Taken over one by one.

A file that was being received when its lease ran out was never acknowledged: it becomes `erasing`, and so does a
replica for each account that may have something of it. A replica is due when its `next_attempt_at` has passed; who
claims it puts that time to where the claim ends, so that a claim needs no giving back. All times are the database's.
Every step is a compare-and-swap: of two processes that see the same row, one gets it.
"""

import secrets
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from file.ledger.groupcommit import Writer
from file.ledger.outcomes import complete, stored_fields
from file.ledger.queries import due_replicas, expired_leases
from file.logic.values import FileState, ReplicaState, Stored
from file.models import File, OpenUpload, Replica

_BATCH = 100
_UNFINISHED = "unfinished"  # the error code of a replica that nobody has looked at yet
_LOOKS = 2  # into an account for a file that is pending there; then only bringing it would help
_LONGEST_SILENCE_SECONDS = 60.0  # between two looks into an account that does not answer
_LATE = timedelta(minutes=1)  # after it was given up, a begin that was in flight may open its upload


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A replica to be settled.

    `lost`: uploads that were begun between these moments, by our clock, may be open, and nobody has their ids; None if
    there are no such. `answered`: the last look was answered, and found nothing.
    """

    id: int
    claim: str
    file_id: str
    account: str
    bucket: str
    object_key: str
    state: ReplicaState
    attempts: int
    answered: bool
    checksum: str | None
    upload_ids: tuple[str, ...]
    lost: tuple[datetime, datetime] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An upload that may be open in an account that has its file all the same."""

    id: int
    object_key: str
    since: datetime
    until: datetime


class Leases:
    """`claim_seconds`: how long a claimed replica is left to its claimer. `settle_seconds`: between two looks.

    `under_way`: ids of the files that this very process receives. If it stood still, it renews before anybody asks.
    """

    def __init__(
        self,
        writer: Writer,
        alias: str,
        *,
        under_way: Container[str],
        claim_seconds: float,
        settle_seconds: float,
    ) -> None:
        self._under_way = under_way
        self._writer = writer
        self._alias = alias
        self._claim = timedelta(seconds=claim_seconds)
        self._settle = timedelta(seconds=settle_seconds)

    async def take_over(self) -> int:
        """Files under a lease that ran out become `erasing`. Returns how many."""
        return await self._writer.run(self._take_over)

    async def claim(self, account: str, limit: int) -> Sequence[Due]:
        """Up to `limit` due replicas of the account, the longest due first."""
        return await self._writer.run(lambda: self._claimed(account, limit))

    async def gone(self, due: Due) -> None:
        """Nothing of it is in the account. Counts when the account said so twice, some time apart: see design 7.4."""
        await self._writer.run(lambda: self._gone(due))

    async def found(self, due: Due, stored: Stored) -> None:
        """The account has the file after all."""
        await self._writer.run(lambda: self._found(due, stored))

    async def missing(self, due: Due) -> None:
        """The account does not have the file, and nothing of it lies about: it stays `pending`."""
        await self._writer.run(lambda: self._missing(due))

    async def failed(self, due: Due, code: str) -> None:
        """The account did not answer, or refused: look again later."""
        await self._writer.run(lambda: self._failed(due, code))

    async def lost_uploads(self, account: str) -> Sequence[Lost]:
        """What may be open in the account although it has the file: a begin of which the answer was lost."""
        return await self._writer.run(lambda: self._lost_uploads(account))

    async def aborted(self, lost: Lost) -> None:
        """It is not open any more."""
        await self._writer.run(lambda: OpenUpload.objects.using(self._alias).filter(pk=lost.id).delete())

    # --- in the writer's thread

    def _take_over(self) -> int:
        taken = 0
        for file in expired_leases(self._alias)[:_BATCH]:
            if str(file.pk) in self._under_way:
                continue
            won = expired_leases(self._alias).filter(pk=file.pk).update(state=FileState.ERASING, idempotency_key=None)
            if won:
                taken += 1
                Replica.objects.using(self._alias).bulk_create(
                    [self._unfinished(file, account, *where.split("/", 1)) for account, where in file.wanted.items()]
                )
        return taken

    def _unfinished(self, file: File, account: str, bucket: str, prefix: str) -> Replica:
        return Replica(
            file=file,
            account=account,
            bucket=bucket,
            object_key=prefix + file.key,
            state=ReplicaState.ERASING,
            error_code=_UNFINISHED,
            created_at=Now(),
            next_attempt_at=Now(),
        )

    def _claimed(self, account: str, limit: int) -> Sequence[Due]:
        claim = secrets.token_hex(16)
        due = due_replicas(self._alias, account)
        ends = dict(due.values_list("pk", "next_attempt_at")[:limit])
        if not ends:
            return ()
        due.filter(pk__in=ends).update(owner=claim, next_attempt_at=Now() + self._claim)
        claimed = Replica.objects.using(self._alias).filter(pk__in=ends, owner=claim)
        claimed = claimed.select_related("file").prefetch_related("file__open_uploads")
        return [self._due(replica, claim, ends[replica.pk]) for replica in claimed.annotate(now=Now())]

    def _due(self, replica: Any, claim: str, lease_end: datetime | None) -> Due:
        file = replica.file
        uploads = [upload for upload in file.open_uploads.all() if upload.account == replica.account]
        return Due(
            id=replica.pk,
            claim=claim,
            file_id=str(file.pk),
            account=replica.account,
            bucket=replica.bucket,
            object_key=replica.object_key,
            state=ReplicaState(replica.state),
            attempts=replica.attempts,
            answered=replica.error_code is None,
            checksum=file.crc64nvme,
            upload_ids=tuple(upload.upload_id for upload in uploads if upload.upload_id is not None),
            lost=_lost(replica, uploads, lease_end),
        )

    def _mine(self, due: Due) -> QuerySet[Replica]:
        return Replica.objects.using(self._alias).filter(pk=due.id, owner=due.claim, state=due.state)

    def _gone(self, due: Due) -> None:
        if not due.answered:
            self._mine(due).update(owner=None, error_code=None, next_attempt_at=Now() + self._settle)
            return
        if not self._mine(due).update(owner=None, state=ReplicaState.ERASED, next_attempt_at=None):
            return
        files = File.objects.using(self._alias).filter(pk=due.file_id, state=FileState.ERASING, stored_at=None)
        left = Replica.objects.using(self._alias).filter(file_id=due.file_id).exclude(state=ReplicaState.ERASED)
        if not left.exists():
            files.delete()  # never acknowledged: its key is free again

    def _found(self, due: Due, stored: Stored) -> None:
        if self._mine(due).update(**stored_fields(stored)):
            complete(self._alias, due.file_id, due.account)

    def _missing(self, due: Due) -> None:
        """What held it up stays told. What went unanswered may land after a look, so there are two."""
        again = Now() + self._settle if due.attempts < _LOOKS else None
        if self._mine(due).update(owner=None, attempts=F("attempts") + 1, next_attempt_at=again):
            OpenUpload.objects.using(self._alias).filter(file_id=due.file_id, account=due.account).delete()

    def _failed(self, due: Due, code: str) -> None:
        seconds = min(_LONGEST_SILENCE_SECONDS, self._settle.total_seconds() * 2 ** min(due.attempts, 20))
        again = Now() + timedelta(seconds=seconds)
        self._mine(due).update(owner=None, attempts=F("attempts") + 1, error_code=code, next_attempt_at=again)

    def _lost_uploads(self, account: str) -> Sequence[Lost]:
        notes = OpenUpload.objects.using(self._alias).filter(upload_id=None, account=account)
        stored = Replica.objects.using(self._alias).filter(
            file=OuterRef("file"), account=account, state=ReplicaState.STORED
        )
        notes = notes.filter(created_at__lt=Now() - _LATE).annotate(
            now=Now(), object_key=Subquery(stored.values("object_key")[:1])
        )
        return [
            Lost(
                id=note.pk,
                object_key=note.object_key,
                since=note.file.created_at + _ahead(note.now),
                until=note.created_at + _LATE + _ahead(note.now),
            )
            for note in notes.filter(object_key__isnull=False).select_related("file")[:_BATCH]
        ]


def _ahead(now: datetime) -> timedelta:
    """From the database's clock to ours."""
    return datetime.now(UTC) - now


def _lost(replica: Any, uploads: Sequence[OpenUpload], lease_end: datetime | None) -> tuple[datetime, datetime] | None:
    """When uploads of the replica were begun of which nobody noted the id; None if there can be none.

    One that began after the lease's end is another writer's, under the same key.
    """
    file, ahead = replica.file, _ahead(replica.now)
    unknown = [upload.created_at for upload in uploads if upload.upload_id is None]
    if file.part_size is None or (uploads and not unknown):
        return None
    if replica.state == ReplicaState.ERASING:
        return (file.created_at + ahead, (file.lease_until or replica.now) + ahead)
    if unknown:
        return (file.created_at + ahead, max(unknown) + _LATE + ahead)
    if not replica.attempts:  # its process may have died before it could note one
        return (file.created_at + ahead, (lease_end or replica.now) + ahead)
    return None
