"""What a rebuild asks of the ledger, and what it writes.

Promises: existing rows never change, except that a `pending` replica whose object exists becomes `stored`; rows that
another process created meanwhile stay. The sender, the ack, the idempotency key and the part size are not restored: no
object has them. Leaves to others: which files to restore.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from file.ledger import states
from file.ledger.database.threads import LedgerPart, Runs, in_thread
from file.logic.accounts.registry import Registry
from file.logic.values import Digests, FileState, ReplicaState, Stored, checksum_text
from file.models import File, GivenUpFile, Replica


@dataclass(frozen=True, slots=True)
class Copy:
    """An object of a file, as its account shows it."""

    stored: Stored
    last_modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredFile:
    """`missing`: accounts that shall have the file and do not show it, and the error code that says why."""

    id: str
    key: str
    name: str
    content_type: str
    content_headers: Mapping[str, str]
    metadata: Mapping[str, str]
    digests: Digests
    created_at: datetime
    copies: Sequence[Copy]
    missing: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KnownFile:
    key: str
    state: FileState
    size: int | None
    crc64nvme: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has: files by id, the states of their replicas by account, and which file holds which key.

    `given_up`: ids of files that were never acknowledged, and are gone.
    """

    files: Mapping[str, KnownFile]
    replicas: Mapping[str, Mapping[str, ReplicaState]]
    holders: Mapping[str, str]
    given_up: Set[str]


NOTHING_KNOWN = Known({}, {}, {}, frozenset())


class Restoration(LedgerPart):
    """In the database `alias`. `registry`: the accounts that are configured. Raises `LedgerUnavailableError`."""

    def __init__(self, runs: Runs, alias: str, registry: Registry) -> None:
        super().__init__(runs, alias)
        self._registry = registry

    @in_thread
    def forget_received(self) -> None:
        """Remove the rows of files that were being received, whatever their leases."""
        with transaction.atomic(using=self._alias):
            states.forget_received(self._rows(File))

    @in_thread
    def known(self, ids: Collection[str], keys: Collection[str]) -> Known:
        files = {
            str(file.pk): KnownFile(file.key, FileState(file.state), file.size, file.crc64nvme)
            for file in self._rows(File).filter(pk__in=ids)
        }
        replicas: dict[str, dict[str, ReplicaState]] = {}
        for replica in self._rows(Replica).filter(file_id__in=ids):
            replicas.setdefault(str(replica.file_id), {})[replica.account] = ReplicaState(replica.state)
        held = self._rows(File).filter(live=True, key__in=keys).values_list("key", "pk")
        given_up = self._rows(GivenUpFile).filter(pk__in=ids).values_list("pk", flat=True)
        return Known(files, replicas, {key: str(pk) for key, pk in held}, set(map(str, given_up)))

    @in_thread
    def write(self, files: Sequence[RestoredFile], there: Iterable[tuple[str, Copy]]) -> tuple[set[str], int]:
        """`there`: ids of files that the ledger has, each with a copy of which it may not know.

        Returns the ids of those files that are in the ledger now (another process may have taken a key), and how many
        pending replicas are stored now.
        """
        with transaction.atomic(using=self._alias):
            self._rows(File).bulk_create([self._file(file) for file in files], ignore_conflicts=True)
            ids = [file.id for file in files]
            present = self._rows(File).filter(pk__in=ids, state__in=states.ACKNOWLEDGED)
            written = set(map(str, present.values_list("pk", flat=True)))
            replicas = [replica for file in files if file.id in written for replica in self._replicas(file)]
            self._rows(Replica).bulk_create(replicas, ignore_conflicts=True)
            return written, sum(self._store(file_id, copy) for file_id, copy in there)

    def _store(self, file_id: str, copy: Copy) -> int:
        pending = self._rows(Replica).filter(
            file_id=file_id,
            account=copy.stored.account,
            state=ReplicaState.PENDING,
            file__state__in=states.ACKNOWLEDGED,
        )
        stored = states.store(pending, copy.stored, stored_at=copy.last_modified, request_id=None)
        if stored:
            states.complete(self._alias, file_id, copy.stored.account)
        return stored

    def _file(self, file: RestoredFile) -> File:
        accounts = sorted({*file.missing, *(copy.stored.account for copy in file.copies)})
        return File(
            id=uuid.UUID(file.id),
            key=file.key,
            name=file.name,
            content_type=file.content_type,
            size=file.digests.size,
            sha256=file.digests.sha256.hex(),
            crc64nvme=checksum_text(file.digests.crc64nvme),
            content_headers=dict(file.content_headers) or None,
            metadata=dict(file.metadata),
            ack="all",
            wanted={account: "/".join(self._place(account)) for account in accounts},
            who="",
            created_at=file.created_at,
            stored_at=min(copy.last_modified for copy in file.copies),
            **states.restored_file(is_whole=not file.missing),
        )

    def _replicas(self, file: RestoredFile) -> Iterable[Replica]:
        for copy in file.copies:
            yield Replica(
                file_id=file.id,
                account=copy.stored.account,
                bucket=copy.stored.bucket,
                object_key=copy.stored.object_key,
                etag=copy.stored.etag,
                version_id=copy.stored.version_id,
                checksum=copy.stored.checked_by,
                created_at=file.created_at,
                stored_at=copy.last_modified,
                **states.RESTORED,
            )
        for account, code in file.missing.items():
            bucket, prefix = self._place(account)
            yield Replica(
                file_id=file.id,
                account=account,
                bucket=bucket,
                object_key=prefix + file.key,
                created_at=file.created_at,
                **states.missing(code, is_placed=self._registry.account(account) is not None),
            )

    def _place(self, account: str) -> tuple[str, str]:
        """Bucket and prefix; empty for an account that is not configured."""
        place = self._registry.account(account)
        return (place.s3_bucket_name, place.prefix) if place else ("", "")

    def _rows(self, model: Any) -> Any:
        return model.objects.using(self._alias)
