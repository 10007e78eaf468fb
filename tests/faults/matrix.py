"""The matrix of faults: account, place in the upload, fault, ack, number of parts.

`every_case` has all combinations that make sense; `RULES` exclude the others and say why. `strikes` makes the faults,
and `oracle` has the expected outcomes.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

ACCOUNTS = ("A", "B", "C")  # the first, the second, the third
ACKS = ("all", "quorum", "any")
PARTS = (1, 3)


class Place(StrEnum):
    """The request that fails, or whose answer fails."""

    PUT = "put"
    BEGIN = "begin"
    FIRST_PART = "first-part"
    LAST_PART = "last-part"
    COMPLETE = "complete"
    ANSWER = "answer-of-complete"  # the account has carried it out
    DELETE = "delete"  # the account has the file, which is removed because others lack it
    ABORT = "abort"  # the account refuses a part, and its upload is aborted


class Kind(StrEnum):
    """The fault. From then on: until the end of the case's faults."""

    REFUSES = "refuses-connections"  # from then on
    RESETS = "resets"  # in the middle of the body, always
    HANGS = "hangs"  # always
    SLOW = "slow"  # 100 KB/s, always
    FAILS_ONCE = "500-once"
    FAILS = "500-always"
    THROTTLES_ONCE = "503-once"
    THROTTLES = "503-always"
    ERROR_IN_200 = "error-in-200"  # once
    LOSES_ANSWER = "loses-answer"  # once, of a call that succeeded
    DAMAGES = "damages-body"  # once
    DENIED = "403-from-then-on"
    CONFLICT = "409"  # once
    PRECONDITION = "412"  # always
    REDIRECTS = "307"  # once
    CLOCK = "clock-20-minutes-off"  # from then on
    NO_SUCH_UPLOAD = "no-such-upload"  # always


@dataclass(frozen=True, slots=True)
class Case:
    """One upload; `account` is in trouble."""

    account: str
    place: Place
    kind: Kind
    ack: str
    parts: int

    def __str__(self) -> str:
        return f"{self.account}-{self.place}-{self.kind}-{self.ack}-{self.parts}"


_MULTIPART = (Place.BEGIN, Place.FIRST_PART, Place.LAST_PART, Place.COMPLETE, Place.ANSWER, Place.ABORT)
_OF_THE_FILE = (Place.PUT, Place.FIRST_PART, Place.LAST_PART)  # its body is the file's, or a part of it
_CONDITIONAL = (Place.PUT, Place.COMPLETE, Place.DELETE)
_NAMES_AN_UPLOAD = (Place.FIRST_PART, Place.LAST_PART, Place.COMPLETE, Place.ABORT)
_NEVER_CARRIED_OUT = (Kind.CONFLICT, Kind.PRECONDITION, Kind.REDIRECTS, Kind.CLOCK, Kind.NO_SUCH_UPLOAD)

# What makes no sense, and why. The first rule that holds counts.
RULES: tuple[tuple[str, Callable[[Case], bool]], ...] = (
    (
        "a file of one part is one put: there is no multipart upload",
        lambda case: case.parts == 1 and case.place in _MULTIPART,
    ),
    ("a file of three parts is no put", lambda case: case.parts > 1 and case.place is Place.PUT),
    (
        "an account that has the file meets the ack any: nothing is deleted there",
        lambda case: case.place is Place.DELETE and case.ack == "any",
    ),
    (
        "some hundred bytes, or none, take no time at 100 KB/s",
        lambda case: case.kind is Kind.SLOW and case.place not in _OF_THE_FILE,
    ),
    (
        "the request has no body that could be damaged",
        lambda case: case.kind is Kind.DAMAGES and case.place in (Place.BEGIN, Place.DELETE, Place.ABORT),
    ),
    (
        "only a complete sends its 200 before it knows",
        lambda case: case.kind is Kind.ERROR_IN_200 and case.place not in (Place.COMPLETE, Place.ANSWER),
    ),
    (
        "the answer of a complete that succeeded and is lost: that is answer-of-complete",
        lambda case: case.kind is Kind.LOSES_ANSWER and case.place is Place.COMPLETE,
    ),
    (
        "what S3 answers so it has not carried out",
        lambda case: case.kind in _NEVER_CARRIED_OUT and case.place is Place.ANSWER,
    ),
    (
        "the request carries no condition",
        lambda case: case.kind in (Kind.CONFLICT, Kind.PRECONDITION) and case.place not in _CONDITIONAL,
    ),
    (
        "the request names no upload",
        lambda case: case.kind is Kind.NO_SUCH_UPLOAD and case.place not in _NAMES_AN_UPLOAD,
    ),
)


def why_not(case: Case) -> str | None:
    """Why the case makes no sense; None if it does."""
    return next((reason for reason, holds in RULES if holds(case)), None)


@cache
def _told() -> tuple[Sequence[Case], Counter[str]]:
    cases: list[Case] = []
    excluded: Counter[str] = Counter()
    for account, place, kind, ack, parts in itertools.product(ACCOUNTS, Place, Kind, ACKS, PARTS):
        case = Case(account, place, kind, ack, parts)
        reason = why_not(case)
        if reason is None:
            cases.append(case)
        else:
            excluded[reason] += 1
    return tuple(cases), excluded


def every_case() -> Sequence[Case]:
    """All that make sense, always in the same order."""
    return _told()[0]


def excluded() -> Counter[str]:
    """How many combinations each rule leaves out, by its reason."""
    return _told()[1]
