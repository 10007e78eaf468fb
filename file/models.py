"""The tables of the ledger: one `File` per file, one `Replica` per file and account, and the uploads under way.

The path of an upload writes by SQL (`file/ledger/commit/statements.py`, `sqlite.py`); all other code uses these
models. `file/ledger/states.py` has every state and transition.
The indexes are partial, so that they contain only rows under way: a concluded file has no `lease_until`, a finished
replica no `due_at`. Queries must repeat the condition of an index literally: otherwise SQLite does not use it.
"""

from typing import TYPE_CHECKING, Any, ClassVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from file.logic.values import FileState, ReplicaState

if TYPE_CHECKING:
    _Text = models.TextField[str, str]
else:
    _Text = models.TextField  # not subscriptable at run time


class KeyField(_Text):
    """Compared and sorted byte by byte on every database, so that a prefix and a cursor can use the index."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)
        return parameters | {"collation": "C"} if connection.vendor == "postgresql" else parameters


class File(models.Model):
    """One file. `wanted`: account name to `bucket/prefix`. `owner`: the process that receives it. `lease_until` (the
    database's clock): the end of its lease; later the clean-up may take over. Only live files hold their key.
    """

    id = models.UUIDField(primary_key=True, help_text="UUIDv7, and in the metadata of every object of it")
    key = KeyField(help_text="object key without an account's prefix")
    live = models.BooleanField(default=True, help_text="holds its key")
    name = models.TextField()
    content_type = models.TextField()
    size = models.BigIntegerField(null=True, help_text="bytes; of what was declared until it is stored")
    sha256 = models.CharField(max_length=64, null=True, help_text="hexadecimal")
    crc64nvme = models.CharField(max_length=12, null=True, help_text="base64, as S3 has it")
    metadata = models.JSONField(default=dict)
    content_headers = models.JSONField(null=True, help_text="Content-Encoding and the like, if some were sent")
    part_size = models.BigIntegerField(null=True, help_text="bytes; none for a file that was one put an account")
    ack = models.CharField(max_length=16)
    wanted = models.JSONField(default=dict)
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in FileState])
    who = models.CharField(max_length=64)
    idempotency_key = models.CharField(max_length=255, null=True)
    owner = models.CharField(max_length=32, null=True)
    lease_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    stored_at = models.DateTimeField(null=True)
    key_hash = models.CharField(max_length=64, null=True, help_text="keyed; of a file that is to be erased, or was")
    erased_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key"], condition=models.Q(live=True), name="one_live_file_a_key"),
            models.UniqueConstraint(
                fields=["who", "idempotency_key"],
                condition=models.Q(idempotency_key__isnull=False),
                name="one_file_an_idempotency_key",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["lease_until"], condition=models.Q(lease_until__isnull=False), name="file_leases"),
            models.Index(fields=["key"], condition=models.Q(state="partial"), name="file_partial"),
            models.Index(fields=["key_hash"], condition=models.Q(key_hash__isnull=False), name="file_erased"),
        ]

    def __str__(self) -> str:
        return self.key or str(self.id)


class Replica(models.Model):
    """One file in one account. Its worker is `owner` and has it until `due_at`; see `file/ledger/states.py`."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="replicas", db_index=False)
    account = models.CharField(max_length=64)
    bucket = models.CharField(max_length=255)
    object_key = models.TextField()
    state = models.CharField(max_length=16, choices=[(state.value, state.value) for state in ReplicaState])
    etag = models.TextField(null=True)
    version_id = models.TextField(null=True)
    checksum = models.CharField(max_length=64, null=True, help_text="what S3 checked the bytes against")
    request_id = models.TextField(null=True)
    attempts = models.IntegerField(default=0, help_text="failed ones in a row")
    owner = models.CharField(max_length=32, null=True)
    due_at = models.DateTimeField(null=True, help_text="from then on any worker may take it")
    begun_until = models.DateTimeField(null=True, help_text="until then an upload may have begun that is not noted")
    last_look = models.BooleanField(null=True, help_text="of an erasing one: the account must confirm only once more")
    error_code = models.CharField(max_length=64, null=True)
    created_at = models.DateTimeField()
    stored_at = models.DateTimeField(null=True)
    verified_at = models.DateTimeField(null=True, help_text="when the account last showed it as it was stored")
    erased_at = models.DateTimeField(null=True)
    strangers = models.IntegerField(null=True, help_text="versions of others under the key, seen when ours was erased")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["file", "account"], name="one_replica_an_account")]
        indexes: ClassVar = [
            models.Index(
                fields=["account", "state", "due_at"],
                condition=models.Q(due_at__isnull=False),
                name="replica_due",
            ),
            models.Index(
                fields=["account", "state", "created_at"],
                condition=models.Q(state__in=["pending", "blocked", "erasing"]),
                name="replica_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account}: {self.object_key}"


class RetiredAccount(models.Model):
    """An account that gets no new files, even if it is configured. `keeps`: its files stay there."""

    name = models.CharField(max_length=64, primary_key=True)
    keeps = models.BooleanField()
    retired_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Installation(models.Model):
    """An installation whose objects are ours. `is_own`: its id is in new objects; the others were adopted.

    `behind_at`: when an object was found that only a later state of this ledger knows: this ledger is an older copy.
    """

    id = models.CharField(max_length=36, primary_key=True, help_text="UUID, and in the metadata of every object")
    is_own = models.BooleanField()
    created_at = models.DateTimeField()
    behind_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["is_own"], condition=models.Q(is_own=True), name="one_own_installation")
        ]

    def __str__(self) -> str:
        return self.id


class GivenUpFile(models.Model):
    """A file that was never acknowledged, and that no account has any more. An object of it may still arrive late."""

    id = models.UUIDField(primary_key=True)
    given_up_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.id)


class OpenUpload(models.Model):
    """A multipart upload under way in an account. No `upload_id`: an upload may be open whose id is unknown."""

    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="open_uploads")
    account = models.CharField(max_length=64)
    upload_id = models.TextField(null=True)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.account}: {self.upload_id}"
