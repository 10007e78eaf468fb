"""Every state of `File` and `Replica`, and every transition: what it begins in, what it writes. No other module writes
a state, or the columns that belong to one.

A transition takes a query set, adds the states that it begins in, and returns how many rows it changed, so that each is
a compare-and-swap. `new` is a row that is made, `gone` one that is removed. All times are the database's.

File. `stored` and `partial` were acknowledged. `receiving`, and `erasing` without a `key_hash`, never were.

        +-------------------------------> gone
        |                                  |
        |                         +--------+
        |                         |
    receiving ----------------> erasing <---> erased
        |                         |
        +-----> stored -----------+
        |        |  |             |
        +-----> partial ----------+

    new -> receiving                    CLAIMED            an intent, before the first byte leaves
    new -> stored, partial              restored_file      by a rebuild, from what lies in the accounts
    new -> erasing                      FOUND_LATE         the row was gone, and its process went on
    receiving -> stored, partial        CONCLUDED          the ack is met
    receiving -> gone                   received_by        the upload failed, and nothing is left
    receiving -> gone                   forget_received    in an older copy of the ledger
    receiving -> gone                   RECEIVED           in a new copy of the ledger
    receiving -> erasing                give_up            the upload failed, and something may be left
    receiving -> erasing                take_over          its process died: the lease ran out
    receiving, stored, partial -> erasing  erase_file      a client's DELETE
    stored -> partial                   lack               an account is to get it that does not have it
    partial -> stored                   complete           the last such account has it, or is not to get it any more
    erasing -> erased                   finish             no account has anything of it
    erasing -> gone                     finish             the same, of one that was never acknowledged
    erased -> erasing                   reopen_file        something of it was stored after all

Replica. `owner` works on it until `due_at`, and then it is due again: a claim needs no giving back.

        +----------------------------+
        |                            |
    pending <---> blocked ------> erasing <---> erased
        |  |         |               |             |
        |  +-----> stored -----------+             |
        |                                          |
        +------------------------------------------+

    new -> stored                       STORED             the account has the file
    new -> pending                      pending            it goes on after the answer
    new -> pending                      WANTED             by a backfill
    new -> stored                       RESTORED           by a rebuild
    new -> pending                      missing            by a rebuild that does not see it
    new -> erasing                      UNSEEN             of a file that was never acknowledged
    pending, blocked -> stored          store              the account has the file
    pending -> blocked                  refuse             for good: a person has to act
    pending -> blocked                  block_missing      the account is not configured
    blocked -> pending                  unblock            the account is back, or a person says so
    stored, blocked -> pending, blocked  demote             the account does not show it, or shows something else
    blocked -> stored                   show_again         the account shows it again
    blocked -> pending                  end_removal        what was there in its place was removed
    pending, blocked -> erasing         withdraw           the account is not to get the file any more
    stored, blocked -> erasing          drain              the account is to lose the file
    pending, blocked, stored -> erasing  erase_replicas     the file is erased
    erasing, erased -> erasing          leave              an upload failed, and something may be left there
    erasing -> erased                   account_has_none   the account said so, as often as is needed
    erased -> erasing                   finish             of a file that was never acknowledged: one more look
    erased -> gone                      finish             with such a file, after that look
    erased -> erasing                   reopen             something was stored there after all
    erased -> pending                   want_again         by a backfill
    pending, blocked, erasing -> gone   forget             a rebuild made it, and nothing was ever known to be there
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, F, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce, Least, Now

from file.logic.errors import ReplacedError, ReplicaMissingError
from file.logic.values import Failed, FileState, Removal, ReplicaState, Stored
from file.models import File, GivenUpFile, OpenUpload, Replica

ACKNOWLEDGED = (FileState.STORED, FileState.PARTIAL)
# Conditions of partial indexes, as in `file/models.py`: SQLite takes such an index only where it finds the very text.
IS_PARTIAL = RawSQL("file_file.state = 'partial'", (), BooleanField())
IS_UNFINISHED = RawSQL("file_replica.state IN ('pending', 'blocked', 'erasing')", (), BooleanField())
LANDING = 15  # settling times: for so long what went unanswered may land. A store that was down takes what it was sent

Files = QuerySet[File]
Replicas = QuerySet[Replica]

# --- conditions

# Somebody works on the replica, or nobody does.
HELD = Q(owner__isnull=False, due_at__gt=Now())
FREE = Q(owner=None) | Q(due_at=None) | Q(due_at__lte=Now())
DUE = Q(due_at__lte=Now())
# An erasing replica that waits for what may still land.
WAITS = Q(last_look=True)
# The account has something under the key: the file, or something else in its place.
SHOWN = Q(state=ReplicaState.STORED) | Q(state=ReplicaState.BLOCKED, error_code=ReplacedError.code)
# A rebuild made it, and knew no place in an account that is not configured.
UNPLACED = Q(bucket="")
# The process that receives the file goes on, although the file is to be erased; what it stores has to go, too.
STILL_RECEIVED = Q(stored_at=None, key_hash__isnull=False, lease_until__gt=Now())
# Being removed, and it was never acknowledged: nobody knows of it.
GIVEN_UP = Q(state=FileState.ERASING, key_hash=None)
LEASE_EXPIRED = Q(lease_until__lt=Now(), state=FileState.RECEIVING)


def has_passed_its_key_on(file: File) -> bool:
    """The key may be another file's by now, and no upload of this one is open any more."""
    return not file.live and file.lease_until is None


