"""Every error of the service, in one tree.

UploadError                     never raised itself; class attributes: code, message, retryable
+- RequestError                 the request is at fault: it becomes the answer
|  +- NotMultipartError  MalformedFormError  MalformedRequestError  FileMissingError  FilenameMissingError
|  +- FilenameRefusedError  KeyRefusedError  MetadataRefusedError  DigestRefusedError
|  +- HeaderRefusedError  EncodingRefusedError  S3ApiMissingError
|  +- TargetTooLongError  HeadTooLargeError  VersionRefusedError  ExpectationRefusedError
|  +- RequestTooLargeError  FileTooLargeError  DigestMismatchError  SizeMismatchError
|  +- TokenMissingError  TokenRefusedError  HostRefusedError  OriginRefusedError
|  +- ClientTooSlowError  ReaderTooSlowError  ClientGoneError
|  +- AckRefusedError  AccountsRefusedError  ListingRefusedError
|  +- KeyTakenError
|  |  +- KeyBusyError
|  +- IdempotencyKeyRefusedError  IdempotencyKeyReusedError  IdempotencyKeyBusyError
|  +- FileNotFoundHereError  RangeRefusedError  ConditionFailedError
+- AccountError(account, operation)    travels inside `Failed`, its cause kept by `from`
|  +- BucketMissingError  WrongRegionError  AccountThrottledError
|  +- AccountUnreachableError  PartRefusedError  KeyOccupiedError  TakenBackError
|  +- LetGoError  ReplicaMissingError  ObjectLockedError  NoSourceError
|  +- ReplacedError  AccountMissingError  OwnershipUnknownError
|  +- AccessRefusedError
|  |  +- DeniedError            (accounts/checkup/probe.py)
|  +- AccountFailingError
|  |  +- EndlessListingError    (s3/listing.py)
|  +- AccountStalledError
|     +- AccountBusyError
+- UnreadableError              no account could return the file
+- BusyError
|  +- ShuttingDownError  LedgerUnavailableError  LeaseLostError
+- CommandRefusedError          an operator's command is refused
|  +- LedgerRefusedError  CopyRefusedError              (ledger/database/)
|  +- RetirementRefusedError  RenamingRefusedError      (ledger/accounts/)
|  +- CleaningRefusedError                              (audit/orphans.py)
+- UnreadableAnswerError        becomes an AccountError inside s3/    (s3/xml.py)
+- WrongAnswerError             a check has failed    (accounts/checkup/checks.py)

`code` is stable and documented in docs/errors.md. `message` is what a client reads: it names a field and a limit,
never the text of a foreign exception. HTTP statuses are in `file/api/responses.py` and, for errors in a head, in
`file/server/responses.py`, not here.
"""

from collections.abc import Sequence
from typing import ClassVar, TypeVar

E = TypeVar("E", bound=BaseException)


