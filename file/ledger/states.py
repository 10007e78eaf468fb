"""Every state of `File` and `Replica`, and every transition: where it begins, and what it writes.

Promises: no other module writes a state, or a column that belongs to a state (a test reads the sources). A transition
takes a query set, adds the states in which it may begin, and returns how many rows it changed, so each one is a
compare-and-swap. A function that keeps the state leaves the choice of rows to its caller. All times come from the clock
of the database. Leaves to others: when a transition happens.

In the tables, `new` is a row that is created, `gone` a row that is deleted; the third column is the name below.

File. `stored` and `partial` are acknowledged. `receiving`, and `erasing` without a `key_hash`, never were.

                  +----------------+
                  |                v
    receiving ----+--> stored <--> partial
     |       |            |          |
     |       +---------+  |          |
     |                 v  v          |
     |                erasing <------+
     v                 |  ^
    gone <-------------+  +------> erased

    new -> receiving                       CLAIMED           an intent, before the first byte is sent
    new -> stored, partial                 restored_file     a rebuild found it in the accounts
    new -> erasing                         FOUND_LATE        the row was deleted, and then its process continued
    receiving -> stored, partial           CONCLUDED         the ack is met
    receiving -> gone                      received_by       the upload failed, and nothing is left in any account
    receiving -> gone                      RECEIVED          in a new copy of the ledger
    receiving -> gone                      forget_received   in an older copy of the ledger
    receiving -> erasing                   give_up           the upload failed, and something may be left
    receiving -> erasing                   take_over         its process died: its lease has ended
    receiving, stored, partial -> erasing  erase_file        a client asked for it
    stored -> partial                      lack              an account must get the file that does not have it
    partial -> stored                      complete          no account is left that must get the file
    erasing -> erased                      finish            no account has anything of it
    erasing -> gone                        finish            the same, and it was never acknowledged
    erased -> erasing                      reopen_file       something of it was stored afterwards

A file that was never acknowledged is searched for in two rounds. In the first round `lease_until` is set. Before the
second it becomes null, and the key is free for another file (`live` is false), unless an upload may be open that only
the key identifies.

Replica. A worker owns it until `due_at`. Then another worker may take it, so a claim need not be returned.

         +----> stored <----+
         |        |  ^      |
         v        |  |      v
      pending <---+--+--> blocked
       |   ^      |         |
       |   |      v         |
       +---|--> erasing <---+
           |     |   ^
           |     v   |
           +--- erased

    new -> stored                          STORED            the account has the file
    new -> pending                         pending           its lane continues after the answer
    new -> pending                         WANTED            a backfill
    new -> stored                          RESTORED          a rebuild found it in the account
    new -> pending                         missing           a rebuild did not find it in the account
    new -> erasing                         UNSEEN            of a file that was never acknowledged
    pending, blocked -> stored             store             the account has the file
    pending -> blocked                     refuse            a retry would not help: a person must act
    pending -> blocked                     block_missing     the account is not configured
    blocked -> pending                     unblock           the account is back, or a person asked for a retry
    stored, blocked -> pending, blocked    demote            the account does not show it, or shows something else
    blocked -> stored                      show_again        the account shows it again
    blocked -> pending                     end_removal       what was in its place is removed
    pending, blocked -> erasing            withdraw          the account must not get the file any more
    stored, blocked -> erasing             drain             the account must lose the file
    pending, blocked, stored -> erasing    erase_replicas    the file is erased
    erasing, erased -> erasing             leave             an upload failed, and something may be left there
    erasing -> erased                      account_has_none  the account said so, once or twice (`last_look`)
    erased -> erasing                      finish            the second round of a file that was never acknowledged
    erased -> gone                         finish            the end of the second round
    erased -> erasing                      reopen            something was stored there afterwards
    erased -> pending                      want_again        a backfill
    pending, blocked, erasing -> gone      forget            a rebuild made it, and nothing was ever known to be there
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
# A request without an answer may still take effect for this number of settling times: a store that was down processes
# what it received before.
LANDING = 15

Files = QuerySet[File]
Replicas = QuerySet[Replica]

# --- conditions

# A worker has the replica, or none has it.
HELD = Q(owner__isnull=False, due_at__gt=Now())
FREE = Q(owner=None) | Q(due_at=None) | Q(due_at__lte=Now())
DUE = Q(due_at__lte=Now())
# An erasing replica that waits until no earlier request can take effect any more.
WAITS = Q(last_look=True)
# The account shows an object under the key: the file, or something else in its place.
SHOWN = Q(state=ReplicaState.STORED) | Q(state=ReplicaState.BLOCKED, error_code=ReplacedError.code)
# A rebuild made it for an account that is not configured, and so knew no bucket.
UNPLACED = Q(bucket="")
# The file is erased while a process still receives it. What that process stores must be removed, too.
STILL_RECEIVED = Q(stored_at=None, key_hash__isnull=False, lease_until__gt=Now())
# It is being removed, and it was never acknowledged.
GIVEN_UP = Q(state=FileState.ERASING, key_hash=None)
LEASE_EXPIRED = Q(lease_until__lt=Now(), state=FileState.RECEIVING)


def has_passed_its_key_on(file: File) -> bool:
    """Another file may have the key now, and no upload of this one is open any more."""
    return not file.live and file.lease_until is None


# --- SQL for the statements on the path of an upload: columns, their values, conditions

CLAIMED_COLUMNS = "live, state, owner, lease_until"
STORED_COLUMNS = "state, attempts"
STORED = f"'{ReplicaState.STORED}', 0"
PENDING_COLUMNS = "state, attempts, owner, due_at, begun_until"
RECEIVED = f"file_file.state = '{FileState.RECEIVING}'"
CONCLUDED = "lease_until = NULL"  # with the state that the outcome says


def claimed(owner: str, lease: str) -> str:
    return f"TRUE, '{FileState.RECEIVING}', '{owner}', {lease}"


def pending(owner: str, lease: str) -> str:
    return f"'{ReplicaState.PENDING}', 0, '{owner}', {lease}, {lease}"


def received_by(owner: str) -> str:
    """A file is concluded, or deleted because nothing of it is left, only by the process that receives it."""
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
    """Also if the file is erased meanwhile: the clean-up waits until its process cannot store anything any more."""
    states = (FileState.RECEIVING, FileState.ERASING)
    return files.filter(state__in=states, lease_until__isnull=False).update(lease_until=Now() + lease)


def give_up(files: Files, *, holds_key: bool) -> int:
    """`holds_key`: until every account was searched. Otherwise only a late request can store something, and the key is
    free now: writes are conditional, so a file that has the key by then wins.
    """
    passed_on = {} if holds_key else _KEY_PASSED_ON
    received = files.filter(state=FileState.RECEIVING)
    return received.update(state=FileState.ERASING, idempotency_key=None, **passed_on)


def take_over(files: Files) -> int:
    return files.filter(LEASE_EXPIRED).update(state=FileState.ERASING, idempotency_key=None)


def erase_file(files: Files, key_hash: str) -> int:
    """Everything is deleted at once except the key and the places, which are needed to find its objects.

    A process that receives the file continues, and learns at the end that the file is erased.
    """
    states = (FileState.RECEIVING, *ACKNOWLEDGED)
    return files.filter(state__in=states).update(state=FileState.ERASING, key_hash=key_hash, **_FORGOTTEN_AT_ONCE)


def lack(files: Files) -> int:
    return files.filter(state=FileState.STORED).update(state=FileState.PARTIAL)


def reopen_file(files: Files) -> int:
    return files.filter(state=FileState.ERASED).update(state=FileState.ERASING, erased_at=None)


def forget_received(files: Files) -> int:
    """After the copy was made the file may have been acknowledged. The clean-up never removes an unknown file."""
    return files.filter(state=FileState.RECEIVING).delete()[1].get(File._meta.label, 0)


def restored_file(*, is_whole: bool) -> Mapping[str, Any]:
    return {"state": FileState.STORED if is_whole else FileState.PARTIAL}


# --- replicas: which worker has one, and when it is due

# Now; a replica that is due already keeps its turn.
_AT_ONCE = Coalesce(Least("due_at", Now()), Now())


def claim(replicas: Replicas, owner: str, lease: timedelta) -> int:
    return replicas.update(owner=owner, due_at=Now() + lease)


def hold(replicas: Replicas, lease: timedelta, *, begins: bool = False) -> int:
    """Renew a claim. Also if the replica must be erased by now: its worker still has it.

    `begins`: the worker may begin an upload before the upload is noted.
    """
    held = replicas.filter(state__in=(ReplicaState.PENDING, ReplicaState.ERASING))
    until = Now() + lease
    return held.update(due_at=until, begun_until=until) if begins else held.update(due_at=until)


def clear_begun(replicas: Replicas) -> int:
    """What was begun before is closed, and an upload is noted from now on before it begins."""
    return replicas.filter(begun_until__isnull=False).update(begun_until=None)


def end_claim(replicas: Replicas, pause: timedelta) -> int:
    """Before the lease ends, and without a result."""
    return replicas.filter(due_at__isnull=False).update(owner=None, due_at=Now() + pause)


def put_off(replicas: Replicas, code: str | None, pause: timedelta, **columns: Any) -> int:
    """An attempt failed, and the replica keeps its state. After an error, an erasing one needs two looks again."""
    tried: dict[str, Any] = {"attempts": F("attempts") + 1, "error_code": code, "owner": None, **columns}
    tried["due_at"] = Now() + pause
    erasing = replicas.filter(state=ReplicaState.ERASING)
    return replicas.filter(state=ReplicaState.PENDING).update(**tried) or erasing.update(last_look=False, **tried)


def try_again(replicas: Replicas, **columns: Any) -> int:
    """Any worker may take it at once."""
    return replicas.update(**_again(), **columns)


def hasten(replicas: Replicas) -> int:
    """Try at once what could not be erased. What waits for late requests continues to wait."""
    erasing = replicas.filter(state=ReplicaState.ERASING, owner=None).exclude(WAITS)
    return erasing.update(due_at=Now())


def _again() -> dict[str, Any]:
    return {"owner": None, "due_at": _AT_ONCE, "attempts": 0}


# --- replicas: an account gets the file

WANTED: Mapping[str, Any] = {"state": ReplicaState.PENDING, "created_at": Now(), "due_at": Now()}


RESTORED: Mapping[str, Any] = {"state": ReplicaState.STORED}


def missing(code: str, *, is_placed: bool) -> Mapping[str, Any]:
    """Due now, unless the account is not configured."""
    return {"state": ReplicaState.PENDING, "error_code": code, "due_at": Now() if is_placed else None}


def store(replicas: Replicas, stored: Stored, **columns: Any) -> int:
    """Whatever worker has the replica: it would find the same."""
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
    """It keeps a due time, so that an index finds it when the account is back."""
    free = replicas.filter(FREE, state=ReplicaState.PENDING)
    at = Coalesce("due_at", Now())
    return free.update(owner=None, state=ReplicaState.BLOCKED, error_code=code, due_at=at)


def mark_missing(replicas: Replicas, code: str) -> int:
    """An erasing replica of an account that is not configured: the error code says why it stays."""
    free = replicas.filter(FREE, state=ReplicaState.ERASING)
    return free.update(owner=None, error_code=code, last_look=False, due_at=_AT_ONCE)


def unblock(replicas: Replicas) -> int:
    blocked = replicas.filter(state=ReplicaState.BLOCKED)
    return blocked.update(state=ReplicaState.PENDING, error_code=None, **_again())


# --- replicas: what an account shows

_STORED_OR_BLOCKED = (ReplicaState.STORED, ReplicaState.BLOCKED)


def demote(replicas: Replicas, state: ReplicaState, code: str) -> int:
    """To `pending`, and catch-up copies the file; or to `blocked`, and a person decides."""
    due = Now() if state is ReplicaState.PENDING else None
    shown = replicas.filter(state__in=_STORED_OR_BLOCKED)
    return shown.update(state=state, error_code=code, owner=None, attempts=0, due_at=due)


def doubt(replicas: Replicas, code: str) -> int:
    """The last good copy is never demoted. It only gets the error code."""
    return replicas.update(error_code=code)


def show_again(replicas: Replicas, stored: Stored) -> int:
    """An owner may have copied the object onto itself: then ETag or version are new, and reads need them."""
    free: dict[str, Any] = {"owner": None, "due_at": None, "begun_until": None, "attempts": 0, "error_code": None}
    seen: dict[str, Any] = {"etag": stored.etag, "version_id": stored.version_id, "verified_at": Now()}
    return replicas.filter(state__in=_STORED_OR_BLOCKED).update(state=ReplicaState.STORED, **free, **seen)


def end_removal(replicas: Replicas, *, removed: bool) -> int:
    """The worker that removes what is in its place is done. If that is removed, catch-up copies the file."""
    fields: dict[str, Any] = {"owner": None, "due_at": None}
    if removed:
        fields = {"owner": None, "due_at": Now(), "state": ReplicaState.PENDING, "attempts": 0}
        fields["error_code"] = ReplicaMissingError.code
    return replicas.filter(state=ReplicaState.BLOCKED).update(**fields)


# --- replicas: an account must have nothing of the file

UNSEEN: Mapping[str, Any] = {
    "state": ReplicaState.ERASING,
    "last_look": False,
    "created_at": Now(),
    "due_at": Now(),
}


def withdraw(replicas: Replicas) -> int:
    """A worker that copies the file keeps its claim until the lease ends, and learns of it before it publishes."""
    erasing: dict[str, Any] = {"state": ReplicaState.ERASING, "error_code": None, "last_look": False}
    brought = replicas.filter(HELD, state=ReplicaState.PENDING).update(**erasing, attempts=0)
    waiting = replicas.filter(state__in=(ReplicaState.PENDING, ReplicaState.BLOCKED))
    return brought + waiting.update(**erasing, **_again())


def drain(replicas: Replicas) -> int:
    """No request is under way there, so one look is enough."""
    free: dict[str, Any] = {"owner": None, "error_code": None, "attempts": 0, "due_at": Now()}
    return replicas.filter(state__in=_STORED_OR_BLOCKED).update(state=ReplicaState.ERASING, last_look=True, **free)


def erase_replicas(replicas: Replicas) -> int:
    return drain(replicas.filter(state=ReplicaState.STORED)) + withdraw(replicas)


def leave(alias: str, file_id: str, outcome: Failed, settle: timedelta) -> None:
    """If something is left, two looks, the first one soon. If only a late request can store something: one look,
    when no late request can take effect any more.
    """
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
    """The process that receives the file may still store something, so look again when its lease has ended."""
    return replicas.filter(state=ReplicaState.ERASING).update(owner=None, due_at=until)


def await_landing(replicas: Replicas, pause: timedelta) -> int:
    """The account has nothing of the file. Look once more when no late request can take effect any more."""
    erasing = replicas.filter(state=ReplicaState.ERASING)
    return erasing.update(owner=None, error_code=None, last_look=True, due_at=Now() + pause)


def account_has_none(replicas: Replicas, strangers: int) -> int:
    erased: dict[str, Any] = {"state": ReplicaState.ERASED, "erased_at": Now(), "strangers": strangers or None}
    done = dict.fromkeys(("owner", "error_code", "due_at", "begun_until", "last_look"))
    return replicas.filter(state=ReplicaState.ERASING).update(**done, **erased)


def forget(replicas: Replicas) -> int:
    lasting = (ReplicaState.STORED, ReplicaState.ERASED)
    return replicas.filter(UNPLACED, stored_at=None).exclude(state__in=lasting).delete()[0]


# --- what follows for the file from its replicas


def complete(alias: str, file_id: str, account: str, *, keeps_uploads: bool = False) -> None:
    """An account has the file now, so no upload of it is open there; it may be the last account that the file needed.

    `keeps_uploads`: the account does not get the file any more, and what is open there must still be closed.
    """
    if not keeps_uploads:
        closed_uploads(alias, file_id).filter(account=account).delete()
    lock(alias, file_id)
    # `erasing` and `erased`: the account was retired.
    done = (ReplicaState.STORED, ReplicaState.ERASING, ReplicaState.ERASED)
    if not Replica.objects.using(alias).filter(file_id=file_id).exclude(state__in=done).exists():
        File.objects.using(alias).filter(pk=file_id, state=FileState.PARTIAL).update(state=FileState.STORED)


def finish(alias: str, file_id: str, landing: timedelta = timedelta()) -> bool:
    """An account has nothing of the file; it may be the last one that had. True: the ledger has no key of it any more.

    A file that was never acknowledged frees its key, and its second round begins after `landing`. It keeps the key if
    an upload may be open that only the key identifies.
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
        # The row is deleted, the id is kept for a time: an object of it that appears later may be removed.
        given_up = [GivenUpFile(id=file.pk, given_up_at=Now())]
        GivenUpFile.objects.using(alias).bulk_create(given_up, ignore_conflicts=True)
        file.delete(using=alias)
        return True
    erased: dict[str, Any] = {"state": FileState.ERASED, "erased_at": Now(), "key": "", "wanted": {}, "owner": None}
    files.filter(pk=file_id).update(**erased, **_KEY_PASSED_ON)
    replicas.update(object_key="", etag=None, version_id=None, checksum=None, request_id=None)
    return True


def reopen(alias: str, file_id: str, account: str, object_key: str, lease: timedelta) -> None:
    """A process that had stopped for a time stored an object of an erased file. It is removed, at the latest after
    `lease`.
    """
    erased = Replica.objects.using(alias).filter(file_id=file_id, account=account, state=ReplicaState.ERASED)
    again: dict[str, Any] = {"state": ReplicaState.ERASING, "erased_at": None, "last_look": False}
    if erased.update(due_at=Now() + lease, object_key=object_key, **again):
        reopen_file(File.objects.using(alias).filter(pk=file_id))


def lock(alias: str, file_id: str) -> None:
    """Always the file before its replicas, or two processes wait for each other. Two processes may end the last two
    replicas at once: the second one waits here, and then sees what the first wrote.
    """
    File.objects.using(alias).select_for_update().filter(pk=file_id).values_list("pk").first()


def closed_uploads(alias: str, file_id: str) -> QuerySet[OpenUpload]:
    """Uploads with an id are completed or aborted. One without may still be open: the clean-up searches for it."""
    return OpenUpload.objects.using(alias).filter(file_id=file_id, upload_id__isnull=False)
