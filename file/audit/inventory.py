"""What lies in the accounts, for whoever restores the ledger from them: what is ours, and whose we do not know.

All accounts are listed at once, each page's objects are looked at, and what carries a file's id is put into a scratch
database on the disk, so that memory is bounded whatever the number of objects, and in whatever order a store lists
them. An account that fails ends its own listing only. Leaves to others: what to make of it (`rebuild.py`).
"""

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from file.ledger.installations import NO_INSTALLATION
from file.logic.errors import AccountError
from file.logic.naming import begun_at, can_be_ours
from file.logic.ports import FoundObject, StorageAccount
from file.logic.values import FILE_ID, FILE_INSTALLATION, Stored

SHOWN = 100  # strangers and problems that are told one by one; all are counted
_COPIES = 100  # of one file; more than accounts there can be only by an owner's copying


@dataclass(frozen=True, slots=True)
class Sighting:
    """An object that carries a file's id. `key` is without the account's prefix.

    `installation`: whose it says it is; `NO_INSTALLATION` where it carries no id.
    """

    key: str
    file_id: str
    found: FoundObject

    @property
    def installation(self) -> str:
        return self.found.metadata.get(FILE_INSTALLATION) or NO_INSTALLATION

    @property
    def account(self) -> str:
        return self.found.stored.account


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be restored, in one line. `account` is empty where it is not about one."""

    code: str
    key: str
    file_id: str
    account: str
    detail: str


@dataclass
class AccountFindings:
    """With an `error` the account was not listed to its end."""

    objects: int = 0
    ours: int = 0
    strangers: int = 0
    missing: int = 0
    error: AccountError | None = None


@dataclass
class Findings:
    """What was found and done so far."""

    accounts: dict[str, AccountFindings]
    strangers: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    stored: int = 0  # files restored, every account has them
    partial: int = 0  # files restored, some account does not
    known: int = 0  # acknowledged files that the ledger had
    settled: int = 0  # replicas of those that were pending and are there
    left_alone: int = 0  # files that the ledger has as being received, erased or given up
    hashed: int = 0  # files that were read whole for their digests
    received: int = 0  # of those: files that are being received, or were when an older copy of the ledger was made
    behind_at: datetime | None = None  # when it was noticed that the ledger is behind
    others: dict[str, int] = field(default_factory=dict)  # objects of other installations, by whose they are
    unknown_accounts: int = 0  # files that lack a copy in an account whose name cannot be found, and are not restored
    without_accounts: int = 0  # files that are restored without such a copy
    foreign: int = 0  # files, restored or not, that name no account that is known

    @property
    def is_whole(self) -> bool:
        """Everything of ours that lies in the accounts is understood, and every account was asked."""
        told = self.problem_count or self.unknown_accounts
        return not told and all(account.error is None for account in self.accounts.values())

    @property
    def is_level(self) -> bool:
        """Besides: nothing is being received that an older copy of the ledger would take for an upload that died."""
        return self.is_whole and not self.received

    def add_stranger(self, account: str, object_key: str) -> None:
        self.accounts[account].strangers += 1
        if len(self.strangers) < SHOWN:
            self.strangers.append((account, object_key))

    def add_problem(self, problem: Problem) -> None:
        self.problem_count += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)


class Sightings:
    """In the scratch database, which `scratch` makes."""

    def __init__(self, database: sqlite3.Connection, ours: Collection[str]) -> None:
        self._database = database
        self._ours = ours
        database.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE seen (account TEXT, key TEXT, file_id TEXT, is_ours INTEGER, found TEXT,"
            " PRIMARY KEY (account, key));"
            "CREATE TABLE refused (account TEXT, key TEXT, code TEXT, PRIMARY KEY (account, key));"
            "CREATE INDEX seen_key ON seen (key); CREATE INDEX refused_key ON refused (key);"
        )

    def add(self, sightings: Sequence[Sighting]) -> None:
        rows = [
            (s.account, s.key, s.file_id, self.is_ours(s), json.dumps(asdict(s.found), default=_text))
            for s in sightings
        ]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def is_ours(self, sighting: Sighting) -> bool:
        """Of an installation whose objects are ours."""
        return sighting.installation in self._ours

    def are_ours(self, file: Sequence[Sighting]) -> bool:
        """A file, of which an earlier release may have written some copies, without an installation's id."""
        whose = {sighting.installation for sighting in file}
        return bool(whose & set(self._ours)) and whose <= {*self._ours, NO_INSTALLATION}

    def refuse(self, account: str, key: str, code: str) -> None:
        """The account has something under the key, and does not say what."""
        self._database.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?)", (account, key, code))

    def files(self) -> Iterator[list[Sighting]]:
        """The sightings of one file after those of another, the oldest file first."""
        rows = self._database.execute("SELECT file_id, key, found FROM seen ORDER BY file_id, account, key")
        for file_id, same in groupby(rows, key=lambda row: str(row[0])):
            yield [Sighting(key, file_id, _found(json.loads(found))) for _, key, found in islice(same, _COPIES)]

    def files_under(self, keys: Collection[str]) -> dict[str, set[str]]:
        """The ids of all files of ours that were seen under a key."""
        ids: dict[str, set[str]] = {}
        for key, file_id, is_ours in self._about("SELECT key, file_id, is_ours FROM seen", keys):
            if is_ours:
                ids.setdefault(key, set()).add(file_id)
        return ids

    def refusals_under(self, keys: Collection[str]) -> dict[tuple[str, str], str]:
        """The codes of what was refused, by account and key."""
        rows = self._about("SELECT account, key, code FROM refused", keys)
        return {(account, key): code for account, key, code in rows}

    def _about(self, query: str, keys: Collection[str]) -> sqlite3.Cursor:
        return self._database.execute(f"{query} WHERE key IN ({', '.join('?' * len(keys))})", tuple(keys))