# --- the statements of the path of an upload: columns, their values, and conditions, as SQL

CLAIMED_COLUMNS = "live, state, owner, lease_until"
STORED_COLUMNS = "state, attempts"
STORED = f"'{ReplicaState.STORED}', 0"
PENDING_COLUMNS = "state, attempts, owner, due_at, begun_until"
RECEIVED = f"file_file.state = '{FileState.RECEIVING}'"
CONCLUDED = "lease_until = NULL"  # and the state that the outcome says


def claimed(owner: str, lease: str) -> str:
    return f"TRUE, '{FileState.RECEIVING}', '{owner}', {lease}"


def pending(owner: str, lease: str) -> str:
    return f"'{ReplicaState.PENDING}', 0, '{owner}', {lease}, {lease}"


def received_by(owner: str) -> str:
    """Only such a file is concluded, or removed because nothing of it is left anywhere."""
    return f"{RECEIVED} AND file_file.owner = '{owner}'"


# --- files

FOUND_LATE: Mapping[str, Any] = {"live": False, "state": FileState.ERASING, "lease_until": Now()}
_KEY_PASSED_ON: Mapping[str, Any] = {"live": False, "lease_until": None}
_FORGOTTEN_AT_ONCE: Mapping[str, Any] = {
    "name": "",
    "content_type": "",
    "content_headers": None,
    "metadata": {},
    "who": "",
    "idempotency_key": None,
    "sha256": None,
    "crc64nvme": None,
}


def renew(files: Files, lease: timedelta) -> int:
    """Also of what is to be erased by now: who erases it looks again when nothing can be added any more."""
    states = (FileState.RECEIVING, FileState.ERASING)
    return files.filter(state__in=states, lease_until__isnull=False).update(lease_until=Now() + lease)


def give_up(files: Files, *, holds_key: bool) -> int:
    """`holds_key`: until every account has been looked at. Else what may land late is all that is left: the key is free
    now, and what has it by then wins, for writes are conditional.
    """
    passed_on = {} if holds_key else _KEY_PASSED_ON
    received = files.filter(state=FileState.RECEIVING)
    return received.update(state=FileState.ERASING, idempotency_key=None, **passed_on)


def take_over(files: Files) -> int:
    return files.filter(LEASE_EXPIRED).update(state=FileState.ERASING, idempotency_key=None)


def erase_file(files: Files, key_hash: str) -> int:
    """Everything is forgotten at once but for the key and the places, by which its objects are found.

    A process that receives it goes on, and learns at the end that it is not to be.
    """
    states = (FileState.RECEIVING, *ACKNOWLEDGED)
    return files.filter(state__in=states).update(state=FileState.ERASING, key_hash=key_hash, **_FORGOTTEN_AT_ONCE)


def lack(files: Files) -> int:
    return files.filter(state=FileState.STORED).update(state=FileState.PARTIAL)


def reopen_file(files: Files) -> int:
    return files.filter(state=FileState.ERASED).update(state=FileState.ERASING, erased_at=None)


def forget_received(files: Files) -> int:
    """In an older copy of the ledger it may have been acknowledged later, and what is not known is never removed."""
    return files.filter(state=FileState.RECEIVING).delete()[1].get(File._meta.label, 0)


def restored_file(*, is_whole: bool) -> Mapping[str, Any]:
    return {"state": FileState.STORED if is_whole else FileState.PARTIAL}


# --- replicas: who works on one, and when it is tried again

# It keeps its turn.
_AT_ONCE = Coalesce(Least("due_at", Now()), Now())


