"""What S3's refusals become: each code that it documents, and each status without a code, is one of our errors."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from file.logic import errors
from file.logic.errors import (
    AccessRefusedError,
    AccountError,
    AccountFailingError,
    AccountMissingError,
    AccountStalledError,
    AccountThrottledError,
    AccountUnreachableError,
    BucketMissingError,
    KeyOccupiedError,
    LetGoError,
    NoSourceError,
    ObjectLockedError,
    OwnershipUnknownError,
    PartRefusedError,
    ReplacedError,
    ReplicaMissingError,
    TakenBackError,
    WrongRegionError,
)
from file.logic.values import Account
from file.s3.errors import account_error

OPERATIONS = (
    "put begin part complete abort head get delete list_versions list_uploads list_parts probe something_new"
).split()

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and what other stores add.
CODES_BY_STATUS = {
    301: "PermanentRedirect PermanentRedirectControlError",
    304: "NotModified",
    307: "Redirect TemporaryRedirect",
    400: "AccessControlListNotSupported AmbiguousGrantByEmailAddress AuthorizationHeaderMalformed "
    "AuthorizationQueryParametersError BadDigest BucketHasAccessPointsAttached ConnectionClosedByRequester "
    "CredentialsNotSupported EncryptionTypeMismatch EndpointNotFound EntityTooLarge EntityTooSmall ExpiredToken "
    "IdempotencyParameterMismatch IllegalLocationConstraintException IllegalVersioningConfigurationException "
    "IncompleteBody IncorrectEndpoint IncorrectNumberOfFilesInPostRequest InlineDataTooLarge InvalidAccessPoint "
    "InvalidAccessPointAliasError InvalidAddressingHeader InvalidArgument InvalidBucketAclWithObjectOwnership "
    "InvalidBucketName InvalidBucketOwnerAWSAccountID InvalidDigest InvalidEncryptionAlgorithmError InvalidHostHeader "
    "InvalidHttpMethod InvalidLocationConstraint InvalidPart InvalidPartOrder InvalidPolicyDocument InvalidRequest "
    "InvalidSOAPRequest InvalidSessionException InvalidSignature InvalidStorageClass InvalidTag "
    "InvalidTargetBucketForLogging InvalidToken InvalidTokenId InvalidURI InvalidWriteOffset KMS.DisabledException "
    "KMS.InvalidKeyUsageException KMS.KMSInvalidStateException KMS.NotFoundException KMS.ThrottlingException "
    "KeyTooLongError MalformedACLError MalformedPOSTRequest MalformedPolicy MalformedXML MaxMessageLengthExceeded "
    "MaxPostPreDataLengthExceededError MetadataTooLarge MissingAttachment MissingRequestBodyError "
    "MissingSecurityElement MissingSecurityHeader NoLoggingStatusForKey RequestHeaderSectionTooLarge "
    "RequestIsNotMultiPartContent RequestTimeout RequestTorrentOfBucketError ResponseInterrupted "
    "ServerSideEncryptionConfigurationNotFoundError TokenCodeInvalidError TokenRefreshRequired TooManyBuckets "
    "TooManyParts UnexpectedContent UnresolvableGrantByEmailAddress UnsupportedArgument UnsupportedSignature "
    "UserKeyMustBeSpecified XAmzContentChecksumMismatch XAmzContentSHA256Mismatch",
    403: "AccessDenied AccountProblem AllAccessDisabled CrossLocationLoggingProhibited InvalidAccessKeyId "
    "InvalidObjectState InvalidPayer InvalidRegion InvalidSecurity MissingAuthenticationToken NotSignedUp "
    "QuotaExceeded RequestExpired RequestTimeTooSkewed SignatureDoesNotMatch UnauthorizedAccess "
    "UnauthorizedAccessError UnexpectedIPError",
    404: "NoSuchAccessPoint NoSuchBucket NoSuchBucketPolicy NoSuchKey NoSuchLifecycleConfiguration NoSuchUpload "
    "NoSuchVersion ObjectLockConfigurationNotFoundError OwnershipControlsNotFoundError",
    405: "MethodNotAllowed",
    409: "BucketAlreadyExists BucketAlreadyOwnedByYou BucketNotEmpty ClientTokenConflict ConditionalRequestConflict "
    "InvalidBucketState OperationAborted RestoreAlreadyInProgress",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    415: "UnsupportedMediaType",
    416: "InvalidRange",
    429: "TooManyRequests TooManyRequestsException",
    500: "InternalError",
    501: "NotImplemented",
    503: "BandwidthLimitExceeded RequestLimitExceeded ServiceUnavailable SlowDown SlowDownRead SlowDownWrite",
    507: "XMinioStorageFull",
}
EVERY_CODE = [(status, code) for status, codes in CODES_BY_STATUS.items() for code in codes.split()]

EXPECTED = [
    (403, "AccessDenied", AccessRefusedError),
    (403, "SignatureDoesNotMatch", AccessRefusedError),
    (403, "InvalidAccessKeyId", AccessRefusedError),
    (400, "ExpiredToken", AccessRefusedError),
    (400, "InvalidToken", AccessRefusedError),
    (403, "RequestTimeTooSkewed", AccessRefusedError),
    (403, "AllAccessDisabled", AccessRefusedError),
    (400, "KMS.NotFoundException", AccessRefusedError),
    (401, None, AccessRefusedError),
    (403, None, AccessRefusedError),
    (403, "SomethingNew", AccessRefusedError),
    (404, "NoSuchBucket", BucketMissingError),
    (301, "PermanentRedirect", WrongRegionError),
    (301, None, WrongRegionError),
    (302, None, WrongRegionError),
    (308, None, WrongRegionError),
    (400, "AuthorizationHeaderMalformed", WrongRegionError),
    (400, "IllegalLocationConstraintException", WrongRegionError),
    (503, "SlowDown", AccountThrottledError),
    (503, "ServiceUnavailable", AccountThrottledError),
    (503, None, AccountThrottledError),
    (429, None, AccountThrottledError),
    (400, "RequestLimitExceeded", AccountThrottledError),
    (500, "InternalError", AccountFailingError),
    (200, "InternalError", AccountFailingError),
    (500, None, AccountFailingError),
    (502, None, AccountFailingError),
    (504, None, AccountFailingError),
    (520, None, AccountFailingError),
    (200, None, AccountFailingError),
    (307, "TemporaryRedirect", AccountFailingError),
    (307, None, AccountFailingError),
    (409, "OperationAborted", AccountFailingError),
    (409, "ConditionalRequestConflict", AccountFailingError),
    (409, None, AccountFailingError),
    (400, "RequestTimeout", AccountUnreachableError),
    (408, None, AccountUnreachableError),
    (407, None, AccountUnreachableError),
    (412, "PreconditionFailed", KeyOccupiedError),
    (412, None, KeyOccupiedError),
    (400, "BadDigest", PartRefusedError),
    (400, "InvalidDigest", PartRefusedError),
    (400, "XAmzContentChecksumMismatch", PartRefusedError),
    (400, "XAmzContentSHA256Mismatch", PartRefusedError),
    (400, "KeyTooLongError", PartRefusedError),
    (400, "EntityTooLarge", PartRefusedError),
    (413, None, PartRefusedError),
    (400, "InvalidRequest", PartRefusedError),
    (400, "MetadataTooLarge", PartRefusedError),
    (404, "NoSuchUpload", PartRefusedError),
    (501, "NotImplemented", PartRefusedError),
    (418, "SomethingNew", PartRefusedError),
]


def account(**changes: Any) -> Account:
    return Account(
        **{
            "name": "A",
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "SECRETEXAMPLE",
            "region_name": "eu-central-1",
            "s3_bucket_name": "eu-files",
            **changes,
        }
    )


@pytest.mark.parametrize(("status", "code", "kind"), EXPECTED)
def test_the_code_decides_first_and_the_status_second_when_s3_refuses(
    status: int, code: str | None, kind: type[AccountError]
) -> None:
    error = account_error(account(), "put", status, code)
    assert type(error) is kind
    assert (error.account, error.operation, error.s3_code) == ("A", "put", code)


def test_every_error_that_s3_can_cause_is_reached_when_all_rows_are_asked() -> None:
    # A stall is told by our clock, the others by the flow and by who looks after replicas: no answers of S3's.
    not_s3s = {AccountStalledError, TakenBackError, LetGoError}
    not_s3s |= {ObjectLockedError, NoSourceError, ReplacedError, AccountMissingError, OwnershipUnknownError}
    reached = {kind for _, _, kind in EXPECTED} | {ReplicaMissingError}  # only in an answer to a reader
    assert reached == {kind for kind in AccountError.__subclasses__() if kind.__module__ == errors.__name__} - not_s3s


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", ReplicaMissingError),
        (404, "NoSuchVersion", ReplicaMissingError),
        (405, "MethodNotAllowed", ReplicaMissingError),
        (412, "PreconditionFailed", ReplicaMissingError),
        (416, "InvalidRange", ReplicaMissingError),
        (404, None, ReplicaMissingError),
        (405, None, ReplicaMissingError),
        (412, None, ReplicaMissingError),
        (416, None, ReplicaMissingError),
        (404, "NoSuchBucket", BucketMissingError),
        (403, "AccessDenied", AccessRefusedError),
        (403, "InvalidObjectState", PartRefusedError),
        (503, "SlowDown", AccountThrottledError),
        (500, "InternalError", AccountFailingError),
    ],
)
def test_the_object_is_missing_when_s3_says_so_to_a_reader(
    status: int, code: str | None, kind: type[AccountError]
) -> None:
    assert type(account_error(account(), "get", status, code)) is kind


@pytest.mark.parametrize(("status", "code"), EVERY_CODE)
def test_an_account_error_is_made_when_s3_answers_with_any_code_it_documents(status: int, code: str) -> None:
    for operation in OPERATIONS:
        error = account_error(account(session_token="TOKENEXAMPLE"), operation, status, code)
        assert isinstance(error, AccountError)
        assert type(error) is not AccountError
        text = str(error)
        assert re.fullmatch(r"Account A [a-z].+ \(\S+\)\.", text), text
        assert f"({code})" in text
        assert error.s3_code == code
        assert "{" not in text
        assert "EXAMPLE" not in text
        assert not error.unanswered


@pytest.mark.parametrize("status", [*range(200, 210), *range(300, 310), *range(400, 432), *range(500, 512), 520, 599])
def test_the_status_is_told_when_there_is_no_code(status: int) -> None:
    for operation in OPERATIONS:
        error = account_error(account(), operation, status, None)
        assert str(error).startswith("Account A ")
        assert f"(status {status})" in str(error)
        assert error.s3_code is None
        assert error.unanswered == (status in (502, 504))


@pytest.mark.parametrize(
    ("operation", "status", "code", "changes", "text"),
    [
        (
            "put",
            403,
            "SignatureDoesNotMatch",
            {},
            "Account A refused our credentials: its secret_access_key does not belong to its access_key_id "
            "(SignatureDoesNotMatch).",
        ),
        (
            "put",
            403,
            "InvalidAccessKeyId",
            {},
            "Account A refused our credentials: its access_key_id is not known there (InvalidAccessKeyId).",
        ),
        (
            "begin",
            400,
            "ExpiredToken",
            {},
            "Account A refused our credentials: its session_token has expired (ExpiredToken).",
        ),
        (
            "put",
            403,
            "AccessDenied",
            {},
            "Account A refused our credentials: they may not do s3:PutObject on bucket eu-files (AccessDenied).",
        ),
        (
            "head",
            403,
            None,
            {},
            "Account A refused our credentials: they may not do s3:GetObject and s3:ListBucket on bucket eu-files "
            "(status 403).",
        ),
        (
            "complete",
            403,
            "AccessDenied",
            {"kms_key_id": "alias/secret", "expected_bucket_owner": "111122223333"},
            "Account A refused our credentials: they may not do s3:PutObject on bucket eu-files, or they may not do "
            "kms:GenerateDataKey and kms:Decrypt with its kms_key_id, or the bucket belongs to another than its "
            "expected_bucket_owner (AccessDenied).",
        ),
        (
            "delete",
            403,
            "AccessDenied",
            {"kms_key_id": "alias/secret"},
            "Account A refused our credentials: they may not do s3:DeleteObjectVersion on bucket eu-files "
            "(AccessDenied).",
        ),
        (
            "put",
            403,
            "RequestTimeTooSkewed",
            {},
            "Account A refused our request: our clock and its clock differ by too much (RequestTimeTooSkewed).",
        ),
        (
            "put",
            404,
            "NoSuchBucket",
            {},
            "Account A has no bucket of the configured name (s3_bucket_name) (NoSuchBucket).",
        ),
        ("put", 503, "SlowDown", {}, "Account A asks us to slow down (SlowDown)."),
    ],
)
def test_the_setting_to_look_at_is_named_when_an_account_refuses(
    operation: str, status: int, code: str | None, changes: dict[str, str], text: str
) -> None:
    assert str(account_error(account(**changes), operation, status, code)) == text


STORE = "https://s3.store.example"
CHECKSUMS = 'does not know a header or a value that we send: set "checksums": false'
CONDITIONS = 'does not know a header or a value that we send: set "conditional_writes": false'
EITHER = f'{CHECKSUMS} or set "conditional_writes": false; `manage.py accounts --check` finds out which'


@pytest.mark.parametrize(
    ("operation", "status", "code", "lacks", "changes", "words"),
    [
        # Backblaze B2 names the header; Google Cloud Storage and Cloudflare R2 do not.
        ("put", 400, "InvalidArgument", "checksums", {}, CHECKSUMS),
        ("put", 501, "NotImplemented", "conditional_writes", {}, CONDITIONS),
        ("put", 400, "ExcessHeaderValues", None, {}, EITHER),
        ("put", 501, "NotImplemented", None, {}, EITHER),
        ("put", 501, None, None, {}, EITHER),
        ("complete", 400, "MalformedXML", "checksums", {}, CHECKSUMS),
        ("complete", 400, "InvalidRequest", "conditional_writes", {}, CONDITIONS),
        ("put", 400, "InvalidArgument", None, {"conditional_writes": False}, CHECKSUMS),
        ("put", 501, "NotImplemented", None, {"checksums": False}, CONDITIONS),
        ("begin", 400, "InvalidArgument", None, {}, CHECKSUMS),
        ("part", 501, "NotImplemented", None, {}, CHECKSUMS),
        ("put", 400, "InvalidDigest", None, {}, CHECKSUMS),
        ("head", 400, None, "checksums", {}, 'does not answer a question for a checksum: set "checksums": false'),
        ("head", 501, None, "versions", {}, 'if its bucket keeps none, set "versions": false'),
        ("complete", 400, "BadDigest", None, {}, 'finds out whether to set "checksums": false'),
        (
            "begin",
            400,
            "InvalidArgument",
            None,
            {"storage_class": "COLD"},
            f"{CHECKSUMS} or look at its storage_class; `manage.py accounts --check` finds out which",
        ),
        ("list_versions", 501, "NotImplemented", None, {}, 'set "versions": false'),
        ("list_versions", 405, "MethodNotAllowed", None, {}, 'set "versions": false'),
        ("delete", 501, "NotImplemented", None, {}, 'set "versions": false'),
        ("list_uploads", 501, "NotImplemented", None, {}, "this store cannot be used"),
        ("list_parts", 501, None, None, {}, "this store cannot be used"),
        ("abort", 405, None, None, {}, "this store cannot be used"),
    ],
)
def test_the_cure_is_named_when_a_store_s_answer_makes_it_plain(
    operation: str, status: int, code: str | None, lacks: str | None, changes: dict[str, Any], words: str
) -> None:
    error = account_error(account(endpoint_url=STORE, **changes), operation, status, code, lacks=lacks)
    assert type(error) is PartRefusedError
    assert f"{words} ({code or f'status {status}'})." in str(error)


@pytest.mark.parametrize(
    ("operation", "status", "code", "changes"),
    [
        ("put", 501, "NotImplemented", {"checksums": False, "conditional_writes": False}),
        ("put", 501, "NotImplemented", {"endpoint_url": None}),
        ("put", 400, "InvalidArgument", {"endpoint_url": "https://s3.eu-central-1.amazonaws.com"}),
        ("put", 400, "InvalidRequest", {}),
        ("put", 400, "MalformedXML", {}),
        ("put", 400, None, {}),
        ("put", 400, "BadDigest", {}),
        ("head", 400, None, {}),
        ("get", 501, "NotImplemented", {}),
        ("list_objects", 501, "NotImplemented", {}),
        ("list_versions", 501, "NotImplemented", {"versions": False}),
        ("delete", 501, "NotImplemented", {"versions": False}),
    ],
)
def test_no_setting_is_named_when_none_of_them_can_be_the_cure(
    operation: str, status: int, code: str | None, changes: dict[str, Any]
) -> None:
    error = account_error(account(**{"endpoint_url": STORE, **changes}), operation, status, code)
    assert '": false' not in str(error)


@pytest.mark.parametrize("operation", ["list_versions", "list_uploads", "list_parts", "abort", "delete"])
def test_no_setting_of_writes_is_named_when_a_question_is_not_known(operation: str) -> None:
    error = account_error(account(endpoint_url=STORE), operation, 501, "NotImplemented", lacks="checksums")
    assert "checksums" not in str(error)
    assert "conditional_writes" not in str(error)


@pytest.mark.parametrize(
    ("status", "code"),
    [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed"), (301, None), (400, None)],
)
def test_the_right_region_is_named_when_s3_tells_it(status: int, code: str | None) -> None:
    error = account_error(account(), "head", status, code, region="us-west-2")
    assert type(error) is WrongRegionError
    assert "keeps its bucket in region us-west-2, not in eu-central-1 (region_name)" in str(error)


@pytest.mark.parametrize("region", [None, "eu-central-1", "a b", "<script>", "x" * 33, ""])
def test_no_region_is_named_when_s3_tells_none_or_ours_or_nonsense(region: str | None) -> None:
    error = account_error(account(), "put", 400, "AuthorizationHeaderMalformed", region=region)
    assert str(error) == (
        "Account A did not accept the region that we signed for (region_name), or the form of its access_key_id "
        "(AuthorizationHeaderMalformed)."
    )


def test_a_refusal_stays_one_when_the_answer_also_names_the_region() -> None:
    error = account_error(account(), "put", 403, "AccessDenied", region="us-west-2")
    assert type(error) is AccessRefusedError
    assert "us-west-2" not in str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(code=st.text(max_size=80) | st.text("Az09. -", min_size=60, max_size=70), status=st.integers(100, 999))
def test_no_foreign_text_comes_through_when_a_code_is_not_one(code: str, status: int) -> None:
    error = account_error(account(), "put", status, code)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9.]{0,63}", code, re.ASCII):
        assert error.s3_code == code
    else:
        assert error.s3_code is None
        assert str(error) == str(account_error(account(), "put", status, None))
