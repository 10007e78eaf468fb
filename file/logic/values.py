"""The values that travel between the rooms. All frozen; none knows how it is stored or sent.

Sizes are bytes, durations seconds. Digests are raw bytes (SHA-256) or whole numbers (CRC64NVME) and become text only
at the edge that needs text. A `repr` of any of them is safe to log: credentials are left out.
"""

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from file.logic.errors import AccountError, KeyOccupiedError

KiB, MiB, GiB = 1024, 1024**2, 1024**3
# What one reader holds at most between an account and the client; 3.4 MiB were measured (docs/operations.md).
READER_BYTES = 4 * MiB

# S3's own rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAX_PARTS = 10_000
MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2 * KiB
# S3 takes 2 KB of such headers; what an account's settings add (encryption, storage class) has to fit, too.
MAX_CONTENT_HEADERS_BYTES = 1536
MAX_FILE_BYTES = 5 * 1024 * GiB

Body = bytes | memoryview  # of a part: sent, hashed and compared as they are, wherever they lie

RESERVED_METADATA = "mentum-"  # entries of ours; a client may not send one that begins so
FILE_ID = "mentum-file-id"
FILE_NAME = "mentum-filename"  # percent-encoded UTF-8: S3's metadata is safe in ASCII only
FILE_SHA256 = "mentum-sha256"
FILE_INSTALLATION = "mentum-installation"  # whose ledger has the file: the id that was made with the ledger
FILE_ACCOUNT_HASHES = "mentum-account-hashes"  # of the names of those that shall have the file, separated by commas
FILE_ACCOUNTS = "mentum-accounts"  # the names themselves, as earlier releases wrote them
FILE_HEADERS = "mentum-headers"  # the names of its content headers: a store may show some of its own

# Headers that say what the bytes mean, besides Content-Type: kept with every object, and given back.
CONTENT_HEADERS = ("content-encoding", "content-language", "content-disposition", "cache-control", "expires")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One AWS account: the JSON of `AWS_ACCOUNT_<name>`, with the defaults filled in."""

    name: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    region_name: str
    s3_bucket_name: str
    endpoint_url: str | None = None
    allow_http: bool = False
    session_token: str | None = field(default=None, repr=False)
    prefix: str = ""
    expected_bucket_owner: str | None = None
    server_side_encryption: str | None = None
    kms_key_id: str | None = None
    storage_class: str | None = None
    addressing: str | None = None  # "virtual", "path", or None: decided by address.py
    conditional_writes: bool = True
    checksums: bool = True
    versions: bool = True  # False: the store knows no versions of an object, or keeps none and does not list them


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one upload, one account and all uploads together may take. docs/settings.md says what each is for."""

    memory: int = 192 * MiB
    part_size: int = 8 * MiB
    parts_in_flight: int = 3  # a lane: as many workers, and one part more waiting
    wait_seconds: float = 10.0
    stall_seconds: float = 30.0
    account_bytes_per_second: int = 256 * KiB
    complete_seconds: float = 120.0
    remove_seconds: float = 10.0
    settle_seconds: float = 2.0
    grace_seconds: float = 0.5
    attempts: int = 4

    @property
    def readers(self) -> int:
        """How many files may be read at once: their buffers take as much memory as the parts of uploads may."""
        return self.memory // READER_BYTES


class FileState(StrEnum):
    """What became of a file. Only `stored` and `partial` were acknowledged and exist for a reader."""

    RECEIVING = "receiving"
    STORED = "stored"
    PARTIAL = "partial"  # the ack is met, some accounts will follow
    ERASING = "erasing"
    ERASED = "erased"


