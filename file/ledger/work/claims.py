"""Work that no process does: uploads whose process died, replicas that are due. Each is claimed, and held meanwhile.

A file that was being received when its lease ended was never acknowledged: it becomes `erasing`, with a replica for
each account that may have something of it. Every step is a compare-and-swap: of two processes that see the same row,
one gets it. Leaves to others: the states (`states.py`), and the result of a claim (`results.py`).
"""

import secrets
from collections.abc import Container, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now

from file.ledger import states
from file.ledger.commit.writer import Writer
from file.ledger.database.threads import LedgerPart, in_thread
from file.ledger.read.queries import due_replicas, expired_leases
from file.logic.values import FileState, ReplicaState
from file.models import File, GivenUpFile, Installation, OpenUpload, Replica

LATE = timedelta(minutes=1)  # so long after a file was given up, a begin in flight may still open its upload

_BATCH = 100
_REMEMBERED = timedelta(days=90)  # how long a given-up file is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A replica to be settled.

    `lost`: uploads that began between these moments, by our clock, may be open, and no process knows their ids; None if
    there cannot be any. `last_look`: the account needs to say only once that it has nothing of the file.
    `file_lives`: others have the file, and keep it. `version_id`, `etag`: of what was stored there, as far as the
    account said.
    """

    id: int
    claim: str
    file_id: str
    account: str
    bucket: str
    object_key: str
    state: ReplicaState
    attempts: int
    last_look: bool
    file_lives: bool
    checksum: str | None
    version_id: str | None
    etag: str | None
    upload_ids: tuple[str, ...]
    lost: tuple[datetime, datetime] | None


class Claims(LedgerPart):
    """`claim_seconds`: how long a claimed replica is left to its claimer.

    `under_way`: ids of the files that this very process receives. If it stopped for a time, it renews its leases first.
    """

    def __init__(self, writer: Writer, alias: str, *, under_way: Container[str], claim_seconds: float) -> None:
        self.claim_seconds = claim_seconds
        self._under_way = under_way
        super().__init__(writer, alias)
        self._claim = timedelta(seconds=claim_seconds)

    @in_thread
    def has_expired(self) -> bool:
        """Whether there are files to take over."""
        return expired_leases(self._alias).exists()

    @in_thread
    def take_over(self) -> int:
        """Makes files with an ended lease `erasing`. Returns their number; 0 while the ledger is behind."""
        GivenUpFile.objects.using(self._alias).filter(given_up_at__lt=Now() - _REMEMBERED).delete()
        if Installation.objects.using(self._alias).filter(behind_at__isnull=False).exists():
            return 0  # this older copy may lack the outcome of the file
        taken = 0
        for file in expired_leases(self._alias)[:_BATCH]:
            if str(file.pk) in self._under_way:
                continue
            if states.take_over(File.objects.using(self._alias).filter(pk=file.pk)):
                taken += 1
                Replica.objects.using(self._alias).bulk_create(unfinished_replicas_of(file))
        return taken

    @in_thread
    def claim(self, account: str, state: ReplicaState, limit: int) -> Sequence[Due]:
        """Claims up to `limit` replicas of the account that are due in this state, the longest due first."""
        return self.claimed(due_replicas(self._alias, account, state), limit)

    @in_thread
    def has_due(self, account: str, state: ReplicaState) -> bool:
        """Whether there is anything to claim."""
        return due_replicas(self._alias, account, state).exists()

    @in_thread
    def hold(self, due: Due) -> bool:
        """Renew the claim. False: it is another's by now, or the replica is not what it was; then publish nothing.

        The claim is renewed also if the replica must be erased by now: the clean-up looks when its worker has ended.
        """
        ours = Replica.objects.using(self._alias).filter(pk=due.id, owner=due.claim)
        states.hold(ours, self._claim)
        return ours.filter(state=due.state).exists()

    @in_thread
    def note(self, due: Due, upload_id: str | None) -> None:
        """Records a multipart upload of the worker: without an id before it begins, then with its id."""
        if upload_id is None:
            states.clear_begun(Replica.objects.using(self._alias).filter(pk=due.id, owner=due.claim))
        notes = OpenUpload.objects.using(self._alias).filter(file_id=due.file_id, account=due.account, upload_id=None)
        # The record from before it began.
        first = None if upload_id is None else notes.values_list("pk", flat=True).first()
        if first is not None and notes.filter(pk=first).update(upload_id=upload_id):
            return
        if File.objects.using(self._alias).filter(pk=due.file_id).exclude(state=FileState.ERASED).exists():
            notes.create(file_id=due.file_id, account=due.account, upload_id=upload_id, created_at=Now())

    def claimed(self, due: QuerySet[Replica], limit: int) -> Sequence[Due]:
        """Up to `limit` of these, for callers in the writer's thread."""
        claim = secrets.token_hex(16)
        ids = list(due.values_list("pk", flat=True)[:limit])
        if not ids:
            return ()
        states.claim(due.filter(pk__in=ids).order_by(), claim, self._claim)
        claimed = Replica.objects.using(self._alias).filter(pk__in=ids, owner=claim)
        claimed = claimed.select_related("file").prefetch_related("file__open_uploads")
        return [_due(replica, claim) for replica in claimed.annotate(now=Now())]


def unfinished_replicas_of(file: File) -> list[Replica]:
    """One per account that may have something of a file that was never acknowledged; due at once."""
    return [
        Replica(file=file, account=account, bucket=bucket, object_key=prefix + file.key, **states.UNSEEN)
        for account, (bucket, prefix) in ((name, where.split("/", 1)) for name, where in file.wanted.items())
    ]


def clock_ahead(now: datetime) -> timedelta:
    """The difference between the database's clock and ours."""
    return datetime.now(UTC) - now


def _due(replica: Any, claim: str) -> Due:
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
        last_look=bool(replica.last_look),
        file_lives=file.state in states.ACKNOWLEDGED,
        checksum=file.crc64nvme,
        version_id=replica.version_id,
        etag=replica.etag,
        upload_ids=tuple(upload.upload_id for upload in uploads if upload.upload_id is not None),
        lost=_lost(replica, uploads),
    )


def _lost(replica: Any, uploads: Sequence[OpenUpload]) -> tuple[datetime, datetime] | None:
    """Between which times uploads of the replica may have begun without a noted id; None if none can be open.

    One that began after the lease's end is another writer's, under the same key.
    """
    file, ahead = replica.file, clock_ahead(replica.now)
    if states.has_passed_its_key_on(file):
        return None
    unknown = [upload.created_at for upload in uploads if upload.upload_id is None]
    since = file.created_at + ahead
    if unknown:
        return (since, max([*unknown, *([file.lease_until] if file.lease_until else [])]) + LATE + ahead)
    if file.part_size is None or uploads:
        return None
    until = file.lease_until or replica.begun_until  # the first, of one that was never acknowledged
    return None if until is None else (since, until + ahead)
