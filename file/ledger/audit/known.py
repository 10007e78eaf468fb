"""What the ledger knows of an account's objects, by key or by their file's id, and of its open uploads.

Ask after the account was listed: an intent is durable before the first byte leaves. So an object that was listed then
and is not known now is not ours, or was given up. Each question is about one page of a listing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from django.db.models.functions import Now

from file.ledger.database.threads import LedgerPart, in_thread
from file.ledger.read.queries import is_storable
from file.ledger.states import ACKNOWLEDGED
from file.ledger.work.claims import clock_ahead
from file.logic.naming import begun_at
from file.logic.ports import ListedUpload
from file.logic.values import Account, FileState, ReplicaState
from file.models import File, GivenUpFile, OpenUpload, Replica

_WHOLE_SECONDS = timedelta(seconds=2)  # the times in listings have no fractions
_UNFINISHED = (ReplicaState.PENDING, ReplicaState.ERASING)


class Standing(StrEnum):
    """What the ledger knows about an open upload."""

    UNDER_WAY = "under_way"
    LEFT = "left"  # ours, and nothing continues it
    UNKNOWN = "unknown"  # not ours


class Fate(StrEnum):
    """What became of a file that the ledger knows."""

    KEPT = "kept"  # or being received, or not erased everywhere yet
    GONE = "gone"  # erased, or given up before it was acknowledged


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedUpload:
    """`noted`: the ledger has its id. If not, and it is `LEFT`: its file's uploads are those that were begun under the
    key between `since` and `until`, by our clock.
    """

    upload: ListedUpload
    standing: Standing
    noted: bool = False
    since: datetime | None = None
    until: datetime | None = None


class KnownObjects(LedgerPart):
    """Of the database `alias`. Raises `LedgerUnavailableError`."""

    @in_thread
    def last_begun(self) -> datetime | None:
        """When the newest file of the ledger began to arrive; None if there is no file."""
        last = File.objects.using(self._alias).values_list("pk", flat=True).order_by("-pk").first()
        return None if last is None else begun_at(str(last))

    @in_thread
    def known(self, account: Account, object_keys: Sequence[str]) -> set[str]:
        """The keys under which the account has a file, will have one, or is losing one."""
        keys = [key for key in (_key(account, object_key) for object_key in object_keys) if is_storable(key)]
        files = File.objects.using(self._alias).filter(live=True, key__in=keys)
        held = list(files.values_list("pk", "key", "state", "wanted"))
        replicas = Replica.objects.using(self._alias).filter(
            file_id__in=[pk for pk, *_ in held], account=account.name, bucket=account.s3_bucket_name
        )
        known = set(replicas.exclude(state=ReplicaState.ERASED).values_list("object_key", flat=True))
        here = f"{account.s3_bucket_name}/{account.prefix}"
        # Before the acknowledgement, the ledger has only the intent.
        known |= {
            account.prefix + key
            for _, key, state, wanted in held
            if state not in ACKNOWLEDGED and wanted.get(account.name) == here
        }
        return known & set(object_keys)

    @in_thread
    def fates(self, file_ids: Collection[str]) -> dict[str, Fate]:
        """The fates of the files that the ledger knows."""
        ids = list(file_ids)
        rows = File.objects.using(self._alias).filter(pk__in=ids).values_list("pk", "state")
        fates = {str(pk): Fate.GONE if state == FileState.ERASED else Fate.KEPT for pk, state in rows}
        # Asked after the files, so that a file that is given up meanwhile is found here.
        given_up = GivenUpFile.objects.using(self._alias).filter(pk__in=ids).values_list("pk", flat=True)
        return {str(pk): Fate.GONE for pk in given_up} | fates

    @in_thread
    def judge_uploads(self, account: Account, uploads: Sequence[ListedUpload]) -> Sequence[JudgedUpload]:
        """What is known about each upload, in the same order."""
        ids = [upload.upload_id for upload in uploads]
        notes = OpenUpload.objects.using(self._alias).filter(account=account.name, upload_id__in=ids)
        noted = {note.upload_id: note for note in notes.select_related("file")}
        keys = [_key(account, upload.object_key) for upload in uploads]
        held = File.objects.using(self._alias).filter(live=True, key__in=[key for key in keys if is_storable(key)])
        files = {file.key: file for file in held.annotate(now=Now())}
        of_files = [note.file_id for note in noted.values()] + [file.pk for file in files.values()]
        replicas = Replica.objects.using(self._alias).filter(file_id__in=of_files, account=account.name)
        states = {file_id: ReplicaState(state) for file_id, state in replicas.values_list("file_id", "state")}
        judged = []
        for upload, key in zip(uploads, keys, strict=True):
            if (note := noted.get(upload.upload_id)) is not None:
                under_way = _is_under_way(note.file, states)
                standing = Standing.UNDER_WAY if under_way else Standing.LEFT
                judged.append(JudgedUpload(upload=upload, standing=standing, noted=True))
            else:
                judged.append(_by_key(upload, files.get(key), account, states))
        return judged

    @in_thread
    def aborted(self, account: str, upload_id: str) -> None:
        """It is not open any more."""
        OpenUpload.objects.using(self._alias).filter(account=account, upload_id=upload_id).delete()


def _by_key(
    upload: ListedUpload, file: File | None, account: Account, states: Mapping[UUID, ReplicaState]
) -> JudgedUpload:
    """Without a record: an upload under exactly the file's key, begun while the file was received, belongs to it."""
    if file is None or (account.name not in file.wanted and file.pk not in states):
        return JudgedUpload(upload=upload, standing=Standing.UNKNOWN)
    if _is_under_way(file, states):
        return JudgedUpload(upload=upload, standing=Standing.UNDER_WAY)
    if file.part_size is None:  # it was one put, without a multipart upload
        return JudgedUpload(upload=upload, standing=Standing.UNKNOWN)
    ahead = clock_ahead(file.now)  # type: ignore[attr-defined]
    assert file.stored_at is not None  # it was acknowledged
    since, until = file.created_at + ahead, file.stored_at + ahead
    if upload.begun is None or not since - _WHOLE_SECONDS <= upload.begun <= until + _WHOLE_SECONDS:
        return JudgedUpload(upload=upload, standing=Standing.UNKNOWN)
    return JudgedUpload(upload=upload, standing=Standing.LEFT, since=since, until=until)


def _is_under_way(file: File, states: Mapping[UUID, ReplicaState]) -> bool:
    """The service receives, copies or removes it, and will close its open uploads."""
    return file.state not in (*ACKNOWLEDGED, FileState.ERASED) or states.get(file.pk) in _UNFINISHED


def _key(account: Account, object_key: str) -> str:
    return object_key.removeprefix(account.prefix)