def claim(replicas: Replicas, owner: str, lease: timedelta) -> int:
    return replicas.update(owner=owner, due_at=Now() + lease)


def hold(replicas: Replicas, lease: timedelta, *, begins: bool = False) -> int:
    """Renew a claim. Also of one that has to go by now, for as long as its worker is at it.

    `begins`: its worker may begin an upload before it is noted.
    """
    held = replicas.filter(state__in=(ReplicaState.PENDING, ReplicaState.ERASING))
    until = Now() + lease
    return held.update(due_at=until, begun_until=until) if begins else held.update(due_at=until)


def sweep(replicas: Replicas) -> int:
    """What was begun before is closed, and what is begun from now on is noted first."""
    return replicas.filter(begun_until__isnull=False).update(begun_until=None)


def end_claim(replicas: Replicas, pause: timedelta) -> int:
    """Before its lease ends. Nothing is said of the account."""
    return replicas.filter(due_at__isnull=False).update(owner=None, due_at=Now() + pause)


def put_off(replicas: Replicas, code: str | None, pause: timedelta, **columns: Any) -> int:
    """It was tried in vain, and keeps its state. One that is to be erased is looked at twice again."""
    tried: dict[str, Any] = {"attempts": F("attempts") + 1, "error_code": code, "owner": None, **columns}
    tried["due_at"] = Now() + pause
    erasing = replicas.filter(state=ReplicaState.ERASING)
    return replicas.filter(state=ReplicaState.PENDING).update(**tried) or erasing.update(last_look=False, **tried)


def try_again(replicas: Replicas, **columns: Any) -> int:
    """At once, by anybody."""
    return replicas.update(**_again(), **columns)


def hasten(replicas: Replicas) -> int:
    """What refused to be erased is tried now. One that waits for what may still land goes on waiting."""
    erasing = replicas.filter(state=ReplicaState.ERASING, owner=None).exclude(WAITS)
    return erasing.update(due_at=Now())


def _again() -> dict[str, Any]:
    return {"owner": None, "due_at": _AT_ONCE, "attempts": 0}


# --- replicas: an account gets the file

WANTED: Mapping[str, Any] = {"state": ReplicaState.PENDING, "created_at": Now(), "due_at": Now()}


RESTORED: Mapping[str, Any] = {"state": ReplicaState.STORED}


def missing(code: str, *, is_placed: bool) -> Mapping[str, Any]:
    """Due now, unless there is nowhere to look."""
    return {"state": ReplicaState.PENDING, "error_code": code, "due_at": Now() if is_placed else None}


def store(replicas: Replicas, stored: Stored, **columns: Any) -> int:
    """Who has the file may say so whoever works on the replica meanwhile: it is what they would find."""
    wanted = replicas.filter(state__in=(ReplicaState.PENDING, ReplicaState.BLOCKED))
    fields: dict[str, Any] = {
        "owner": None,
        "state": ReplicaState.STORED,
        "bucket": stored.bucket,
        "object_key": stored.object_key,
        "due_at": None,
        "begun_until": None,
        "error_code": None,
        "etag": stored.etag,
        "version_id": stored.version_id,
        "checksum": stored.checked_by,
        "request_id": stored.request_id,
        "stored_at": Now(),
    }
    return wanted.update(**fields | columns)


def want_again(replicas: Replicas, **columns: Any) -> int:
    nothing = ("etag", "version_id", "checksum", "request_id", "error_code", "stored_at", "verified_at", "erased_at")
    erased = replicas.filter(state=ReplicaState.ERASED)
    return erased.update(**WANTED, **dict.fromkeys((*nothing, "owner", "strangers")), attempts=0, **columns)


def refuse(replicas: Replicas, code: str | None, **columns: Any) -> int:
    tried: dict[str, Any] = {"attempts": F("attempts") + 1, "error_code": code, **columns}
    waiting = replicas.filter(state=ReplicaState.PENDING)
    return waiting.update(owner=None, state=ReplicaState.BLOCKED, due_at=None, **tried)


def block_missing(replicas: Replicas, code: str) -> int:
    """It keeps a time, so that it is found by its index when the account is back."""
    free = replicas.filter(FREE, state=ReplicaState.PENDING)
    at = Coalesce("due_at", Now())
    return free.update(owner=None, state=ReplicaState.BLOCKED, error_code=code, due_at=at)


