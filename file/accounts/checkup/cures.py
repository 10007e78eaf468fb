"""Which line in an account's JSON makes a store do what it refused: found by asking once more without each of them.

A store that does not know a header refuses it in many ways. Which header it was, only trying tells. Pure. Leaves to
others: which questions there are (`questions.py`), asking them again, and how it is told (`checkup.py`).
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

from file.logic.accounts.endpoints import is_on_aws
from file.logic.errors import AccountError, PartRefusedError
from file.logic.values import Account
from file.s3.errors import UNKNOWN_QUESTIONS

# A check -> the account's keys whose absence it may be refused for.
_KEYS = {
    "put": ("checksums", "conditional_writes"),
    "head": ("checksums",),
    "head of a version": ("versions",),
    "list versions": ("versions",),
    "checksum of a put": ("checksums",),
    "begin": ("checksums",),
    "part": ("checksums",),
    "complete": ("checksums", "conditional_writes"),
    "delete of a version": ("versions",),
}
# To a store that knows all headers these mean what they say; others say them of a header that they do not know.
_ODD_CODES = ("SignatureDoesNotMatch",)
_NEEDED = ("list uploads", "list parts", "abort")


def cures(check: str, account: Account, error: AccountError) -> Iterator[dict[str, bool]]:
    """Changes of the account's JSON with which the same question may be answered, the smallest first."""
    if is_on_aws(account) or not (isinstance(error, PartRefusedError) or error.s3_code in _ODD_CODES):
        return  # AWS has all that we ask for
    keys = [key for key in _KEYS.get(check, ()) if getattr(account, key)]
    for count in range(1, len(keys) + 1):
        for chosen in combinations(keys, count):
            yield dict.fromkeys(chosen, False)


def told(keys: Sequence[str]) -> str:
    """As it stands in the JSON."""
    return ", ".join(f'"{key}": false' for key in keys)


def cured(check: str, error: AccountError, keys: Sequence[str]) -> str:
    """In words: what was refused, and what to write."""
    what = "does not know this question" if "versions" in keys else "refuses what we send"
    return f"it {what} ({error.s3_code or 'no code'}), and works without: set {told(keys)}"


def incurable(check: str, error: AccountError, *, keeps_versions: bool) -> str | None:
    """Why the store cannot be used at all, if this is the reason. None: something else is wrong, or only this time."""
    words = UNKNOWN_QUESTIONS.get(error.operation, "")
    if not words or words not in error.detail:
        return None
    if check in _NEEDED:
        return f"it {words} ({error.s3_code or 'no code'})"
    if keeps_versions:
        return f"it keeps versions and does not know this question, so this store cannot be used ({error.s3_code})"
    return None
