"""What a check-up asks, in what order, and in which words it tells what is missing. Pure.

An operator reads the words: they name the IAM action to allow and where, or the key of `AWS_ACCOUNT_<name>` to look at,
and nothing that a store wrote. docs/operations.md has the policy of exactly these actions. Leaves to others: asking.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from file.logic.errors import AccessRefusedError, AccountError, BucketMissingError, WrongRegionError
from file.logic.values import Account

LIST, LIST_VERSIONS, LIST_UPLOADS = "s3:ListBucket", "s3:ListBucketVersions", "s3:ListBucketMultipartUploads"
PUT, GET, GET_VERSION = "s3:PutObject", "s3:GetObject", "s3:GetObjectVersion"
LIST_PARTS, ABORT = "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"
DELETE, DELETE_VERSION = "s3:DeleteObject", "s3:DeleteObjectVersion"
ENCRYPT, DECRYPT = "kms:GenerateDataKey", "kms:Decrypt"

# Every check, in the order in which it is shown, and the IAM action without which it is denied.
CHECKS: dict[str, str | None] = {
    "reached": None,
    "clock": None,
    "region": None,
    "credentials": None,
    "bucket": None,
    "owner": None,
    "put": PUT,
    "head": GET,
    "head of nothing": LIST,
    "head of a version": GET_VERSION,
    "get": GET,
    "list objects": LIST,
    "list versions": LIST_VERSIONS,
    "conditional put": PUT,
    "checksum of a put": PUT,
    "begin": PUT,
    "part": PUT,
    "list parts": LIST_PARTS,
    "list uploads": LIST_UPLOADS,
    "conditional complete": PUT,
    "abort": ABORT,
    "complete": PUT,
    "checksum of a complete": PUT,
    "delete of a version": DELETE_VERSION,
    "delete": DELETE,
    "taken back": None,
}
ACTIONS = frozenset(action for action in CHECKS.values() if action) | {ENCRYPT, DECRYPT}
CLOCK_CODES = ("RequestTimeTooSkewed", "RequestExpired")

_OF_THE_BUCKET = (LIST, LIST_VERSIONS, LIST_UPLOADS)
# Both need the same action of S3: if the second was allowed and the first is not, it is for the key that encrypts.
_SAME_ACTION = {"get": "head", "begin": "put", "part": "put", "complete": "put"}
_WHY = {
    "head of nothing": ": without it an object that is not there is a 403 and not a 404",
    "delete of a version": "; where that is allowed, an object lock keeps what was written",
}
_SKEW_THAT_MATTERS, _SKEW_REFUSED = timedelta(minutes=5), timedelta(minutes=15)


class CheckState(StrEnum):
    OK = "ok"
    WARNED = "warned"  # it works, and somebody should look at it
    FAILED = "failed"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """`check` is one of `CHECKS`, `action` the IAM action that is missing, `detail` what is wrong and what to do."""

    check: str
    state: CheckState
    action: str | None = None
    detail: str = ""


def missing_action(account: Account, check: str, named: str | None, results: Mapping[str, CheckResult]) -> str | None:
    """The IAM action for want of which a check was denied: what S3 `named`, or what the `results` so far leave over."""
    if named in ACTIONS:
        return named
    twin = results.get(_SAME_ACTION.get(check, ""))
    if twin is not None and is_encrypted(account):
        if twin.state in (CheckState.OK, CheckState.WARNED):
            return DECRYPT
        if twin.action in (ENCRYPT, DECRYPT):
            return twin.action
    return CHECKS[check]


def is_encrypted(account: Account) -> bool:
    """With a key that has permissions of its own."""
    return (account.server_side_encryption or "").startswith("aws:kms")


def denied(account: Account, check: str, action: str | None) -> CheckResult:
    if action in (ENCRYPT, DECRYPT):
        where = "the key that encrypts (its kms_key_id, or the bucket's own)"
    elif action in _OF_THE_BUCKET:
        where = f"bucket {account.s3_bucket_name}"
    else:
        where = f"the objects {account.prefix}* of bucket {account.s3_bucket_name}"
    why = _WHY.get(check, "")
    return CheckResult(check=check, state=CheckState.FAILED, action=action, detail=f"allow {action} on {where}{why}")


def clock(date: datetime | None, asked: datetime, answered: datetime) -> CheckResult:
    """What the account's clock, in whole seconds, says of ours."""
    if date is None:
        return CheckResult(check="clock", state=CheckState.NOT_ASKED, detail="the account does not tell its time")
    ahead = date + timedelta(seconds=0.5) - (asked + (answered - asked) / 2)
    if abs(ahead) < _SKEW_THAT_MATTERS:
        return CheckResult(check="clock", state=CheckState.OK)
    side = "behind" if ahead > timedelta() else "ahead of"
    detail = (
        f"our clock is {round(abs(ahead) / timedelta(minutes=1))} minutes {side} the account's; S3 refuses from 15 "
        "minutes on: set the clock of this machine"
    )
    state = CheckState.FAILED if abs(ahead) >= _SKEW_REFUSED else CheckState.WARNED
    return CheckResult(check="clock", state=state, detail=detail)


def check_of(error: AccountError) -> str:
    """Which of the first checks an account has failed that refuses the very first question."""
    if isinstance(error, WrongRegionError):
        return "region"
    if isinstance(error, BucketMissingError):
        return "bucket"
    if error.s3_code == "InvalidBucketOwnerAWSAccountID":
        return "owner"
    if error.s3_code in CLOCK_CODES:
        return "clock"
    return "credentials" if isinstance(error, AccessRefusedError) else "reached"
