"""Every error of the service, in one tree.

UploadError                     never raised itself; class attributes: code, message, retryable
+- RequestError                 the client's fault, or a rule of ours that the request met
|  +- NotMultipartError  MalformedFormError  MalformedRequestError  FileMissingError  FilenameMissingError
|  +- FilenameRefusedError  KeyRefusedError  MetadataRefusedError  DigestRefusedError
|  +- HeaderRefusedError  EncodingRefusedError  S3ApiMissingError
|  +- RequestTooLargeError  FileTooLargeError  DigestMismatchError  SizeMismatchError
|  +- TokenMissingError  TokenRefusedError  HostRefusedError  OriginRefusedError
|  +- ClientTooSlowError  ReaderTooSlowError  ClientGoneError
|  +- AckRefusedError  AccountsRefusedError  ListingRefusedError
|  +- KeyTakenError
|  |  +- KeyBusyError
|  +- IdempotencyKeyRefusedError  IdempotencyKeyReusedError  IdempotencyKeyBusyError
|  +- FileNotFoundHereError  RangeRefusedError  ConditionFailedError
+- AccountError(account, operation)    travels inside `Failed`, its cause kept by `from`
|  +- AccessRefusedError  BucketMissingError  WrongRegionError  AccountThrottledError  AccountFailingError
|  +- AccountUnreachableError  PartRefusedError  KeyOccupiedError  TakenBackError
|  +- LetGoError  ReplicaMissingError  ObjectLockedError  NoSourceError
|  +- ReplacedError  AccountMissingError  OwnershipUnknownError
|  +- AccountStalledError
|     +- AccountBusyError
+- UnreadableError                no account could give the file
+- BusyError
   +- ShuttingDownError  LedgerUnavailableError  LeaseLostError

`code` is stable and documented in docs/errors.md. `message` is what a client reads: it names a field and a limit,
never the text of a foreign exception. HTTP statuses live in `file/api/responses.py`, not here.
"""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """A traceback holds frames, and they what was being done: the bytes of parts that were given back, a connection
    that was answered. Where a frame holds the error, too, they hold each other, which may stay for long.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__context__ or link.__cause__
    return error


class UploadError(Exception):
    """The root: catch it, never raise it."""

    code: ClassVar[str] = "upload_error"
    message: ClassVar[str] = "The upload failed."
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or self.message
        super().__init__(self.detail)


class RequestError(UploadError):
    """The request cannot be carried out as it was sent."""

    code = "bad_request"
    message = "The request cannot be carried out."


class NotMultipartError(RequestError):
    code = "not_multipart"
    message = "POST /upload takes multipart/form-data with a boundary."


class MalformedFormError(RequestError):
    code = "malformed_form"
    message = "The form is not well-formed multipart/form-data."


class MalformedRequestError(RequestError):
    code = "malformed_request"
    message = "The request is malformed."


class FileMissingError(RequestError):
    code = "file_missing"
    message = "The form has no field `file`."


class FilenameMissingError(RequestError):
    code = "filename_missing"
    message = "The file has no name: send a field `filename`, or a name with the field `file`."


class FilenameRefusedError(RequestError):
    code = "filename_refused"
    message = "The field `filename` cannot be used."


class KeyRefusedError(RequestError):
    code = "key_refused"
    message = "The key in the path cannot be used."


class MetadataRefusedError(RequestError):
    code = "metadata_refused"
    message = "The metadata cannot be stored."


class HeaderRefusedError(RequestError):
    code = "header_refused"
    message = "A header of the request is not taken."


class EncodingRefusedError(RequestError):
    code = "encoding_refused"
    message = "The body comes in an encoding that is not taken."


class S3ApiMissingError(RequestError):
    code = "s3_api_missing"
    message = (
        "This service has no S3 API yet: a client for S3 cannot be used. Upload with PUT /files/{key} and the header "
        "Authorization: Bearer <token>."
    )


class DigestRefusedError(RequestError):
    code = "digest_refused"
    message = "A digest of the request cannot be read or checked."


class RequestTooLargeError(RequestError):
    code = "request_too_large"
    message = "The request is larger than UPLOAD_MAX_REQUEST_BYTES."


class FileTooLargeError(RequestError):
    code = "file_too_large"
    message = "The file is too large for this service."


class DigestMismatchError(RequestError):
    code = "digest_mismatch"
    message = "The bytes that arrived do not have the digest that the request declared."


class SizeMismatchError(RequestError):
    code = "size_mismatch"
    message = "The bytes that arrived are not as many as the request declared."


class KeyTakenError(RequestError):
    code = "key_taken"
    message = "The key belongs to another file. What lies there was not touched."


class KeyBusyError(KeyTakenError):
    code = "key_busy"
    message = "The key is being uploaded right now, or what was there is still being erased."
    retryable = True


class AckRefusedError(RequestError):
    code = "ack_refused"
    message = "The header Upload-Ack is all, quorum, any, or a number of accounts."


class AccountsRefusedError(RequestError):
    code = "accounts_refused"
    message = "The header Upload-Accounts names accounts of this service, separated by commas."


class IdempotencyKeyRefusedError(RequestError):
    code = "idempotency_key_refused"
    message = "The header Idempotency-Key is 1 to 255 printable ASCII characters."


class IdempotencyKeyReusedError(RequestError):
    code = "idempotency_key_reused"
    message = "The Idempotency-Key was used for a file of another name or with other bytes."


class IdempotencyKeyBusyError(RequestError):
    code = "idempotency_key_busy"
    message = "An upload with this Idempotency-Key is under way."
    retryable = True


class FileNotFoundHereError(RequestError):
    code = "file_not_found"
    message = "There is no such file."


class ListingRefusedError(RequestError):
    code = "listing_refused"
    message = "The listing cannot be made as it was asked for."


class RangeRefusedError(RequestError):
    code = "range_refused"
    message = "The header Range begins after the end of the file."


class ConditionFailedError(RequestError):
    """`etag` is of the file that has the key, if one has it."""

    code = "condition_failed"
    message = "The file is not what a condition of the request says."

    def __init__(self, detail: str | None = None, *, etag: str | None = None) -> None:
        self.etag = etag
        super().__init__(detail)


class TokenMissingError(RequestError):
    code = "token_missing"
    message = "Send a token: Authorization: Bearer <token>."


class TokenRefusedError(RequestError):
    code = "token_refused"
    message = "The token is not one of this service's."


class HostRefusedError(RequestError):
    code = "host_refused"
    message = "The header Host names none of ALLOWED_HOSTS, and this service asks for no token."


class OriginRefusedError(RequestError):
    code = "origin_refused"
    message = "The request comes from a page of another site that is not in CORS_ORIGINS."


class ClientTooSlowError(RequestError):
    code = "client_too_slow"
    message = "The body arrives slower than UPLOAD_MIN_BYTES_PER_SECOND."
    retryable = True


class ReaderTooSlowError(RequestError):
    """Comes in the middle of an answer: the connection is broken off, and the log is told."""

    code = "reader_too_slow"
    message = "The file was taken slower than UPLOAD_MIN_BYTES_PER_SECOND."
    retryable = True


class ClientGoneError(RequestError):
    """The connection closed before the last byte: nobody is left to be told, the log is."""

    code = "client_gone"
    message = "The client closed the connection before its last byte."
    retryable = True


class AccountError(UploadError):
    """What went wrong in one account. Travels inside `Failed`; the flow never raises it.

    `unanswered` says that the request was sent and no answer came: it may land later, so "failed" is not known.
    `s3_code` and `request_id` are S3's own, where it answered.
    """

    code = "account_error"
    message = "could not carry out the request"

    def __init__(
        self,
        account: str,
        operation: str,
        detail: str | None = None,
        *,
        unanswered: bool = False,
        s3_code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self.account = account
        self.operation = operation
        self.unanswered = unanswered
        self.s3_code = s3_code
        self.request_id = request_id
        super().__init__(f"Account {account} {detail or self.message}.")

    @property
    def passes_with_another_upload(self) -> bool:
        """It is about this upload, not about the file: somebody aborted it, or its bytes were damaged on their way."""
        return self.s3_code in ("NoSuchUpload", "InvalidPart", "InvalidPartOrder", "BadDigest", "IncompleteBody")


class AccessRefusedError(AccountError):
    code = "access_refused"
    message = "refused our credentials"


class BucketMissingError(AccountError):
    code = "bucket_missing"
    message = "has no bucket of the configured name (s3_bucket_name)"


class WrongRegionError(AccountError):
    code = "wrong_region"
    message = "keeps its bucket in another region than the configured one (region_name)"


class AccountThrottledError(AccountError):
    code = "account_throttled"
    message = "asks us to slow down"
    retryable = True


class AccountFailingError(AccountError):
    code = "account_failing"
    message = "answers with an error of its own"
    retryable = True


class AccountUnreachableError(AccountError):
    code = "account_unreachable"
    message = "cannot be reached, or dropped the connection"
    retryable = True


class AccountStalledError(AccountError):
    code = "account_stalled"
    message = "did not answer in time"
    retryable = True


class AccountBusyError(AccountStalledError):
    code = "account_busy"
    message = "was not asked: as many files as may be are being read from it"


class PartRefusedError(AccountError):
    code = "part_refused"
    message = "refused what we sent"


class KeyOccupiedError(AccountError):
    code = "key_taken"
    message = "already has another object under this key, which was not touched"


class TakenBackError(AccountError):
    code = "taken_back"
    message = "was given up because another account does not have the file"
    retryable = True


class ReplacedError(AccountError):
    code = "replaced"
    message = "has other bytes under the key than were stored there"


class AccountMissingError(AccountError):
    code = "account_missing"
    message = "is not configured any more"


class ObjectLockedError(AccountError):
    code = "object_locked"
    message = "keeps the object locked: a retention period or a legal hold, which only its owner can end"


class OwnershipUnknownError(AccountError):
    """What lies under the key may be ours, and may be another's: it is neither removed nor called removed."""

    code = "ownership_unknown"
    message = (
        "has an object under the key that may be ours, and does not show whose it is: "
        "it gives the metadata x-amz-meta-* not back"
    )


class NoSourceError(AccountError):
    code = "no_source"
    message = "cannot be given the file: no account has it any more"
    retryable = True


class LetGoError(AccountError):
    code = "let_go"
    message = "was slower than the others, and the ack does not need it"
    retryable = True


class ReplicaMissingError(AccountError):
    code = "replica_missing"
    message = "no longer has the object that we stored there, or has another in its place"


class UnreadableError(UploadError):
    """`errors` has one a replica that was tried."""

    code = "file_unreadable"
    message = "No account can give the file at the moment."
    retryable = True

    def __init__(self, errors: Sequence[AccountError] = ()) -> None:
        self.errors = tuple(errors)
        super().__init__()


class BusyError(UploadError):
    code = "busy"
    message = "The service is busy: no memory for another upload came free in time."
    retryable = True


class ShuttingDownError(BusyError):
    code = "shutting_down"
    message = "The service is shutting down."


class LedgerUnavailableError(BusyError):
    code = "ledger_unavailable"
    message = "The service cannot write to its ledger."


class LeaseLostError(BusyError):
    code = "lease_lost"
    message = "The upload was taken back: the file was erased meanwhile, or its lease could not be renewed."
