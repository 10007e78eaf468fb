"""What verifying found, account by account: figures of everything, and the first of what is wrong by name."""

from dataclasses import dataclass, field

from file.logic.errors import AccountError

SHOWN = 100  # problems, and strangers, that are told one by one; all are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. `became`: what was done about it, or would be in a dry run.

    `good_copies`: other accounts that have the file, as far as the ledger knows; None where it is not about a replica.
    """

    account: str
    object_key: str
    code: str
    became: str
    detail: str
    file_id: str | None = None
    good_copies: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """An object, or an open upload, that is not ours; or an owner's own copy of ours. `installation`: whose it says."""

    account: str
    object_key: str
    upload_id: str | None = None
    installation: str | None = None


@dataclass
class AccountFindings:
    """With an `error` the account was not asked to the end. `unanswered`: replicas of which it told nothing.

    `left`, `uploads_left`: objects of files that were erased or given up, and open uploads of ours with which nothing
    goes on. `unknown`: objects that name a file which the ledger does not know, and are or may be this installation's.
    The last six are None if the account was not listed. `reached`: from 0 to 1.
    """

    asked: int = 0
    good: int = 0
    missing: int = 0
    differs: int = 0
    unanswered: int = 0
    reached: float = 0.0
    objects: int | None = None
    strangers: int | None = None
    left: int | None = None
    unknown: int | None = None
    uploads: int | None = None
    uploads_left: int | None = None
    error: AccountError | None = None

    def is_listed(self) -> None:
        """From now on there are figures of it."""
        self.objects = self.strangers = self.left = self.unknown = self.uploads = self.uploads_left = 0

    @property
    def is_right(self) -> bool:
        """Strangers are their owners' business."""
        wrong = self.missing + self.differs + self.unanswered
        wrong += (self.left or 0) + (self.unknown or 0) + (self.uploads_left or 0)
        return not wrong and self.error is None


@dataclass
class Findings:
    """What was found and done so far."""

    accounts: dict[str, AccountFindings]
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    strangers: list[Stranger] = field(default_factory=list)
    is_behind: bool = False  # a later state of the ledger acknowledged files that this one does not know
    has_unclaimed: bool = False  # objects name files, and no installation

    def add_problem(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)

    def add_stranger(self, stranger: Stranger) -> None:
        if len(self.strangers) < SHOWN:
            self.strangers.append(stranger)

    @property
    def is_right(self) -> bool:
        """Every account was asked for everything, and everything was as it should be."""
        return all(account.is_right for account in self.accounts.values())
