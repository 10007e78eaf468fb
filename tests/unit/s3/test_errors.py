"""Each refusal of S3, by any code that it documents or by a status without a code, becomes one of our errors."""

import re
from collections.abc import Mapping
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
from file.s3.errors import account_error
from tests.unit.s3.conftest import aws_account

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

# Per error, the refusals that become it: the status, and S3's code if there is one.
EXPECTED = {
    AccessRefusedError: "401 403 403:AccessDenied 403:SignatureDoesNotMatch 403:InvalidAccessKeyId 400:ExpiredToken "
    "400:InvalidToken 403:RequestTimeTooSkewed 403:AllAccessDisabled 400:KMS.NotFoundException 403:SomethingNew",
    BucketMissingError: "404:NoSuchBucket",
    WrongRegionError: "301 302 308 301:PermanentRedirect 400:AuthorizationHeaderMalformed "
    "400:IllegalLocationConstraintException",
    AccountThrottledError: "429 503 503:SlowDown 503:ServiceUnavailable 400:RequestLimitExceeded",
    AccountFailingError: "200 307 409 500 502 504 520 500:InternalError 200:InternalError 307:TemporaryRedirect "
    "409:OperationAborted 409:ConditionalRequestConflict",
    AccountUnreachableError: "407 408 400:RequestTimeout",
    KeyOccupiedError: "412 412:PreconditionFailed",
    PartRefusedError: "413 400:BadDigest 400:InvalidDigest 400:XAmzContentChecksumMismatch "
    "400:XAmzContentSHA256Mismatch 400:KeyTooLongError 400:EntityTooLarge 400:InvalidRequest 400:MetadataTooLarge "
    "404:NoSuchUpload 501:NotImplemented 418:SomethingNew",
}
TO_A_READER = {
    ReplicaMissingError: "404 405 412 416 404:NoSuchKey 404:NoSuchVersion 405:MethodNotAllowed 412:PreconditionFailed "
    "416:InvalidRange",
    BucketMissingError: "404:NoSuchBucket",
    AccessRefusedError: "403:AccessDenied",
    PartRefusedError: "403:InvalidObjectState",
    AccountThrottledError: "503:SlowDown",
    AccountFailingError: "500:InternalError",
}


def rows(table: Mapping[type[AccountError], str]) -> list[tuple[str, type[AccountError]]]:
    return [(refusal, kind) for kind, refusals in table.items() for refusal in refusals.split()]


def error_of(operation: str, refusal: str, **changes: Any) -> AccountError:
    status, _, code = refusal.partition(":")
    return account_error(aws_account(**changes), operation, int(status), code or None)


@pytest.mark.parametrize(("refusal", "kind"), rows(EXPECTED))
def test_the_code_decides_first_and_the_status_second_when_s3_refuses(refusal: str, kind: type[AccountError]) -> None:
    error = error_of("put", refusal)
    assert type(error) is kind
    assert (error.account, error.operation, error.s3_code) == ("A", "put", refusal.partition(":")[2] or None)


def test_every_error_that_s3_can_cause_has_a_row_in_a_table() -> None:
    # Our clock, the flow or the repair raises these.
    not_s3s = {AccountStalledError, TakenBackError, LetGoError}
    not_s3s |= {ObjectLockedError, NoSourceError, ReplacedError, AccountMissingError, OwnershipUnknownError}
    all_errors = {kind for kind in AccountError.__subclasses__() if kind.__module__ == errors.__name__}
    assert EXPECTED.keys() | {ReplicaMissingError} == all_errors - not_s3s  # that one only a reader gets


@pytest.mark.parametrize(("refusal", "kind"), rows(TO_A_READER))
def test_the_object_is_missing_when_s3_says_so_to_a_reader(refusal: str, kind: type[AccountError]) -> None:
    assert type(error_of("get", refusal)) is kind


@pytest.mark.parametrize(("status", "code"), EVERY_CODE)
def test_an_account_error_is_made_when_s3_answers_with_any_code_it_documents(status: int, code: str) -> None:
    for operation in OPERATIONS:
        error = account_error(aws_account(session_token="TOKENEXAMPLE"), operation, status, code)
        assert isinstance(error, AccountError)
        assert type(error) is not AccountError
        text = str(error)
        assert re.fullmatch(rf"Account A [a-z][^{{]+ \({re.escape(code)}\)\.", text), text
        assert error.s3_code == code
        assert "EXAMPLE" not in text
        assert not error.unanswered


@pytest.mark.parametrize("status", [*range(200, 210), *range(300, 310), *range(400, 432), *range(500, 512), 520, 599])
def test_the_error_names_the_status_when_there_is_no_code(status: int) -> None:
    for operation in OPERATIONS:
        error = account_error(aws_account(), operation, status, None)
        assert str(error).startswith("Account A ")
        assert f"(status {status})" in str(error)
        assert error.s3_code is None
        assert error.unanswered == (status in (502, 504))


REFUSED = "refused our credentials: "
MAY_NOT_PUT = f"{REFUSED}they may not do s3:PutObject on bucket bucket-a"
MAY_NOT_COMPLETE = (
    f"{MAY_NOT_PUT}, or they may not do kms:GenerateDataKey and kms:Decrypt with its kms_key_id, or the bucket belongs "
    "to another than its expected_bucket_owner"
)
MAY_NOT_DELETE = f"{REFUSED}they may not do s3:DeleteObjectVersion on bucket bucket-a"
KMS = {"kms_key_id": "alias/secret"}