@contextmanager
def scratch(ours: Collection[str]) -> Iterator[Sightings]:
    """Sightings in a temporary file, some hundred bytes an object; raise `sqlite3.Error` if the disk is full.

    `ours`: the installations whose objects are ours.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ledger-rebuild-") as folder,
        closing(sqlite3.connect(Path(folder) / "sightings.sqlite3", isolation_level=None)) as database,
    ):
        yield Sightings(database, ours)


async def survey(
    accounts: Sequence[StorageAccount], sightings: Sightings, findings: Findings, told: Callable[[], None]
) -> None:
    """List all accounts. `told` is called whenever `findings` has become more."""
    try:
        async with asyncio.TaskGroup() as group:
            for account in accounts:
                group.create_task(_Surveyor(account, sightings, findings).run(told))
    except ExceptionGroup as errors:  # no account's, but the scratch database's, or a bug
        raise errors.exceptions[0] from errors


class _Surveyor:
    """Of one account."""

    def __init__(self, bucket: StorageAccount, sightings: Sightings, findings: Findings) -> None:
        self._bucket = bucket
        self._account = bucket.account
        self._sightings = sightings
        self._findings = findings
        self._own = findings.accounts[bucket.account.name]

    async def run(self, told: Callable[[], None]) -> None:
        try:
            async with aclosing(self._bucket.pages()) as pages:
                async for keys in pages:
                    looked = await asyncio.gather(*(self._look(object_key) for object_key in keys))
                    self._sightings.add([sighting for sighting in looked if sighting is not None])
                    told()
                    if self._own.error is not None:
                        return
        except AccountError as error:
            self._own.error = error

    async def _look(self, object_key: str) -> Sighting | None:
        if self._own.error is not None:  # the account failed for another object of this page
            return None
        self._own.objects += 1
        key = object_key.removeprefix(self._account.prefix)
        if not can_be_ours(key):
            self._findings.add_stranger(self._account.name, object_key)
            return None
        try:
            found = await self._bucket.look(object_key)
        except AccountError as error:
            self._refuse(key, error)
            return None
        if found is None:  # gone since it was listed
            return None
        file_id = found.metadata.get(FILE_ID, "")
        if begun_at(file_id) is None:
            self._findings.add_stranger(self._account.name, object_key)
            return None
        self._own.ours += 1
        return Sighting(key, file_id, found)

    def _refuse(self, key: str, error: AccountError) -> None:
        if error.retryable:  # it was asked again and again
            self._own.error = error
            return
        name = self._account.name
        self._sightings.refuse(name, key, error.code)
        self._findings.add_problem(Problem("not_looked_at", key, "", name, error.detail))


def _found(fields: dict[str, Any]) -> FoundObject:
    modified = datetime.fromisoformat(fields.pop("last_modified"))
    return FoundObject(stored=Stored(**fields.pop("stored")), last_modified=modified, **fields)


def _text(moment: datetime) -> str:
    return moment.isoformat()
