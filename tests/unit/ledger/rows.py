"""Files and replicas as rows. Synchronous."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models.functions import Now

from file.logic.naming import new_file_id
from file.logic.values import FileState, ReplicaState
from file.models import File, Replica

AGO = Now() - timedelta(seconds=1)
LATER = Now() + timedelta(minutes=5)
PREFIX = "of/ours/"
LASTING = (ReplicaState.STORED, ReplicaState.ERASED)


def make_file(alias: str, key: str, replicas: dict[str, str], **changes: Any) -> str:
    """A file with these replicas (account to state); returns its id. `changes` are columns of the file."""
    waiting = [state for state in replicas.values() if state not in LASTING]
    file = File.objects.using(alias).create(
        **{
            "id": new_file_id(),
            "key": key,
            "name": key,
            "content_type": "text/plain",
            "size": 3,
            "sha256": "0" * 64,
            "crc64nvme": "AAAAAAAAAAA=",
            "part_size": 8,
            "ack": "any",
            "wanted": {account: f"bucket-{account.lower()}/{PREFIX}" for account in replicas},
            "state": FileState.PARTIAL if waiting else FileState.STORED,
            "who": "tests",
            "created_at": datetime.now(UTC),
            "stored_at": datetime.now(UTC),
            **changes,
        }
    )
    for account, state in replicas.items():
        stored_at = Now() if state in LASTING else None
        Replica.objects.using(alias).create(
            file=file,
            account=account,
            bucket=f"bucket-{account.lower()}",
            object_key=PREFIX + key,
            state=state,
            etag='"etag"' if stored_at else None,
            created_at=Now(),
            due_at=AGO if state in (ReplicaState.PENDING, ReplicaState.ERASING) else None,
            last_look=True if state == ReplicaState.ERASING else None,
            stored_at=stored_at,
        )
    return str(file.pk)


def replica(alias: str, key: str, account: str) -> Replica:
    return Replica.objects.using(alias).get(file__key=key, account=account)


def change(alias: str, key: str, account: str, **columns: Any) -> None:
    assert Replica.objects.using(alias).filter(file__key=key, account=account).update(**columns) == 1


def states(alias: str, key: str) -> dict[str, tuple[str, str | None]]:
    """Account to state and error code."""
    rows = Replica.objects.using(alias).filter(file__key=key)
    return {row.account: (row.state, row.error_code) for row in rows}


def state_of(alias: str, key: str) -> str:
    return File.objects.using(alias).get(key=key).state