class ReplicaState(StrEnum):
    """What became of a file in one account."""

    PENDING = "pending"
    STORED = "stored"
    BLOCKED = "blocked"  # for good, unless someone acts
    ERASING = "erasing"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Ack:
    """How many accounts must have a file before the client is told yes: `all`, `quorum`, `any`, or a number."""

    text: str = "all"

    def needed(self, accounts: int) -> int:
        """Of so many accounts. May be more than there are: see `placement`."""
        named = {"all": accounts, "quorum": accounts // 2 + 1, "any": 1}
        return named[self.text] if self.text in named else int(self.text)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which file it is: its object key (without an account's prefix) and the name that its sender gave it."""

    key: str
    name: str
    key_is_chosen: bool = False  # by the sender; if not, a repetition has another one


@dataclass(frozen=True, slots=True)
class DeclaredDigest:
    """What is said of bytes before they come. `algorithm` is one of `hashing.ALGORITHMS`; `by` is for people."""

    algorithm: str
    digest: bytes
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingFile:
    """A file as it arrives.

    `size` is exact or None; `at_most` is an upper bound where the request gives one. `identify` is called once, when
    the first byte is about to leave for the accounts: until then a form may still name the file. `expected_id`: nothing
    is stored; the request may only repeat the upload of this file, which has the key.
    """

    id: str
    chunks: AsyncIterator[bytes]
    identify: Callable[[], Identity]
    size: int | None = None
    at_most: int | None = None
    content_type: str = "application/octet-stream"
    content_headers: Mapping[str, str] = field(default_factory=dict)  # some of CONTENT_HEADERS
    metadata: Mapping[str, str] = field(default_factory=dict)
    declared: tuple[DeclaredDigest, ...] = ()
    who: str = ""
    idempotency_key: str | None = None
    expected_id: str | None = None

    @property
    def sha256(self) -> bytes | None:
        """As it was declared, if it was."""
        return next((each.digest for each in self.declared if each.algorithm == "sha-256"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDescription:
    """What a bucket needs to know of the object that it is to hold, besides its bytes."""

    file_id: str
    key: str
    content_type: str
    metadata: Mapping[str, str]
    content_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes as S3 wants them. One `body`, shared by all lanes, never copied an account."""

    number: int
    body: Body = field(repr=False)
    crc64nvme: int


@dataclass(frozen=True, slots=True)
class Digests:
    """What was computed while the bytes came in."""

    size: int
    sha256: bytes
    crc64nvme: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an account shall have a file."""

    account: str
    bucket: str
    object_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The ledger's first entry of an upload: what is about to be sent where. `sha256` and `size` as far as known.

    `part_size` is None for a file that is one put an account: then there are no multipart uploads to look for.
    """

    id: str
    key: str
    key_is_chosen: bool
    name: str
    content_type: str
    metadata: Mapping[str, str]
    size: int | None
    sha256: bytes | None
    part_size: int | None
    ack: str
    places: tuple[Place, ...]
    who: str
    idempotency_key: str | None
    content_headers: Mapping[str, str] = field(default_factory=dict)
    expected_id: str | None = None  # claim nothing: this file is to have the key


def checksum_text(crc64nvme: int) -> str:
    """S3's form of a CRC64NVME: base64 of its eight bytes, big-endian."""
    return base64.b64encode(crc64nvme.to_bytes(8, "big")).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An account has the whole file; S3 itself said so. `checked_by` names what S3 checked the bytes against."""

    account: str
    bucket: str
    object_key: str
    etag: str
    version_id: str | None
    request_id: str | None
    checked_by: str = "crc64nvme"


class Removal(StrEnum):
    """What is left in an account after an upload that failed: nothing, or something that could not be ruled out."""

    REMOVED = "removed"
    PENDING = "removal_pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An account does not have the file, why, and whether anything may still be there, or (`unanswered`) land there."""

    account: str
    bucket: str
    object_key: str
    error: AccountError
    removal: Removal = Removal.REMOVED
    unanswered: bool = False
    fenced: bool = True  # what lands late overwrites nothing

    @property
    def request_id(self) -> str | None:
        """S3's own, if it answered."""
        return self.error.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An account does not have the file yet: the ack is met without it. `code` is the error's that held it up."""

    account: str
    bucket: str
    object_key: str
    code: str | None = None
    retryable: bool = True
    request_id: str | None = None


Outcome = Stored | Failed | Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """All outcomes of one file. Digests are None when the body was not read to its end.

    `repeated`: this is the receipt of an earlier upload, whose repetition the request was. `acknowledged`: as many
    accounts have it as the ack wants; if not, it was taken back everywhere. `stored`: all of them have it.
    """

    id: str
    key: str
    name: str
    content_type: str
    digests: Digests | None
    outcomes: tuple[Outcome, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_headers: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    stored_at: datetime | None = None
    repeated: bool = False
    acknowledged: bool = field(init=False)
    stored: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "acknowledged", not any(isinstance(o, Failed) for o in self.outcomes))
        object.__setattr__(self, "stored", all(isinstance(o, Stored) for o in self.outcomes))

    @property
    def state(self) -> FileState:
        """Of an acknowledged file."""
        return FileState.STORED if self.stored else FileState.PARTIAL

    @property
    def key_taken(self) -> bool:
        return any(isinstance(o, Failed) and isinstance(o.error, KeyOccupiedError) for o in self.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A line of a listing: an acknowledged file without its accounts."""

    id: str
    key: str
    name: str
    size: int
    content_type: str
    sha256: bytes
    state: FileState
    created_at: datetime
    stored_at: datetime
