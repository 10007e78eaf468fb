"""The inventory of a rebuild: every object in the accounts that carries a file's id.

All accounts are listed at the same time, and each object is examined. Objects with a file's id are stored in a scratch
database on the disk, so that memory is limited for any number of objects, and the order of a listing does not matter.
An account that fails ends only its own listing. Leaves to others: using the inventory (`rebuild.py`).
"""

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from file.audit.findings import Finding, RebuildFindings, UnknownObject
from file.audit.verify import together
from file.ledger.installations import NO_INSTALLATION
from file.logic.errors import AccountError
from file.logic.naming import begun_at, can_be_ours
from file.logic.ports import FoundObject, StorageAccount
from file.logic.values import FILE_ID, FILE_INSTALLATION, Stored

_COPIES = 100  # of one file; there are more than accounts only if an owner copied it


@dataclass(frozen=True, slots=True)
class FoundCopy:
    """An object that carries a file's id. `key` is without the account's prefix.

    `installation`: the one that wrote it; `NO_INSTALLATION` if it carries no installation's id.
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


class Inventory:
    """The inventory in the scratch database, which `scratch_inventory` creates."""

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

    def add(self, copies: Sequence[FoundCopy]) -> None:
        rows = [
            (c.account, c.key, c.file_id, self.is_ours(c), json.dumps(asdict(c.found), default=_text)) for c in copies
        ]
        self._database.execute("BEGIN")
        self._database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?)", rows)
        self._database.execute("COMMIT")

    def is_ours(self, copy: FoundCopy) -> bool:
        """Adds an object of an installation whose objects are ours."""
        return copy.installation in self._ours

    def are_ours(self, copies: Sequence[FoundCopy]) -> bool:
        """Of one file. An earlier release may have written some of its copies, without an installation's id."""
        installations = {copy.installation for copy in copies}
        return bool(installations & set(self._ours)) and installations <= {*self._ours, NO_INSTALLATION}

    def refuse(self, account: str, key: str, code: str) -> None:
        """Records that the account has an object under the key, but refuses to show it."""
        self._database.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?)", (account, key, code))

    def files(self) -> Iterator[list[FoundCopy]]:
        """The copies of one file after those of another, the oldest file first."""
        rows = self._database.execute("SELECT file_id, key, found FROM seen ORDER BY file_id, account, key")
        for file_id, same in groupby(rows, key=lambda row: str(row[0])):
            yield [FoundCopy(key, file_id, _found(json.loads(found))) for _, key, found in islice(same, _COPIES)]

    def files_under(self, keys: Collection[str]) -> dict[str, set[str]]:
        """The ids of all our files that were found, by key."""
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
def scratch_inventory(ours: Collection[str]) -> Iterator[Inventory]:
    """An empty inventory in a temporary file, some hundred bytes per object; raises `sqlite3.Error` on a full disk.

    `ours`: the installations whose objects are ours.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ledger-rebuild-") as folder,
        closing(sqlite3.connect(Path(folder) / "inventory.sqlite3", isolation_level=None)) as database,
    ):
        yield Inventory(database, ours)


async def take_inventory(
    storages: Sequence[StorageAccount], inventory: Inventory, findings: RebuildFindings, progress: Callable[[], None]
) -> None:
    """Lists all accounts. `progress` is called each time when `findings` has grown."""
    await together([_Listing(storage, inventory, findings).run(progress) for storage in storages])


class _Listing:
    """Lists one account."""

    def __init__(self, storage: StorageAccount, inventory: Inventory, findings: RebuildFindings) -> None:
        self._storage = storage
        self._account = storage.account
        self._inventory = inventory
        self._findings = findings
        self._own = findings.accounts[storage.account.name]

    async def run(self, progress: Callable[[], None]) -> None:
        self._own.is_listed = True
        try:
            async with aclosing(self._storage.pages()) as pages:
                async for keys in pages:
                    looked = await asyncio.gather(*(self._look(object_key) for object_key in keys))
                    self._inventory.add([copy for copy in looked if copy is not None])
                    progress()
                    if self._own.error is not None:
                        return
        except AccountError as error:
            self._own.error = error

    async def _look(self, object_key: str) -> FoundCopy | None:
        if self._own.error is not None:  # the account failed for another object of this page
            return None
        self._own.objects += 1
        key = object_key.removeprefix(self._account.prefix)
        if not can_be_ours(key):
            self._unknown(object_key)
            return None
        try:
            found = await self._storage.look(object_key)
        except AccountError as error:
            self._refuse(key, error)
            return None
        if found is None:  # gone since it was listed
            return None
        file_id = found.metadata.get(FILE_ID, "")
        if begun_at(file_id) is None:
            self._unknown(object_key)
            return None
        self._own.ours += 1
        return FoundCopy(key, file_id, found)

    def _unknown(self, object_key: str) -> None:
        self._findings.add_unknown(UnknownObject(account=self._account.name, object_key=object_key))

    def _refuse(self, key: str, error: AccountError) -> None:
        if error.retryable:  # it was asked several times
            self._own.error = error
            return
        name = self._account.name
        self._inventory.refuse(name, key, error.code)
        self._findings.add(Finding(code="not_looked_at", account=name, key=key, detail=error.detail))


def _found(fields: dict[str, Any]) -> FoundObject:
    modified = datetime.fromisoformat(fields.pop("last_modified"))
    return FoundObject(stored=Stored(**fields.pop("stored")), last_modified=modified, **fields)


def _text(moment: datetime) -> str:
    return moment.isoformat()
