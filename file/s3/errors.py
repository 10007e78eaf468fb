"""Turns refusals of an account into our errors, by one table of S3's error codes (first) and statuses (second).

The texts are for the operator of the account: they name the key of `AWS_ACCOUNT_<name>` to check and end with S3's
code. They contain no free text of a store: only a code that the table has or that has the form of one, and the name of
a region. The reason for a failed connection is given in the same way. Pure.
Leaves to others: retrying, clock skew, and what a 404 or 412 means to the caller.
"""

import socket
import ssl
from collections.abc import Sequence

from file.logic.accounts.endpoints import is_on_aws
from file.logic.errors import (
    AccessRefusedError,
    AccountError,
    AccountFailingError,
    AccountThrottledError,
    AccountUnreachableError,
    BucketMissingError,
    KeyOccupiedError,
    PartRefusedError,
    ReplicaMissingError,
    WrongRegionError,
)
from file.logic.values import Account
from file.s3.fields import CODE, MAX_SKEW, REGION, Secrets

CONNECT_SECONDS = 5

_CONNECTING = "client error (Connect)"
_LATE = f"no connection within {CONNECT_SECONDS} seconds"
_OTHER_HOST = "its certificate is for another host (endpoint_url)"
_EXPIRED = "its certificate has expired"
_NOT_TRUSTED = "its certificate is not trusted here (SSL_CERT_FILE)"
_UNKNOWN_HOST = "its host is not known: check region_name and endpoint_url, or the network here"
_REFUSES = "it refuses connections"
# OpenSSL's codes of these (X509_V_ERR_...): HOSTNAME_MISMATCH, IP_ADDRESS_MISMATCH, CERT_HAS_EXPIRED.
_CERTIFICATES = {62: _OTHER_HOST, 64: _OTHER_HOST, 10: _EXPIRED}
# What the HTTP client says of a connection that failed, and what we do; the first that is found counts.
_REASONS = (
    ("certificate not valid for name", _OTHER_HOST),
    ("certificate expired", _EXPIRED),
    ("certificate", _NOT_TRUSTED),
    ("proxy authorization required", "the proxy wants credentials (HTTPS_PROXY)"),
    ("tunnel error", "the proxy does not lead us there, or is not there itself (HTTPS_PROXY)"),
    ("dns error", _UNKNOWN_HOST),
    ("refused", _REFUSES),
)

# What an account's policy must allow, per operation; docs/operations.md has the whole policy.
_WRITES = ("put", "begin", "part", "complete")
_ACTIONS = {
    **dict.fromkeys(_WRITES, "s3:PutObject"),
    "abort": "s3:AbortMultipartUpload",
    "head": "s3:GetObject and s3:ListBucket",  # without the second, an object that is not there is a 403, too
    "get": "s3:GetObject",
    "delete": "s3:DeleteObjectVersion",
    "list_versions": "s3:ListBucketVersions",
    "list_uploads": "s3:ListBucketMultipartUploads",
    "list_parts": "s3:ListMultipartUploadParts",
    "probe": "s3:ListBucket",
    "list_objects": "s3:ListBucket",
}
_ABOUT_THE_BUCKET = frozenset(("put", "begin", "list_versions", "list_uploads", "list_objects", "probe"))

CLOCK_REFUSED = "RequestTimeTooSkewed"
_DENIED = "{denied}"  # filled in by `_denied`
_REDIRECTED = "redirects us, which is not followed: check its region_name and endpoint_url"
_UNREADABLE = "answers in a way that S3 does not: check its endpoint_url"