def without_frames(error: E) -> E:
    """Remove the tracebacks of an error and its causes.

    A traceback holds frames, and frames hold bytes of parts and connections. Where a frame also holds the error, they
    hold each other until the garbage collector runs.
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
    message = "The service does not accept a header of the request."


class EncodingRefusedError(RequestError):
    code = "encoding_refused"
    message = "The body is in an encoding that the service does not accept."


class TargetTooLongError(RequestError):
    code = "target_too_long"
    message = "The request target is too long."


class HeadTooLargeError(RequestError):
    code = "head_too_large"
    message = "The head of the request is too large."


class VersionRefusedError(RequestError):
    code = "version_refused"
    message = "The service speaks HTTP/1.1."


class ExpectationRefusedError(RequestError):
    code = "expectation_refused"
    message = "The header Expect must be 100-continue."


class S3ApiMissingError(RequestError):
    code = "s3_api_missing"
    message = (
        "This service has no S3 API yet, so clients for S3 do not work with it. Upload with PUT /files/{key} and the "
        "header Authorization: Bearer <token>."
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
    message = "The number of bytes that arrived is not the number that the request declared."


class KeyTakenError(RequestError):
    code = "key_taken"
    message = "The key belongs to another file. That file was not changed."


class KeyBusyError(KeyTakenError):
    code = "key_busy"
    message = "Another upload of this key is running, or the file that had the key is still being erased."
    retryable = True


class AckRefusedError(RequestError):
    code = "ack_refused"
    message = "The header Upload-Ack must be all, quorum, any, or a number of accounts."


class AccountsRefusedError(RequestError):
    code = "accounts_refused"
    message = "The header Upload-Accounts must have names of accounts of this service, separated by commas."


class IdempotencyKeyRefusedError(RequestError):
    code = "idempotency_key_refused"
    message = "The header Idempotency-Key must have 1 to 255 printable ASCII characters."


class IdempotencyKeyReusedError(RequestError):
    code = "idempotency_key_reused"
    message = "The Idempotency-Key was used before, for a file with another name or other bytes."


class IdempotencyKeyBusyError(RequestError):
    code = "idempotency_key_busy"
    message = "An upload with this Idempotency-Key is running."
    retryable = True


class FileNotFoundHereError(RequestError):
    code = "file_not_found"
    message = "The file does not exist."


class ListingRefusedError(RequestError):
    code = "listing_refused"
    message = "A parameter of the listing is not valid."


class RangeRefusedError(RequestError):
    code = "range_refused"
    message = "The header Range begins after the end of the file."


class ConditionFailedError(RequestError):
    """`etag` is the entity tag of the file that has the key, if there is one."""

    code = "condition_failed"
    message = "A condition of the request does not hold."

    def __init__(self, detail: str | None = None, *, etag: str | None = None) -> None:
        self.etag = etag
        super().__init__(detail)


class TokenMissingError(RequestError):
    code = "token_missing"
    message = "Send a token: Authorization: Bearer <token>."


class TokenRefusedError(RequestError):
    code = "token_refused"
    message = "This service does not know the token."


class HostRefusedError(RequestError):
    code = "host_refused"
    message = (
        "The host name in the header Host is not in ALLOWED_HOSTS. A service without tokens answers only under those "
        "names."
    )


class OriginRefusedError(RequestError):
    code = "origin_refused"
    message = "A web page of another site sent the request, and that site is not in CORS_ORIGINS."


class ClientTooSlowError(RequestError):
    code = "client_too_slow"
    message = "The body arrives more slowly than UPLOAD_MIN_BYTES_PER_SECOND."
    retryable = True


class ReaderTooSlowError(RequestError):
    """Happens in the middle of an answer: the connection is closed, and only the log has the code."""

    code = "reader_too_slow"
    message = "The client read the file more slowly than UPLOAD_MIN_BYTES_PER_SECOND."
    retryable = True


class ClientGoneError(RequestError):
    """The connection closed before the last byte: the client gets no answer, only the log has the code."""

    code = "client_gone"
    message = "The client closed the connection before the end of its request."
    retryable = True


class AccountError(UploadError):
    """What went wrong in one account. Travels inside `Failed`; the flow never raises it.

    `unanswered`: the request was sent and no answer came. It may take effect later, so "failed" is not known.
    `s3_code` and `request_id` are those of S3's answer, if there was one.
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
        """It concerns this upload, not the file: the upload was aborted, or its bytes were damaged on the way."""
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
    message = "was not asked: the limit of files that are read from it at the same time is reached"


class PartRefusedError(AccountError):
    code = "part_refused"
    message = "refused what we sent"


class KeyOccupiedError(AccountError):
    code = "key_taken"
    message = "already has another object under this key; that object was not changed"


class TakenBackError(AccountError):
    code = "taken_back"
    message = "was rolled back because another account failed"
    retryable = True


class ReplacedError(AccountError):
    code = "replaced"
    message = "has other bytes under the key than the bytes that were stored there"


class AccountMissingError(AccountError):
    code = "account_missing"
    message = "is not configured any more"


class ObjectLockedError(AccountError):
    code = "object_locked"
    message = "has a lock on the object (a retention period or a legal hold), which only its owner can end"


class OwnershipUnknownError(AccountError):
    """The object under the key may be ours or another's: it is neither removed nor reported as removed."""

    code = "ownership_unknown"
    message = (
        "has an object under the key that may be ours, but does not show who stored it: "
        "it does not return the metadata x-amz-meta-*"
    )


class NoSourceError(AccountError):
    code = "no_source"
    message = "cannot get the file: no account has it any more"
    retryable = True


class LetGoError(AccountError):
    code = "let_go"
    message = "was slower than the other accounts, and the ack does not need it"
    retryable = True


class ReplicaMissingError(AccountError):
    code = "replica_missing"
    message = "no longer has the object that was stored there, or has another object in its place"


class UnreadableError(UploadError):
    """`errors` has one error per replica that was tried."""

    code = "file_unreadable"
    message = "No account can return the file at the moment."
    retryable = True

    def __init__(self, errors: Sequence[AccountError] = ()) -> None:
        self.errors = tuple(errors)
        super().__init__()


class BusyError(UploadError):
    code = "busy"
    message = "The service is busy: no memory for another upload became free in time."
    retryable = True


class ShuttingDownError(BusyError):
    code = "shutting_down"
    message = "The service is shutting down."


class LedgerUnavailableError(BusyError):
    code = "ledger_unavailable"
    message = "The service cannot use its ledger at the moment."


class LeaseLostError(BusyError):
    code = "lease_lost"
    message = (
        "The upload was rolled back: the file was erased during the upload, or the lease of the upload could not be "
        "renewed."
    )


class CommandRefusedError(UploadError):
    """A command of the operator cannot be carried out as it was given. Never an answer to a client."""
