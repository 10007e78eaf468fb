"""S3's answers as it and others send them: every error code it documents, listings, and XML made to do harm."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from file.logic.errors import (
    AccessRefusedError,
    AccountError,
    AccountFailingError,
    AccountStalledError,
    AccountThrottledError,
    AccountUnreachableError,
    BucketMissingError,
    KeyOccupiedError,
    PartRefusedError,
    TakenBackError,
    WrongRegionError,
)
from file.logic.values import Account
from file.s3.answers import (
    Completed,
    ErrorAnswer,
    UnreadableAnswerError,
    complete_answer,
    complete_request,
    parse_error,
    upload_id,
    uploads,
    versions,
)
from file.s3.refusals import account_error

OPERATIONS = [
    "put",
    "begin",
    "part",
    "complete",
    "abort",
    "head",
    "get",
    "delete",
    "list_versions",
    "list_uploads",
    "list_parts",
    "probe",
    "something_new",
]

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


def account(**changes: str | None) -> Account:
    return Account(
        **{
            "name": "A",
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "SECRETEXAMPLE",
            "region_name": "eu-central-1",
            "s3_bucket_name": "eu-files",
            **changes,
        }  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("status", "code", "kind"), EXPECTED)
def test_the_code_decides_first_and_the_status_second_when_s3_refuses(
    status: int, code: str | None, kind: type[AccountError]
) -> None:
    error = account_error(account(), "put", status, code)
    assert type(error) is kind
    assert (error.account, error.operation, error.s3_code) == ("A", "put", code)


def test_every_error_that_s3_can_cause_is_reached_when_all_rows_are_asked() -> None:
    # A stall is told by our clock and a taking back by the flow; neither is an answer of S3's.
    not_s3s = {AccountStalledError, TakenBackError}
    assert {kind for _, _, kind in EXPECTED} == set(AccountError.__subclasses__()) - not_s3s


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
@given(code=st.text(max_size=80) | st.text("Az. -", min_size=60, max_size=70), status=st.integers(100, 999))
def test_no_foreign_text_comes_through_when_a_code_is_not_one(code: str, status: int) -> None:
    error = account_error(account(), "put", status, code)
    if re.fullmatch(r"[A-Za-z.]{1,64}", code, re.ASCII):
        assert error.s3_code == code
    else:
        assert error.s3_code is None
        assert str(error) == str(account_error(account(), "put", status, None))


S3_ERROR = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'x' is wrong; expecting 'us-west-2'</Message>
<Region>us-west-2</Region><RequestId>4442587FB7D0A2F9</RequestId></Error>"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (S3_ERROR, ErrorAnswer("AuthorizationHeaderMalformed", "us-west-2")),
        (b"\xef\xbb\xbf" + S3_ERROR, ErrorAnswer("AuthorizationHeaderMalformed", "us-west-2")),
        (b"  \n " + S3_ERROR, ErrorAnswer("AuthorizationHeaderMalformed", "us-west-2")),
        (b"<Error xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Code>NoSuchKey</Code></Error>", "NoSuchKey"),
        (b"<s:Error xmlns:s='urn:x'><s:Code>NoSuchKey</s:Code></s:Error>", "NoSuchKey"),
        (b"<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>", "Throttling"),
        (b"<Error><Code><![CDATA[SlowDown]]></Code></Error>", "SlowDown"),
        (b"<Error><Code/></Error>", None),
        (b"<Error/>", None),
        (b"<Other><Code>NoSuchKey</Code></Other>", None),
        (b"<ErrorResponse/>", None),
        (b"", None),
        (b"   ", None),
        (b"{}", None),
        (b"\x00\x01\x02", None),
        (b"<Error><Code>NoSuchKey</Code>", None),
        (b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>", None),
        (b"<html><body><h1>It works!<br></body></html>", None),
        pytest.param(b"<Error><Code>NoSuchKey</Code>" + b" " * 70_000 + b"</Error>", None, id="70 kB"),
        (b"<Error><Code>\xff\xfe</Code></Error>", None),
    ],
)
def test_an_error_body_is_read_or_left_when_it_may_be_anything(body: bytes, expected: ErrorAnswer | str | None) -> None:
    answer = expected if isinstance(expected, ErrorAnswer) else ErrorAnswer(expected)
    assert parse_error(body) == answer


LAUGHS = '<!DOCTYPE e [<!ENTITY a "ha">{}]><Error><Code>&z;</Code></Error>'.format(
    "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in pairwise("abcdefghijklmnopqrstuvwxyz"))
)
EXTERNAL = '<?xml version="1.0"?><!DOCTYPE e [<!ENTITY f SYSTEM "file:///etc/passwd">]><Error><Code>&f;</Code></Error>'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(LAUGHS, id="billion laughs"),
        EXTERNAL,
        '<!DOCTYPE Error SYSTEM "http://127.0.0.1:9/e.dtd"><Error><Code>NoSuchKey</Code></Error>',
        '<!DOCTYPE e [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]><Error><Code>NoSuchKey</Code></Error>',
        '<!doctype e [<!ENTITY f "x">]><Error><Code>&f;</Code></Error>',
        "<Error><Code>&undeclared;</Code></Error>",
        "<Error><xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='/etc/passwd'/></Error>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7"])
def test_nothing_is_expanded_or_fetched_when_xml_is_hostile(text: str, encoding: str) -> None:
    body = text.encode(encoding)
    assert parse_error(body).code is None
    for parser in (upload_id, complete_answer, versions, uploads):
        with pytest.raises(UnreadableAnswerError):
            parser(body)


def test_no_other_encoding_is_taken_when_xml_declares_one() -> None:
    # Read as UTF-7, as declared, this would be a document type.
    body = b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE e><Error><Code>NoSuchKey</Code></Error>'
    assert parse_error(body) == ErrorAnswer()
    assert (
        parse_error(b'<?xml version="1.0" encoding="bogus"?><Error><Code>NoSuchKey</Code></Error>').code == "NoSuchKey"
    )


def test_deep_nesting_is_survived_when_xml_is_hostile() -> None:
    depth = 100_000
    body = b"<ListVersionsResult>" + b"<a>" * depth + b"</a>" * depth + b"</ListVersionsResult>"
    assert versions(body).versions == ()
    assert parse_error(body) == ErrorAnswer()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(max_size=200) | st.text("<>/!&;ErroCd[]- x", max_size=60).map(str.encode))
def test_an_error_body_never_raises_when_it_is_noise(body: bytes) -> None:
    assert isinstance(parse_error(body), ErrorAnswer)


@pytest.mark.parametrize("parser", [upload_id, complete_answer, versions, uploads])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        b"<html></html>",
        b"<!DOCTYPE html><html/>",
        S3_ERROR[:50],
        b"<Error/>",
        pytest.param(b" " * (9 << 20), id="9 MiB"),
    ],
)
def test_an_answer_is_unreadable_when_it_is_not_the_one_expected(
    parser: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(UnreadableAnswerError, match=r"^the answer [^<>]*$"):
        parser(body)


def test_the_upload_id_is_read_when_an_upload_begins() -> None:
    body = b"""<?xml version="1.0" encoding="UTF-8"?>
    <InitiateMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Bucket>b</Bucket><Key>k</Key>
    <UploadId>a&amp;b+/=</UploadId></InitiateMultipartUploadResult>"""
    assert upload_id(body) == "a&b+/="


def test_an_error_inside_is_seen_when_complete_answers_with_200() -> None:
    kept_alive = b'<?xml version="1.0" encoding="UTF-8"?>\n' + b" " * 500
    assert complete_answer(kept_alive + S3_ERROR.partition(b"\n")[2]).code == "AuthorizationHeaderMalformed"
    assert complete_answer(b"<Error><Code>InternalError</Code></Error>") == Completed(code="InternalError")


def test_etag_and_checksum_are_read_when_complete_succeeds() -> None:
    body = b"""<CompleteMultipartUploadResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Location>l</Location>
    <ETag>&quot;abc-2&quot;</ETag><ChecksumCRC64NVME>AAAAAAAAAAA=</ChecksumCRC64NVME>
    <ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>"""
    assert complete_answer(body) == Completed(etag='"abc-2"', checksum="AAAAAAAAAAA=")


def test_the_parts_stand_in_order_when_a_complete_is_asked_for() -> None:
    body = complete_request([(10, '"c"', None), (2, '"b<&>"', "AAAAAAAAAAA="), (1, '"a"', "BBBBBBBBBBB=")])
    namespace = {"s3": "http://s3.amazonaws.com/doc/2006-03-01/"}
    parts = ElementTree.fromstring(body).findall("s3:Part", namespace)
    assert [
        tuple(part.findtext(f"s3:{name}", None, namespace) for name in ("PartNumber", "ETag", "ChecksumCRC64NVME"))
        for part in parts
    ] == [("1", '"a"', "BBBBBBBBBBB="), ("2", '"b<&>"', "AAAAAAAAAAA="), ("10", '"c"', None)]


VERSIONS = """<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>k</Prefix>{more}
<DeleteMarker><Key>{key}</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest>
<LastModified>2026-11-23T12:00:00.000Z</LastModified></DeleteMarker>
<Version><Key>{key}</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest>
<LastModified>2026-11-23T11:00:00.123456789Z</LastModified><ETag>&quot;e&quot;</ETag><Owner><ID>o</ID></Owner></Version>
<Version><Key>{key}2</Key><VersionId>null</VersionId><IsLatest>false</IsLatest><LastModified>soon</LastModified></Version>
</ListVersionsResult>"""


def test_versions_and_delete_markers_come_in_order_when_a_page_is_read() -> None:
    page = versions(VERSIONS.format(key="a&amp;b&lt; ü", more="<IsTruncated>false</IsTruncated>").encode())
    marker, old, other = page.versions
    assert page.next_markers == ()
    assert (marker.key, marker.version_id, marker.is_delete_marker, marker.is_latest) == ("a&b< ü", "v3", True, True)
    assert marker.last_modified == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert (old.key, old.version_id, old.is_delete_marker, old.is_latest) == ("a&b< ü", "v2", False, False)
    assert old.etag == '"e"'
    assert old.last_modified == datetime(2026, 11, 23, 11, 0, 0, 123456, UTC)
    assert (other.key, other.version_id, other.etag, other.last_modified) == ("a&b< ü2", "null", None, None)


def test_keys_and_markers_are_decoded_when_the_answer_says_that_they_are_encoded() -> None:
    more = (
        "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
        "<NextKeyMarker>a+b%2B%01</NextKeyMarker><NextVersionIdMarker>v+1</NextVersionIdMarker>"
    )
    page = versions(VERSIONS.format(key="%C3%BC/%E7%A9%BA+%2B%26%3F%3D%2541%23x%01", more=more).encode())
    assert page.versions[0].key == "ü/空 +&?=%41#x\x01"
    assert page.next_markers == (("key-marker", "a b+\x01"), ("version-id-marker", "v+1"))


def test_keys_stay_as_they_are_when_the_answer_does_not_say_that_they_are_encoded() -> None:
    assert versions(VERSIONS.format(key="a+b%2B", more="").encode()).versions[0].key == "a+b%2B"


def test_a_page_is_unreadable_when_it_is_cut_and_says_not_where() -> None:
    body = VERSIONS.format(key="k", more="<IsTruncated>true</IsTruncated>").encode()
    with pytest.raises(UnreadableAnswerError, match="NextKeyMarker"):
        versions(body)


def test_a_page_is_unreadable_when_an_entry_has_no_key() -> None:
    with pytest.raises(UnreadableAnswerError, match="Key"):
        versions(b"<ListVersionsResult><Version><VersionId>v</VersionId></Version></ListVersionsResult>")


def test_open_uploads_and_markers_are_read_when_a_page_is_cut() -> None:
    page = uploads(
        b"""<ListMultipartUploadsResult xmlns="urn:other"><EncodingType>url</EncodingType>
        <NextKeyMarker>k%202</NextKeyMarker><NextUploadIdMarker>u2</NextUploadIdMarker><IsTruncated>true</IsTruncated>
        <Upload><Key>k%201</Key><UploadId>u1</UploadId><Initiated>2026-11-23T12:00:00Z</Initiated></Upload>
        <Upload><Key>k%202</Key><UploadId>u2</UploadId><Initiated>2026-11-23T12:00:00</Initiated></Upload>
        </ListMultipartUploadsResult>"""
    )
    moment = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert [(upload.key, upload.upload_id, upload.initiated) for upload in page.uploads] == [
        ("k 1", "u1", moment),
        ("k 2", "u2", moment),
    ]
    assert page.next_markers == (("key-marker", "k 2"), ("upload-id-marker", "u2"))


def test_only_the_key_marker_is_sent_on_when_s3_names_no_other() -> None:
    page = uploads(
        b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        b"<NextUploadIdMarker/></ListMultipartUploadsResult>"
    )
    assert page.uploads == ()
    assert page.next_markers == (("key-marker", "k"),)


def test_the_last_key_is_the_marker_when_a_store_names_only_the_other() -> None:
    page = uploads(
        b"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextUploadIdMarker>u1</NextUploadIdMarker>"
        b"<Upload><Key>k 1</Key><UploadId>u1</UploadId></Upload></ListMultipartUploadsResult>"
    )
    assert page.next_markers == (("key-marker", "k 1"), ("upload-id-marker", "u1"))
    assert page.uploads[0].initiated is None