@pytest.mark.parametrize(
    ("operation", "refusal", "changes", "text"),
    [
        (
            "put",
            "403:SignatureDoesNotMatch",
            {},
            f"{REFUSED}its secret_access_key does not belong to its access_key_id",
        ),
        ("put", "403:InvalidAccessKeyId", {}, f"{REFUSED}its access_key_id is not known there"),
        ("begin", "400:ExpiredToken", {}, f"{REFUSED}its session_token has expired"),
        ("put", "403:AccessDenied", {}, MAY_NOT_PUT),
        ("head", "403", {}, f"{REFUSED}they may not do s3:GetObject and s3:ListBucket on bucket bucket-a"),
        ("complete", "403:AccessDenied", {**KMS, "expected_bucket_owner": "111122223333"}, MAY_NOT_COMPLETE),
        ("delete", "403:AccessDenied", KMS, MAY_NOT_DELETE),
        ("put", "403:RequestTimeTooSkewed", {}, "refused our request: our clock and its clock differ by too much"),
        ("put", "404:NoSuchBucket", {}, "has no bucket of the configured name (s3_bucket_name)"),
        ("put", "503:SlowDown", {}, "asks us to slow down"),
    ],
)
def test_the_error_names_the_setting_to_check_when_an_account_refuses(
    operation: str, refusal: str, changes: dict[str, str], text: str
) -> None:
    code = refusal.partition(":")[2] or f"status {refusal}"
    assert str(error_of(operation, refusal, **changes)) == f"Account A {text} ({code})."


STORE = "https://s3.store.example"
CHECKSUMS = 'does not know a header or a value that we send: set "checksums": false'
CONDITIONS = 'does not know a header or a value that we send: set "conditional_writes": false'
OR_STORAGE_CLASS = f"{CHECKSUMS} or look at its storage_class; `manage.py accounts --check` finds out which"
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
        ("begin", 400, "InvalidArgument", None, {"storage_class": "COLD"}, OR_STORAGE_CLASS),
        ("list_versions", 501, "NotImplemented", None, {}, 'set "versions": false'),
        ("list_versions", 405, "MethodNotAllowed", None, {}, 'set "versions": false'),
        ("delete", 501, "NotImplemented", None, {}, 'set "versions": false'),
        ("list_uploads", 501, "NotImplemented", None, {}, "this store cannot be used"),
        ("list_parts", 501, None, None, {}, "this store cannot be used"),
        ("abort", 405, None, None, {}, "this store cannot be used"),
    ],
)
def test_the_error_names_the_option_to_change_when_the_answer_shows_it(
    operation: str, status: int, code: str | None, lacks: str | None, changes: dict[str, Any], words: str
) -> None:
    error = account_error(aws_account(endpoint_url=STORE, **changes), operation, status, code, lacks=lacks)
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
def test_the_error_names_no_option_when_none_would_help(
    operation: str, status: int, code: str | None, changes: dict[str, Any]
) -> None:
    error = account_error(aws_account(**{"endpoint_url": STORE, **changes}), operation, status, code)
    assert '": false' not in str(error)


@pytest.mark.parametrize("operation", ["list_versions", "list_uploads", "list_parts", "abort", "delete"])
def test_the_error_names_no_option_of_writes_when_a_store_does_not_know_the_request(operation: str) -> None:
    error = account_error(aws_account(endpoint_url=STORE), operation, 501, "NotImplemented", lacks="checksums")
    assert "checksums" not in str(error)
    assert "conditional_writes" not in str(error)


@pytest.mark.parametrize(
    ("status", "code"), [(301, "PermanentRedirect"), (400, "AuthorizationHeaderMalformed"), (301, None), (400, None)]
)
def test_the_error_names_the_right_region_when_s3_names_it(status: int, code: str | None) -> None:
    error = account_error(aws_account(), "head", status, code, region="us-west-2")
    assert type(error) is WrongRegionError
    assert "keeps its bucket in region us-west-2, not in eu-central-1 (region_name)" in str(error)


@pytest.mark.parametrize("region", [None, "eu-central-1", "a b", "<script>", "x" * 33, ""])
def test_the_error_names_no_region_when_s3_names_none_or_ours_or_nonsense(region: str | None) -> None:
    error = account_error(aws_account(), "put", 400, "AuthorizationHeaderMalformed", region=region)
    assert str(error) == (
        "Account A did not accept the region that we signed for (region_name), or the form of its access_key_id "
        "(AuthorizationHeaderMalformed)."
    )


def test_the_credentials_are_refused_when_the_answer_also_names_the_region() -> None:
    error = account_error(aws_account(), "put", 403, "AccessDenied", region="us-west-2")
    assert type(error) is AccessRefusedError
    assert "us-west-2" not in str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(code=st.text(max_size=80) | st.text("Az09. -", min_size=60, max_size=70), status=st.integers(100, 999))
def test_no_foreign_text_comes_through_when_a_code_is_not_one(code: str, status: int) -> None:
    error = account_error(aws_account(), "put", status, code)
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9.]{0,63}", code, re.ASCII):
        assert error.s3_code == code
    else:
        assert error.s3_code is None
        assert str(error) == str(account_error(aws_account(), "put", status, None))
