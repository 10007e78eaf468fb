"""The values that are passed between modules. All are frozen, and independent of how they are stored or sent.

Sizes are bytes, durations are seconds. Digests are raw bytes (SHA-256) or whole numbers (CRC64NVME), and become text
only where text is needed. Every `repr` is safe to log: it has no credentials.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from file.logic.errors import AccountError, KeyOccupiedError

KiB, MiB, GiB = 1024, 1024**2, 1024**3
# The most memory of one reader between an account and the client; 3.4 MiB were measured (docs/operations.md).
READER_BYTES = 4 * MiB

# S3's own rules: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MAX_PARTS = 10_000
MAX_KEY_BYTES = 1024
MAX_METADATA_BYTES = 2 * KiB
# S3 accepts 2 KB of these headers, including those of an account's options (encryption, storage class).
MAX_CONTENT_HEADERS_BYTES = 1536
MAX_FILE_BYTES = 5 * 1024 * GiB

Body = bytes | memoryview  # the bytes of a part; every type here can be sent, hashed, and compared without a copy

RESERVED_METADATA = "mentum-"  # the prefix of our entries; clients may not send entries with it
FILE_ID = "mentum-file-id"
FILE_NAME = "mentum-filename"  # percent-encoded UTF-8: S3's metadata is safe in ASCII only
FILE_SHA256 = "mentum-sha256"
FILE_INSTALLATION = "mentum-installation"  # the id of the ledger that has the file
FILE_ACCOUNT_HASHES = "mentum-account-hashes"  # hashes of the names of the file's accounts, separated by commas
FILE_ACCOUNTS = "mentum-accounts"  # the names themselves, as earlier releases wrote them
FILE_HEADERS = "mentum-headers"  # the names of its content headers, because a store may add its own

# Headers that change the meaning of the bytes, besides Content-Type: stored with every object, and returned.
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
    """The limits of one upload, of one account, and of all uploads together. docs/settings.md explains each."""

    memory: int = 192 * MiB
    part_size: int = 8 * MiB
    parts_in_flight: int = 3  # per lane: the number of workers; one more part may wait
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
        """How many files may be read at once: their buffers may use as much memory as the parts of uploads."""
        return self.memory // READER_BYTES


class FileState(StrEnum):
    """The state of a file. Only `stored` and `partial` files are acknowledged and can be read."""

    RECEIVING = "receiving"
    STORED = "stored"
    PARTIAL = "partial"  # the ack is met, some accounts will follow
    ERASING = "erasing"
    ERASED = "erased"


class ReplicaState(StrEnum):
    """The state of a file in one account."""

    PENDING = "pending"
    STORED = "stored"
    BLOCKED = "blocked"  # until a person acts
    ERASING = "erasing"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Ack:
    """How many accounts must have a file before the client gets a success: `all`, `quorum`, `any`, or a number."""

    text: str = "all"

    def needed(self, accounts: int) -> int:
        """The number of accounts needed, of `accounts`. It may be larger than that: see `placement`."""
        named = {"all": accounts, "quorum": accounts // 2 + 1, "any": 1}
        return named[self.text] if self.text in named else int(self.text)


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a file: its key (without an account's prefix), and the name from its sender."""

    key: str
    name: str
    key_is_chosen: bool = False  # by the sender; otherwise a repetition gets another key


@dataclass(frozen=True, slots=True)
class DeclaredDigest:
    """A digest that the client declared. `algorithm`: one of `hashing.ALGORITHMS`; `by`: the header, for messages."""

    algorithm: str
    digest: bytes
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingFile:
    """A file as it arrives.

    `size` is exact or None; `at_most` is an upper bound if the request gives one. `read_into` may be used in place of
    `chunks`: it receives the next bytes straight into memory, and returns their number, 0 at the end. `identify` is
    called once, before the first byte is sent to the accounts: until then a form may still give the file's name.
    `expected_id`: nothing is stored; the request may only repeat the upload of this file, which has the key.
    """

    id: str
    chunks: AsyncIterator[bytes]
    read_into: Callable[[memoryview], Awaitable[int]] | None = None
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
        """The declared SHA-256, if there is one."""
        return next((each.digest for each in self.declared if each.algorithm == "sha-256"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectDescription:
    """The description of an object to store, without its bytes."""

    file_id: str
    key: str
    content_type: str
    metadata: Mapping[str, str]
    content_headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes as S3 receives them. All lanes share one `body`; it is never copied per account."""

    number: int
    body: Body = field(repr=False)
    crc64nvme: int


@dataclass(frozen=True, slots=True)
class Digests:
    """The digests, computed while the bytes arrived."""

    size: int
    sha256: bytes
    crc64nvme: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file goes, or is, in an account."""

    account: str
    bucket: str
    object_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The first entry of an upload in the ledger: what will be sent where. `sha256` and `size` if they are known.

    `part_size` is None for a file that is one put per account, which has no multipart uploads.
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
    expected_id: str | None = None  # claim nothing: this file must have the key


def checksum_text(crc64nvme: int) -> str:
    """A CRC64NVME as S3 writes it: base64 of its eight bytes, big-endian."""
    return base64.b64encode(crc64nvme.to_bytes(8, "big")).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Place):
    """The account has the whole file, as S3 itself confirmed. `checked_by`: the checksum that S3 compared."""

    etag: str
    version_id: str | None
    request_id: str | None
    checked_by: str = "crc64nvme"


class Removal(StrEnum):
    """What a failed upload left in an account: nothing, or possibly something."""

    REMOVED = "removed"
    PENDING = "removal_pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Place):
    """The account does not have the file: why, and whether something may be left, or may arrive (`unanswered`)."""

    error: AccountError
    removal: Removal = Removal.REMOVED
    unanswered: bool = False
    fenced: bool = True  # an object that arrives late overwrites nothing

    @property
    def request_id(self) -> str | None:
        """The request id of S3, if it answered."""
        return self.error.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending(Place):
    """The account does not have the file yet; the ack is met without it. `code`: the code of the error, if any."""

    code: str | None = None
    retryable: bool = True
    request_id: str | None = None


Outcome = Stored | Failed | Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """All outcomes of one file. Digests are None if the body was not read to its end.

    `repeated`: the receipt of an earlier upload, which the request repeats. `acknowledged`: enough accounts for the ack
    have it; if not, it was rolled back. `stored`: all accounts have it.
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
        """The state of an acknowledged file."""
        return FileState.STORED if self.stored else FileState.PARTIAL

    @property
    def key_taken(self) -> bool:
        return any(isinstance(o, Failed) and isinstance(o.error, KeyOccupiedError) for o in self.outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An entry of a listing: an acknowledged file without its accounts."""

    id: str
    key: str
    name: str
    size: int
    content_type: str
    sha256: bytes
    state: FileState
    created_at: datetime
    stored_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureOfAccount:
    """`erased_at`: when the account confirmed that it has nothing of the file; None: it may have. `code`: the code of
    the error that prevents it. `strangers`: the number of versions of others under the key, which were not touched.
    """

    account: str
    bucket: str
    erased_at: datetime | None
    code: str | None = None
    strangers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The progress of an erasure; it contains nothing about the content or the name of the file.

    `key_hash`: keyed, so that it can be recognised only with the file's key. `size`: bytes, if known. `stored_at` is
    None for a file that was erased while it was being received.
    """

    id: str
    key_hash: str
    size: int | None
    created_at: datetime
    stored_at: datetime | None
    erased_at: datetime | None
    accounts: tuple[ErasureOfAccount, ...]

    @property
    def is_done(self) -> bool:
        """Whether every account confirmed that it has nothing of the file."""
        return self.erased_at is not None