def mark_missing(replicas: Replicas, code: str) -> int:
    """What has to go from an account that is not configured says why it does not."""
    free = replicas.filter(FREE, state=ReplicaState.ERASING)
    return free.update(owner=None, error_code=code, last_look=False, due_at=_AT_ONCE)


def unblock(replicas: Replicas) -> int:
    blocked = replicas.filter(state=ReplicaState.BLOCKED)
    return blocked.update(state=ReplicaState.PENDING, error_code=None, **_again())


# --- replicas: what an account shows

_SHOWN = (ReplicaState.STORED, ReplicaState.BLOCKED)


def demote(replicas: Replicas, state: ReplicaState, code: str) -> int:
    """To `pending`, and catch-up brings it; or to `blocked`, and a person decides."""
    due = Now() if state is ReplicaState.PENDING else None
    shown = replicas.filter(state__in=_SHOWN)
    return shown.update(state=state, error_code=code, owner=None, attempts=0, due_at=due)


def doubt(replicas: Replicas, code: str) -> int:
    """The last good copy is never demoted: it only says what is wrong with it."""
    return replicas.update(error_code=code)


def show_again(replicas: Replicas, stored: Stored) -> int:
    """Where the account has copied it onto itself, ETag or version are new, and needed by whoever reads it."""
    free: dict[str, Any] = {"owner": None, "due_at": None, "attempts": 0, "error_code": None}
    seen: dict[str, Any] = {"etag": stored.etag, "version_id": stored.version_id, "verified_at": Now()}
    return replicas.filter(state__in=_SHOWN).update(state=ReplicaState.STORED, **free, **seen)


def end_removal(replicas: Replicas, *, removed: bool) -> int:
    """The claim of who removes what is in its place ends; if that is gone, catch-up brings the file."""
    fields: dict[str, Any] = {"owner": None, "due_at": None}
    if removed:
        fields = {"owner": None, "due_at": Now(), "state": ReplicaState.PENDING, "attempts": 0}
        fields["error_code"] = ReplicaMissingError.code
    return replicas.filter(state=ReplicaState.BLOCKED).update(**fields)


# --- replicas: an account is to have nothing of the file

UNSEEN: Mapping[str, Any] = {
    "state": ReplicaState.ERASING,
    "last_look": False,
    "created_at": Now(),
    "due_at": Now(),
}


def withdraw(replicas: Replicas) -> int:
    """Who brings it keeps it until the lease ends, and is told when it wants to go on."""
    erasing: dict[str, Any] = {"state": ReplicaState.ERASING, "error_code": None, "last_look": False}
    brought = replicas.filter(HELD, state=ReplicaState.PENDING).update(**erasing)
    waiting = replicas.filter(state__in=(ReplicaState.PENDING, ReplicaState.BLOCKED))
    return brought + waiting.update(**erasing, **_again())


def drain(replicas: Replicas) -> int:
    """Nothing is under way there: one look suffices."""
    free: dict[str, Any] = {"owner": None, "error_code": None, "attempts": 0, "due_at": Now()}
    return replicas.filter(state__in=_SHOWN).update(state=ReplicaState.ERASING, last_look=True, **free)


def erase_replicas(replicas: Replicas) -> int:
    return drain(replicas.filter(state=ReplicaState.STORED)) + withdraw(replicas)


def leave(alias: str, file_id: str, outcome: Failed, settle: timedelta) -> None:
    """What is left there is looked for soon, and twice; what only may land, once it has landed, and once."""
    is_left = outcome.removal is Removal.PENDING
    fields: dict[str, Any] = {
        "bucket": outcome.bucket,
        "object_key": outcome.object_key,
        "state": ReplicaState.ERASING,
        "owner": None,
        "error_code": outcome.error.code if is_left else None,
        "last_look": not is_left,
        "due_at": Now() + (settle if is_left else LANDING * settle),
    }
    replicas = Replica.objects.using(alias)
    earlier = replicas.filter(file_id=file_id, account=outcome.account)
    if not earlier.filter(state__in=(ReplicaState.ERASING, ReplicaState.ERASED)).update(**fields):
        made = Replica(file_id=file_id, account=outcome.account, created_at=Now(), **fields)
        replicas.bulk_create([made], ignore_conflicts=True)


def await_receiver(replicas: Replicas, until: datetime) -> int:
    """The process that receives the file may still store something: it is looked for again after its lease."""
    return replicas.filter(state=ReplicaState.ERASING).update(owner=None, due_at=until)


