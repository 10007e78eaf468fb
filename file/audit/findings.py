"""The findings of verify, scrub, orphans, and rebuild: counts of everything, and the first ones by name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from file.ledger.audit.rebuild import RestoredFile
from file.logic.errors import AccountError

SHOWN = 100  # findings, and unknown objects, that are listed singly; all are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault.

    `account` is empty if it is not about one account. `key`: the object's key; in a rebuild, the file's. `became`: what
    was done, or would be done in a dry run; empty in a rebuild. `good_copies`: the number of other accounts that have
    the file, according to the ledger; None if it is not about a replica.
    """

    code: str
    account: str
    key: str
    detail: str
    became: str = ""
    file_id: str | None = None
    good_copies: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownObject:
    """An object or an open upload that is not ours, or an owner's own copy of ours.

    `installation`: the one that wrote it, if known.
    """

    account: str
    object_key: str
    upload_id: str | None = None
    installation: str | None = None


@dataclass
class AccountFindings:
    """The counts of one account. With an `error` they are incomplete. `reached`: from 0 to 1.

    Replicas: `asked`, `good`, `missing`, `differs`, and `unanswered`, about which the account did not answer.
    A listing, if `is_listed`: all `objects`; `ours`, which a rebuild restores; `unknown`, which are not ours;
    `left_behind`, of files that were erased or never acknowledged; `not_in_ledger`, of files that the ledger does not
    have and that may be this installation's; `open_uploads`, and `uploads_left_open`, which nothing continues.
    """

    asked: int = 0
    good: int = 0
    missing: int = 0
    differs: int = 0
    unanswered: int = 0
    reached: float = 0.0
    is_listed: bool = False
    objects: int = 0
    ours: int = 0
    unknown: int = 0
    left_behind: int = 0
    not_in_ledger: int = 0
    open_uploads: int = 0
    uploads_left_open: int = 0
    error: AccountError | None = None

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong. Objects of others are not a fault."""
        wrong = self.missing + self.differs + self.unanswered
        wrong += self.left_behind + self.not_in_ledger + self.uploads_left_open
        return not wrong and self.error is None


@dataclass
class Findings:
    """Findings and changes so far."""

    accounts: dict[str, AccountFindings]
    problems: list[Finding] = field(default_factory=list)
    problem_count: int = 0
    unknown: list[UnknownObject] = field(default_factory=list)
    is_behind: bool = False  # a later state of the ledger acknowledged files that this one does not know
    has_unclaimed: bool = False  # objects name files, and no installation

    def add(self, problem: Finding) -> None:
        self.problem_count += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)

    def add_unknown(self, found: UnknownObject) -> None:
        """Open uploads are not counted among the account's unknown objects."""
        if found.upload_id is None:
            self.accounts[found.account].unknown += 1
        if len(self.unknown) < SHOWN:
            self.unknown.append(found)

    @property
    def unknown_count(self) -> int:
        return sum(account.unknown for account in self.accounts.values())

    @property
    def is_right(self) -> bool:
        """Whether every account was examined completely, without a fault."""
        return all(account.is_right for account in self.accounts.values())


@dataclass
class RebuildFindings(Findings):
    """Also what a rebuild restored."""

    stored: int = 0  # files restored, every account has them
    partial: int = 0  # files restored, some account does not
    known: int = 0  # acknowledged files that the ledger had
    settled: int = 0  # replicas of those that were pending and are there
    left_alone: int = 0  # files that the ledger has as being received, erased or given up
    hashed: int = 0  # files that were read whole for their digests
    received: int = 0  # files that are being received, or were when an older copy of the ledger was made
    behind_at: datetime | None = None  # when it was noticed that the ledger is behind
    others: Counter[str] = field(default_factory=Counter)  # objects of other installations, by installation
    unknown_accounts: int = 0  # files that lack a copy in an account whose name cannot be found, and are not restored
    without_accounts: int = 0  # files that are restored without that copy
    foreign: int = 0  # files, restored or not, that name no account that is known

    def count(self, files: Sequence[RestoredFile], *, settled: int) -> None:
        """Files that are, or would be, restored; and pending replicas that exist."""
        self.settled += settled
        for file in files:
            if file.missing:
                self.partial += 1
            else:
                self.stored += 1
            for account in file.missing:
                self.accounts[account].missing += 1

    @property
    def is_whole(self) -> bool:
        """Every object of ours is understood, and every account was examined."""
        unclear = self.problem_count or self.unknown_accounts
        return not unclear and all(account.error is None for account in self.accounts.values())

    @property
    def is_level(self) -> bool:
        """It is whole, and no upload is under way that an older copy of the ledger would treat as dead."""
        return self.is_whole and not self.received
