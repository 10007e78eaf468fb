"""What a failed check means: the IAM action to allow, the line for the account's JSON, or that nothing helps.

The texts are for an operator. They name the action and where to allow it, or the key of `AWS_ACCOUNT_<name>` to check,
and contain no text of a store. Pure. Leaves to others: asking (`checks.py`), and trying a cure (`checkup.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import combinations

from file.accounts.checkup.checks import ACTIONS, DECRYPT, ENCRYPT, OF_THE_BUCKET, Check, is_encrypted
from file.accounts.checkup.probe import DeniedError
from file.logic.accounts.endpoints import is_on_aws
from file.logic.errors import AccessRefusedError, AccountError, BucketMissingError, PartRefusedError, WrongRegionError
from file.logic.values import Account
from file.s3.errors import UNKNOWN_QUESTIONS

CLOCK_CODES = ("RequestTimeTooSkewed", "RequestExpired")
_SKEW_THAT_MATTERS, _SKEW_REFUSED = timedelta(minutes=5), timedelta(minutes=15)
# Some stores answer so to a header that they do not know.
_ODD_CODES = ("SignatureDoesNotMatch",)


class CheckState(StrEnum):
    OK = "ok"
    WARNED = "warned"  # it works, and a person should look at it
    FAILED = "failed"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`check`: one of `CHECKS`. `action`: the missing IAM action. `detail`: the fault and what to do."""

    check: str
    state: CheckState
    action: str | None = None
    detail: str = ""

    @property
    def is_passed(self) -> bool:
        return self.state in (CheckState.OK, CheckState.WARNED)


# --- permissions


def _missing_action(
    account: Account, check: Check, named: str | None, results: Mapping[str, CheckResult]
) -> str | None:
    if named in ACTIONS:
        return named
    twin = results.get(check.like)
    if twin is not None and is_encrypted(account):
        if twin.is_passed:
            return DECRYPT
        if twin.action in (ENCRYPT, DECRYPT):
            return twin.action
    return check.action


def denied(account: Account, check: Check, error: DeniedError, results: Mapping[str, CheckResult]) -> CheckResult:
    """Names the missing IAM action: the one that S3 named, or the one that follows from the `results`."""
    if error.locked:
        detail = "an object lock keeps what was written: it cannot be removed"
        return CheckResult(check.name, CheckState.FAILED, detail=detail)
    action = _missing_action(account, check, error.action, results)
    if action in (ENCRYPT, DECRYPT):
        where = "the key that encrypts (its kms_key_id, or the bucket's own)"
    elif action in OF_THE_BUCKET:
        where = f"bucket {account.s3_bucket_name}"
    else:
        where = f"the objects {account.prefix}* of bucket {account.s3_bucket_name}"
    detail = f"allow {action} on {where}{check.why}"
    return CheckResult(check.name, CheckState.FAILED, action=action, detail=detail)


# --- the first question


def clock(date: datetime | None, asked: datetime, answered: datetime) -> CheckResult:
    """Compares the account's clock, in whole seconds, with ours."""
    if date is None:
        return CheckResult("clock", CheckState.NOT_ASKED, detail="the account does not tell its time")
    ahead = date + timedelta(seconds=0.5) - (asked + (answered - asked) / 2)
    if abs(ahead) < _SKEW_THAT_MATTERS:
        return CheckResult("clock", CheckState.OK)
    side = "behind" if ahead > timedelta() else "ahead of"
    detail = (
        f"our clock is {round(abs(ahead) / timedelta(minutes=1))} minutes {side} the account's; S3 refuses from 15 "
        "minutes on: set the clock of this machine"
    )
    state = CheckState.FAILED if abs(ahead) >= _SKEW_REFUSED else CheckState.WARNED
    return CheckResult("clock", state, detail=detail)


def check_of(error: AccountError) -> str:
    """The check that failed, by the error of the first question."""
    if isinstance(error, WrongRegionError):
        return "region"
    if isinstance(error, BucketMissingError):
        return "bucket"
    if error.s3_code == "InvalidBucketOwnerAWSAccountID":
        return "owner"
    if error.s3_code in CLOCK_CODES:
        return "clock"
    return "credentials" if isinstance(error, AccessRefusedError) else "reached"


# --- stores that lack something


def cures(check: Check, account: Account, error: AccountError) -> Iterator[dict[str, bool]]:
    """Changes of the account's JSON with which the question may be answered, the smallest first.

    Stores refuse an unknown header in many ways. Only a trial shows which header it was.
    """
    if is_on_aws(account) or not (isinstance(error, PartRefusedError) or error.s3_code in _ODD_CODES):
        return  # AWS has all that we ask for
    keys = [key for key in check.without if getattr(account, key)]
    for count in range(1, len(keys) + 1):
        for chosen in combinations(keys, count):
            yield dict.fromkeys(chosen, False)


def as_json_lines(keys: Sequence[str]) -> str:
    """As in the account's JSON."""
    return ", ".join(f'"{key}": false' for key in keys)


def cured(error: AccountError, keys: Sequence[str]) -> str:
    """The text: what was refused, and what to write."""
    what = "does not know this question" if "versions" in keys else "refuses what we send"
    return f"it {what} ({error.s3_code or 'no code'}), and works without: set {as_json_lines(keys)}"


def failed(account: Account, check: Check, error: AccountError, *, keeps_versions: bool) -> tuple[str, bool]:
    """The text, and whether the store can still be used."""
    lacks = UNKNOWN_QUESTIONS.get(error.operation, "")
    if lacks and lacks in error.detail:
        if check.required:
            return f"it {lacks} ({error.s3_code or 'no code'})", False
        if keeps_versions:
            why = "it keeps versions and does not know this question, so this store cannot be used"
            return f"{why} ({error.s3_code})", False
    return f"it {error.detail.removeprefix(f'Account {account.name} ').removesuffix('.')}", True