# Kind of error -> S3's codes -> what we say; None: the words of the kind.
_CODES: dict[type[AccountError], dict[str, str | None]] = {
    AccessRefusedError: {
        "AccessDenied AccessDeniedException Forbidden": _DENIED,
        "SignatureDoesNotMatch InvalidSignature": (
            "refused our credentials: its secret_access_key does not belong to its access_key_id"
        ),
        "InvalidAccessKeyId": "refused our credentials: its access_key_id is not known there",
        "ExpiredToken ExpiredTokenException TokenRefreshRequired": (
            "refused our credentials: its session_token has expired"
        ),
        "InvalidToken InvalidTokenId InvalidClientTokenId UnrecognizedClientException": (
            "refused our credentials: its session_token is not valid, or not that of its access_key_id"
        ),
        "RequestTimeTooSkewed RequestExpired": "refused our request: our clock and its clock differ by too much",
        "KMS.DisabledException KMS.InvalidKeyUsageException KMS.KMSInvalidStateException KMS.NotFoundException": (
            "cannot use its kms_key_id"
        ),
        "AccountProblem AllAccessDisabled NotSignedUp InvalidPayer UnauthorizedAccess UnauthorizedAccessError "
        "UnexpectedIPError": "is closed to us: its owner has something to settle with the provider",
        "InvalidSecurity MissingAuthenticationToken MissingSecurityHeader UnsupportedSignature": None,
        "CredentialsNotSupported": None,
    },
    BucketMissingError: {"NoSuchBucket InvalidBucketName NoSuchAccessPoint InvalidAccessPointAliasError": None},
    WrongRegionError: {
        "PermanentRedirect PermanentRedirectControlError IllegalLocationConstraintException": None,
        "IncorrectEndpoint EndpointNotFound InvalidRegion InvalidLocationConstraint": None,
        "AuthorizationHeaderMalformed": (
            "did not accept the region that we signed for (region_name), or the form of its access_key_id"
        ),
    },
    AccountThrottledError: {
        "SlowDown SlowDownRead SlowDownWrite ServiceUnavailable RequestLimitExceeded RequestThrottled": None,
        "Throttling ThrottlingException TooManyRequests TooManyRequestsException BandwidthLimitExceeded": None,
        "KMS.ThrottlingException": None,
    },
    AccountFailingError: {
        "InternalError InternalFailure InternalServerError ServiceFailure": None,
        "OperationAborted ConditionalRequestConflict": "is busy with another request for this key",
        "TemporaryRedirect Redirect": "redirects us for now, as it does while a new bucket becomes known",
    },
    AccountUnreachableError: {"RequestTimeout IncompleteBody": "gave up waiting for our bytes"},
    KeyOccupiedError: {"PreconditionFailed": None},
    PartRefusedError: {
        "BadDigest XAmzContentChecksumMismatch XAmzContentSHA256Mismatch": (
            "received other bytes than we sent: they were damaged on the way"
        ),
        "InvalidDigest": "could not read the checksum that we sent",
        "NoSuchUpload": "does not have the upload any more",
        "NoSuchKey NoSuchVersion": "does not have the object any more",
        "InvalidObjectState": "keeps the object in an archive",
        "InvalidPart InvalidPartOrder": "does not have every part that we sent",
        "KeyTooLongError InvalidURI": "refused the key: with its prefix it is too long, or not allowed there",
        "EntityTooLarge EntityTooSmall": "refused the size of the file or of a part",
        "MetadataTooLarge RequestHeaderSectionTooLarge MaxMessageLengthExceeded": (
            "refused the metadata: there is too much of it"
        ),
        "InvalidStorageClass": "does not know its storage_class",
        "InvalidEncryptionAlgorithmError": "does not accept its server_side_encryption",
        "InvalidBucketOwnerAWSAccountID": "does not accept its expected_bucket_owner",
        "InvalidHostHeader": "does not accept how it is addressed: see addressing",
        "QuotaExceeded XMinioStorageFull XMinioAdminBucketQuotaExceeded": "has no room left",
        "NotImplemented UnsupportedArgument": "does not support what we asked",  # or see `_cure`
    },
}
# To a question for an object as it was stored, these say that it is not there, or another is.
_READ_CODES = ("NoSuchKey", "NoSuchVersion", "MethodNotAllowed", "PreconditionFailed", "InvalidRange")
_NOT_AS_STORED = (404, 405, 412, 416)

# What stores say that do not know a header of ours, and to a question that they do not know.
_UNKNOWN_HEADER = ("NotImplemented", "UnsupportedArgument", "InvalidArgument", "ExcessHeaderValues", "InvalidDigest")
_MAYBE_UNKNOWN_HEADER = ("InvalidRequest", "MalformedXML")  # only where the answer names the header
_UNKNOWN_QUESTION = ("NotImplemented", "MethodNotAllowed")
_NO_VERSIONS = 'if its bucket keeps none, set "versions": false'
UNKNOWN_QUESTIONS = {
    "list_versions": f"does not list versions: {_NO_VERSIONS}",
    "delete": f"does not delete a version: {_NO_VERSIONS}",
    "list_uploads": "does not list open uploads: an upload whose id got lost stays, so this store cannot be used",
    "list_parts": "does not list an upload's parts: whether one has ended is not known, so this store cannot be used",
    "abort": "does not end an upload that is given up: this store cannot be used",
}
# The account's keys that may be switched off, with the operations that send what they stand for.
_SWITCHES = {"checksums": _WRITES, "conditional_writes": ("put", "complete")}