def await_landing(replicas: Replicas, pause: timedelta) -> int:
    """The account said once that nothing is there: the next look is the last one."""
    erasing = replicas.filter(state=ReplicaState.ERASING)
    return erasing.update(owner=None, error_code=None, last_look=True, due_at=Now() + pause)


def account_has_none(replicas: Replicas, strangers: int) -> int:
    erased: dict[str, Any] = {"state": ReplicaState.ERASED, "erased_at": Now(), "strangers": strangers or None}
    done = dict.fromkeys(("owner", "error_code", "due_at", "begun_until", "last_look"))
    return replicas.filter(state=ReplicaState.ERASING).update(**done, **erased)


def forget(replicas: Replicas) -> int:
    return replicas.filter(UNPLACED, stored_at=None).exclude(state__in=_LASTING).delete()[0]


_LASTING = (ReplicaState.STORED, ReplicaState.ERASED)

# --- what follows for the file


def complete(alias: str, file_id: str, account: str, *, keeps_uploads: bool = False) -> None:
    """An account has got the file later: its upload is not open any more, and it may have been the last.

    `keeps_uploads`: it is not to get it any more, and what is open there is still to be closed.
    """
    if not keeps_uploads:
        closed_uploads(alias, file_id).filter(account=account).delete()
    lock(alias, file_id)
    # The other two in an account that was retired.
    done = (ReplicaState.STORED, ReplicaState.ERASING, ReplicaState.ERASED)
    if not Replica.objects.using(alias).filter(file_id=file_id).exclude(state__in=done).exists():
        File.objects.using(alias).filter(pk=file_id, state=FileState.PARTIAL).update(state=FileState.STORED)


def finish(alias: str, file_id: str, landing: timedelta = timedelta()) -> bool:
    """Once an account has nothing of a file any more: it may have been the last one. True: the key is gone, too.

    A file that was never acknowledged gives its key back, and is looked for once more after `landing`; it keeps the
    key meanwhile if an upload may be open that can be told from others only by the key.
    """
    files, replicas = File.objects.using(alias), Replica.objects.using(alias).filter(file_id=file_id)
    # Two processes may end the last two replicas at once: the second waits here, and then sees what the first wrote.
    file = files.select_for_update().filter(pk=file_id, state=FileState.ERASING).first()
    if file is None or replicas.exclude(state=ReplicaState.ERASED).exists():
        return False
    uploads = OpenUpload.objects.using(alias).filter(file_id=file_id)
    if file.key_hash is None and file.live and file.lease_until is not None:
        files.filter(pk=file_id).update(live=uploads.filter(upload_id=None).exists(), lease_until=None)
        replicas.update(state=ReplicaState.ERASING, due_at=Now() + landing, erased_at=None, last_look=True)
        return False
    uploads.delete()
    if file.key_hash is None:
        # Its row goes, its id stays for a while: an object of it that lands later may be removed.
        given_up = [GivenUpFile(id=file.pk, given_up_at=Now())]
        GivenUpFile.objects.using(alias).bulk_create(given_up, ignore_conflicts=True)
        file.delete(using=alias)
        return True
    erased: dict[str, Any] = {"state": FileState.ERASED, "erased_at": Now(), "key": "", "wanted": {}, "owner": None}
    files.filter(pk=file_id).update(**erased, **_KEY_PASSED_ON)
    replicas.update(object_key="", etag=None, version_id=None, checksum=None, request_id=None)
    return True


def reopen(alias: str, file_id: str, account: str, object_key: str, lease: timedelta) -> None:
    """Somebody woke up and stored something of a file that was erased: it goes again, at the latest after `lease`."""
    erased = Replica.objects.using(alias).filter(file_id=file_id, account=account, state=ReplicaState.ERASED)
    again: dict[str, Any] = {"state": ReplicaState.ERASING, "erased_at": None, "last_look": False}
    if erased.update(due_at=Now() + lease, object_key=object_key, **again):
        reopen_file(File.objects.using(alias).filter(pk=file_id))


def lock(alias: str, file_id: str) -> None:
    """The file before its replicas, as everybody does, or two processes wait for each other. Of two that end the last
    two replicas at once, the second waits here, and then sees what the first wrote.
    """
    File.objects.using(alias).select_for_update().filter(pk=file_id).values_list("pk").first()


def closed_uploads(alias: str, file_id: str) -> QuerySet[OpenUpload]:
    """Those with an id were completed, or aborted. One without may be open all the same: the clean-up sweeps it."""
    return OpenUpload.objects.using(alias).filter(file_id=file_id, upload_id__isnull=False)
