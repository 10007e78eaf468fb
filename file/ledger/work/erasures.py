"""Taking a file out of every account, as the ledger sees it: from the request to the row of which figures are left.

An erasure is durable before it begins, and goes on until every account said that nothing of the file is there. Name,
metadata, digests and sender go at once; the key and the object keys, which are needed to find the objects, go last, and
then the key is free. What stays: the id, a keyed hash of the key, times, the size, and what became of each account.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from file.ledger.commit.writer import Writer
from file.ledger.keyed import key_hashes
from file.ledger.read.queries import ACKNOWLEDGED, is_storable
from file.ledger.work.claims import UNFINISHED, Due, Leases, unfinished_replicas_of
from file.logic.erasing import Erasure, ErasureOfAccount
from file.logic.values import FileState, ReplicaState
from file.models import File, GivenUpFile, OpenUpload, Replica

_FORGOTTEN_AT_ONCE: dict[str, Any] = {
    "name": "",
    "content_type": "",
    "content_headers": None,
    "metadata": {},
    "who": "",
    "idempotency_key": None,
    "sha256": None,
    "crc64nvme": None,
}


class Erasures:
    """Begins them. Raises `LedgerUnavailableError`."""

    def __init__(self, writer: Writer, alias: str, leases: Leases) -> None:
        self._writer = writer
        self._alias = alias
        self._leases = leases

    async def begin(
        self, key: str, file_id: str | None = None, accounts: Sequence[str] = ()
    ) -> tuple[Erasure | None, Sequence[Due]]:
        """From now on the file does not exist for a reader. Asked again, tells how far it is, and claims what is due in
        these `accounts`.

        None: there is no such file, or another than `file_id`.
        """
        if not is_storable(key):
            return None, ()
        return await self._writer.run(lambda: self._begin_and_claim(key, file_id, accounts))

    # --- in the writer's thread

    def _begin_and_claim(
        self, key: str, file_id: str | None, accounts: Sequence[str]
    ) -> tuple[Erasure | None, Sequence[Due]]:
        """In one transaction: nobody else gets at it in between, so that who asked may wait for it."""
        erasure = self._begin(key, file_id)
        if erasure is None or erasure.is_done:
            return erasure, ()
        due = Replica.objects.using(self._alias).filter(
            file_id=erasure.id, account__in=accounts, state=ReplicaState.ERASING, next_attempt_at__lte=Now()
        )
        return erasure, self._leases.claimed(due, len(accounts))

    def _begin(self, key: str, file_id: str | None) -> Erasure | None:
        files = File.objects.using(self._alias)
        file = files.filter(live=True, key=key).select_for_update().first()
        if file_id is not None and (file is None or str(file.pk) != file_id):
            return None
        if file is None:
            file = files.filter(key_hash__in=key_hashes(key), state=FileState.ERASED).order_by("-erased_at").first()
        elif file.state in ACKNOWLEDGED:
            self._erase_acknowledged(file)
        elif file.state == FileState.RECEIVING:
            self._erase_received(file)
        elif file.key_hash is None:  # nobody was told of it, and it is being removed already
            return None
        else:
            waiting = Replica.objects.using(self._alias).filter(file=file, state=ReplicaState.ERASING, owner=None)
            # Without an error it waits for what may still land.
            waiting.filter(error_code__isnull=False).update(next_attempt_at=Now())
        return None if file is None else erasure_of(self._alias, str(file.pk))

    def _erase_acknowledged(self, file: File) -> None:
        mine = File.objects.using(self._alias).filter(pk=file.pk, state__in=ACKNOWLEDGED)
        mine.update(state=FileState.ERASING, key_hash=key_hashes(file.key)[0], **_FORGOTTEN_AT_ONCE)
        replicas = Replica.objects.using(self._alias).filter(file=file)
        erasing = {"state": ReplicaState.ERASING, "attempts": 0}
        # Whoever works on it holds it until then, and is told when it wants to go on.
        replicas.filter(state=ReplicaState.PENDING, owner__isnull=False, next_attempt_at__gt=Now()).update(
            error_code=UNFINISHED, **erasing
        )
        unfinished = Q(state=ReplicaState.PENDING) | Q(state=ReplicaState.BLOCKED)
        replicas.filter(unfinished).update(owner=None, error_code=UNFINISHED, next_attempt_at=Now(), **erasing)
        replicas.filter(state=ReplicaState.STORED).update(owner=None, error_code=None, next_attempt_at=Now(), **erasing)

    def _erase_received(self, file: File) -> None:
        """Its process goes on, and learns at the end that it is not to be; see `Settling.gone`."""
        mine = File.objects.using(self._alias).filter(pk=file.pk, state=FileState.RECEIVING)
        if mine.update(state=FileState.ERASING, key_hash=key_hashes(file.key)[0], **_FORGOTTEN_AT_ONCE):
            Replica.objects.using(self._alias).bulk_create(unfinished_replicas_of(file))


def finish(alias: str, file_id: str, landing: timedelta = timedelta()) -> bool:
    """Once an account has nothing of a file any more: it may have been the last one. True: the key is gone, too.

    A file that was never acknowledged gives its key back, and is looked for once more after `landing`; it keeps the
    key meanwhile if an upload may be open that can be told from others only by the key.
    """
    replicas = Replica.objects.using(alias).filter(file_id=file_id)
    # Two processes may end the last two at once: the second waits here, and then sees what the first wrote.
    file = File.objects.using(alias).select_for_update().filter(pk=file_id, state=FileState.ERASING).first()
    if file is None or replicas.exclude(state=ReplicaState.ERASED).exists():
        return False
    if file.key_hash is None and file.live and file.lease_until is not None:
        lost = OpenUpload.objects.using(alias).filter(file_id=file_id, upload_id=None).exists()
        File.objects.using(alias).filter(pk=file_id).update(live=lost, lease_until=None)
        replicas.update(state=ReplicaState.ERASING, next_attempt_at=Now() + landing, erased_at=None)
        return False
    OpenUpload.objects.using(alias).filter(file_id=file_id).delete()
    if file.key_hash is None:
        _give_up(alias, file)  # it was never acknowledged
        return True
    erased = {"state": FileState.ERASED, "erased_at": Now(), "live": False, "key": "", "wanted": {}}
    File.objects.using(alias).filter(pk=file_id).update(owner=None, lease_until=None, **erased)
    replicas.update(object_key="", etag=None, version_id=None, checksum=None, request_id=None)
    return True


def _give_up(alias: str, file: File) -> None:
    """Its row goes, its id stays for a while: an object of it that lands later may be removed."""
    given_up = [GivenUpFile(id=file.pk, given_up_at=Now())]
    GivenUpFile.objects.using(alias).bulk_create(given_up, ignore_conflicts=True)
    file.delete(using=alias)


def reopen(alias: str, file_id: str, account: str, object_key: str, lease: timedelta) -> None:
    """Somebody woke up and stored something of a file that was erased: it goes again, at the latest after `lease`."""
    erased = Replica.objects.using(alias).filter(file_id=file_id, account=account, state=ReplicaState.ERASED)
    again = {"state": ReplicaState.ERASING, "erased_at": None, "error_code": UNFINISHED, "object_key": object_key}
    if erased.update(next_attempt_at=Now() + lease, **again):
        files = File.objects.using(alias).filter(pk=file_id, state=FileState.ERASED)
        files.update(state=FileState.ERASING, erased_at=None)


def erasure_of(alias: str, file_id: str) -> Erasure | None:
    """What the rows say; None if the file is not to be erased."""
    file = File.objects.using(alias).filter(pk=file_id, key_hash__isnull=False).first()
    if file is None:
        return None
    replicas = Replica.objects.using(alias).filter(file_id=file_id).order_by("account")
    return Erasure(
        id=str(file.pk),
        key_hash=file.key_hash or "",
        size=file.size,
        created_at=file.created_at,
        stored_at=file.stored_at,
        erased_at=file.erased_at,
        accounts=tuple(
            ErasureOfAccount(
                account=replica.account,
                bucket=replica.bucket,
                erased_at=replica.erased_at,
                code=None if replica.error_code == UNFINISHED else replica.error_code,
                strangers=replica.strangers or 0,
            )
            for replica in replicas
        ),
    )