_NO_CHECKSUM = 'does not answer a question for a checksum: set "checksums": false'
_DAMAGED = ("BadDigest", "XAmzContentChecksumMismatch")
_OTHER_CHECKSUM = (
    "joined other bytes than we sent, or has another checksum of the whole than S3: `manage.py accounts --check` finds "
    'out whether to set "checksums": false'
)
_OTHER_HEADERS = ("server_side_encryption", "storage_class")  # sent as the account says, and only then

_BY_CODE = {
    code: (kind, detail) for kind, rows in _CODES.items() for codes, detail in rows.items() for code in codes.split()
}

_BY_STATUS: dict[int, tuple[type[AccountError], str | None]] = {
    301: (WrongRegionError, _REDIRECTED),
    302: (WrongRegionError, _REDIRECTED),
    303: (WrongRegionError, _REDIRECTED),
    307: _BY_CODE["TemporaryRedirect"],
    308: (WrongRegionError, _REDIRECTED),
    401: (AccessRefusedError, None),
    403: (AccessRefusedError, _DENIED),
    407: (AccountUnreachableError, "cannot be reached: the proxy wants credentials (HTTPS_PROXY)"),
    408: _BY_CODE["RequestTimeout"],
    409: _BY_CODE["OperationAborted"],
    412: _BY_CODE["PreconditionFailed"],
    425: (AccountFailingError, None),
    429: (AccountThrottledError, None),
    501: _BY_CODE["NotImplemented"],
    503: (AccountThrottledError, None),
    507: _BY_CODE["QuotaExceeded"],
}


def account_error(
    account: Account,
    operation: str,
    status: int,
    code: str | None,
    *,
    region: str | None = None,
    lacks: str | None = None,
    request_id: str | None = None,
    is_far_off: bool = False,
) -> AccountError:
    """The error for an answer that is not a success.

    `region`: the bucket's region according to S3. `lacks`: the option because of which we sent what is refused.
    `is_far_off`: the account's clock differs from ours by more than `MAX_SKEW`.
    """
    if code not in _BY_CODE:
        is_code = code is not None and CODE.fullmatch(code) is not None and not Secrets(account).are_in(code)
        code = code if is_code else None
    kind: type[AccountError]
    detail: str | None
    moved = region is not None and REGION.fullmatch(region) is not None and region != account.region_name
    if operation == "get" and code in _READ_CODES:
        kind, detail = ReplicaMissingError, None
    elif code in _BY_CODE:
        kind, detail = _BY_CODE[code]
    elif status == 400 and code is None and moved:
        kind, detail = WrongRegionError, None  # a HEAD's answer has no body to say it in
    else:
        kind, detail = _by_status(operation, status)
    if kind is WrongRegionError and moved:
        detail = f"keeps its bucket in region {region}, not in {account.region_name} (region_name)"
    if detail is _DENIED:
        detail = _denied(account, operation)
    if code == CLOCK_REFUSED and is_far_off:
        detail = (
            f"refused our request, and its clock and ours differ by more than {MAX_SKEW.days} days, so that it is not "
            "followed"
        )
    if kind is PartRefusedError and (cure := _cure(account, operation, status, code, lacks)) is not None:
        detail = cure
    return kind(
        account.name,
        operation,
        f"{detail or kind.message} ({code or f'status {status}'})",
        # A gateway's word, not S3's: what it passed on may be carried out yet.
        unanswered=code is None and status in (502, 504),
        s3_code=code,
        request_id=request_id,
    )


