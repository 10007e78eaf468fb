"""The expected outcome of an upload when an account fails, by the rules of docs/reliability.md, not by our code.

An account has the file if a retry or a question repairs the fault. Otherwise it fails with its code of docs/errors.md,
and the ack decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from file.logic.values import KiB, MiB
from tests.faults.matrix import ACCOUNTS, Case, Kind, Place

PART_BYTES = 5 * MiB  # what S3 wants of every part but the last
LAST_PART_BYTES = 64 * KiB
ONE_PART_BYTES = 48 * KiB
SLOW_BYTES_PER_SECOND = 100_000

STALL_SECONDS = 3.0  # a sound account answers sooner, also on a busy machine
ACCOUNT_BYTES_PER_SECOND = 4 * MiB

NEEDED = {"all": 3, "quorum": 2, "any": 1}

# The codes of the faults that no retry repairs.
_LASTING = {
    Kind.REFUSES: "account_unreachable",
    Kind.RESETS: "account_unreachable",
    Kind.HANGS: "account_stalled",
    Kind.FAILS: "account_failing",
    Kind.THROTTLES: "account_throttled",
    Kind.DENIED: "access_refused",
    Kind.PRECONDITION: "key_taken",
    Kind.NO_SUCH_UPLOAD: "part_refused",
}
_RETRYABLE = frozenset(("account_unreachable", "account_stalled", "account_failing", "account_throttled"))
# After these a HEAD shows that the complete was carried out.
_FOUND_OUT = (Kind.RESETS, Kind.LOSES_ANSWER, Kind.DAMAGES)
# The account answers no question, so it is unknown what is left there.
_CANNOT_BE_ASKED = (Kind.REFUSES, Kind.DENIED)


@dataclass(frozen=True)
class Expected:
    """`codes`: account to code, None if it has the file. `may_be_left`: the accounts that may be `removal_pending`."""

    status: int
    codes: Mapping[str, str | None]
    may_be_left: frozenset[str]

    @property
    def acknowledged(self) -> bool:
        return self.status in (201, 202)

    @property
    def states(self) -> dict[str, set[str]]:
        """The possible states of each account in the answer."""
        if not self.acknowledged:
            left = {"removed", "removal_pending"}
            return {name: left if name in self.may_be_left else {"removed"} for name in self.codes}
        return {name: _states_of(code) for name, code in self.codes.items()}


def size_of(case: Case) -> int:
    return ONE_PART_BYTES if case.parts == 1 else (case.parts - 1) * PART_BYTES + LAST_PART_BYTES


def others_that_fail(case: Case) -> tuple[str, ...]:
    """For a delete, enough other accounts fail that the ack cannot be met."""
    if case.place is not Place.DELETE:
        return ()
    others = [name for name in ACCOUNTS if name != case.account]
    return tuple(others[: len(ACCOUNTS) - NEEDED[case.ack] + 1])


def expected(case: Case) -> Expected:
    codes: dict[str, str | None] = dict.fromkeys(ACCOUNTS)
    codes |= dict.fromkeys(others_that_fail(case), "access_refused")
    if case.place is Place.ABORT:
        codes[case.account] = "access_refused"
    elif case.place is not Place.DELETE:
        codes[case.account] = _code(case)
    return concluded(codes, case.ack, frozenset((case.account,)) if _may_be_left(case) else frozenset())


def concluded(codes: Mapping[str, str | None], ack: str, may_be_left: frozenset[str]) -> Expected:
    """If too few accounts have the file for the ack, it is removed from them."""
    having = [name for name, code in codes.items() if code is None]
    if len(having) >= NEEDED[ack]:
        return Expected(201 if len(having) == len(codes) else 202, codes, frozenset())
    status = 409 if "key_taken" in codes.values() else 502
    return Expected(status, dict(codes) | dict.fromkeys(having, "taken_back"), may_be_left)


def _code(case: Case) -> str | None:
    """The code of the account in trouble, None if it has the file."""
    if case.kind is Kind.SLOW:
        return "account_stalled" if _is_too_slow(case) else None
    if case.place is Place.ANSWER and case.kind in _FOUND_OUT:
        return None
    if case.place is Place.COMPLETE and case.kind is Kind.DAMAGES:
        return "part_refused"  # a list of parts has no checksum: S3 cannot say that it was damaged, only that it is bad
    return _LASTING.get(case.kind)


def _is_too_slow(case: Case) -> bool:
    size = {Place.PUT: ONE_PART_BYTES, Place.FIRST_PART: PART_BYTES, Place.LAST_PART: LAST_PART_BYTES}[case.place]
    return size / SLOW_BYTES_PER_SECOND > STALL_SECONDS + size / ACCOUNT_BYTES_PER_SECOND


def _may_be_left(case: Case) -> bool:
    if case.place in (Place.DELETE, Place.ABORT):
        return case.kind in _LASTING
    if case.kind is Kind.REFUSES:
        return case.place not in (Place.PUT, Place.BEGIN)  # it was away from the beginning: nothing can be there
    return case.kind is Kind.DENIED and case.place not in (Place.PUT, Place.BEGIN)  # a refusal leaves nothing


def _states_of(code: str | None) -> set[str]:
    if code is None:
        return {"stored"}
    return {"pending"} if code in _RETRYABLE else {"pending", "blocked"}