def unreachable(account: str, operation: str, causes: Sequence[str], *, is_late: bool) -> AccountUnreachableError:
    """Without a connection nothing has changed; after a lost connection the result is unknown.

    `causes`: the HTTP client's errors, the outermost first. It has one error class for both cases.
    """
    if _CONNECTING not in causes:
        return answer_lost(account, operation)
    said = "; ".join(causes[causes.index(_CONNECTING) :])  # before it stands the URL, which has the key in it
    return _out_of_reach(
        account, operation, _LATE if is_late else next((why for sign, why in _REASONS if sign in said), None)
    )


def not_connected(account: str, operation: str, error: BaseException | None) -> AccountUnreachableError:
    """`error`: why there is no connection of our own. Nothing has changed."""
    why = None
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _CERTIFICATES.get(error.verify_code, _NOT_TRUSTED)
    elif isinstance(error, socket.gaierror):
        why = _UNKNOWN_HOST
    elif isinstance(error, ConnectionRefusedError):
        why = _REFUSES
    elif isinstance(error, TimeoutError):
        why = _LATE
    return _out_of_reach(account, operation, why)


def answer_lost(account: str, operation: str) -> AccountUnreachableError:
    """For a request that was sent at least in part: its result is unknown."""
    return AccountUnreachableError(account, operation, "dropped the connection before it answered", unanswered=True)


def _out_of_reach(account: str, operation: str, why: str | None) -> AccountUnreachableError:
    return AccountUnreachableError(account, operation, f"cannot be reached: {why}" if why else "cannot be reached")


def _cure(account: Account, operation: str, status: int, code: str | None, lacks: str | None) -> str | None:
    """The option to change in the account's JSON, or that the store cannot be used, if the answer shows it.

    On AWS these codes are about a value, because AWS supports all requests.
    """
    if is_on_aws(account):
        return None
    if operation in UNKNOWN_QUESTIONS and (code in _UNKNOWN_QUESTION or (code is None and status in (405, 501))):
        is_about_versions = operation in ("list_versions", "delete")
        return None if is_about_versions and not account.versions else UNKNOWN_QUESTIONS[operation]
    if operation == "complete" and code in _DAMAGED and account.checksums:
        return _OTHER_CHECKSUM
    if operation == "head":  # the answer has no body that says it, so that the question decides
        if code is not None or status not in (400, 501) or lacks is None or not getattr(account, lacks):
            return None
        return f"does not answer a question for a version: {_NO_VERSIONS}" if lacks == "versions" else _NO_CHECKSUM
    keys = [key for key, operations in _SWITCHES.items() if operation in operations and getattr(account, key)]
    is_plain = code in _UNKNOWN_HEADER or (code in _MAYBE_UNKNOWN_HEADER and lacks in keys)
    if not keys or not (is_plain or (code is None and status == 501)):
        return None
    if lacks in keys:
        keys = [lacks]
    elif code == "InvalidDigest":
        keys = ["checksums"] if "checksums" in keys else keys
    others = [] if lacks in keys or operation not in ("put", "begin") else _OTHER_HEADERS
    ways = [f'set "{key}": false' for key in keys]
    ways += [f"look at its {key}" for key in others if getattr(account, key) is not None]
    ask = "" if len(ways) == 1 else "; `manage.py accounts --check` finds out which"
    return f"does not know a header or a value that we send: {' or '.join(ways)}{ask}"


def _by_status(operation: str, status: int) -> tuple[type[AccountError], str | None]:
    if operation == "get" and status in _NOT_AS_STORED:
        return ReplicaMissingError, None
    if status == 404:
        if operation in _ABOUT_THE_BUCKET:
            return BucketMissingError, None
        return PartRefusedError, "does not have the object or upload any more"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return PartRefusedError, None
    return AccountFailingError, None if status >= 500 else _UNREADABLE


def _denied(account: Account, operation: str) -> str:
    """Every possible cause, because S3 answers AccessDenied for all of them."""
    actions = _ACTIONS.get(operation)
    what = f"do {actions} on bucket" if actions else "use bucket"
    reasons = [f"they may not {what} {account.s3_bucket_name}"]
    if account.kms_key_id is not None and operation in _WRITES:
        reasons.append("they may not do kms:GenerateDataKey and kms:Decrypt with its kms_key_id")
    if account.expected_bucket_owner is not None:
        reasons.append("the bucket belongs to another than its expected_bucket_owner")
    return f"refused our credentials: {', or '.join(reasons)}"
