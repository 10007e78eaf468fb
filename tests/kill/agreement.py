"""When everything has settled, ledger and accounts agree.

The ledger is asked with plain SQL, and the accounts with boto3, not with the code under test.
"""

import json
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg

from file.logic.values import FILE_ID
from testkit.account import StoreAccount
from tests.databases import Postgres
from tests.service.owners import asking

_LOOK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class Held:
    """An object in an account, or a stored replica in the ledger."""

    account: str
    object_key: str
    file_id: str


class Ledger(ABC):
    """The ledger's database. `now` is its clock, in SQL."""

    url: str
    now: str

    @abstractmethod
    def ask(self, query: str, *parameters: object) -> list[tuple[str, ...]]:
        """The rows. Parameters are question marks."""

    @abstractmethod
    def change(self, *statements: str) -> None:
        """In one transaction."""

    def unsettled(self, *, lastly: bool = False) -> list[tuple[str, ...]]:
        """Unacknowledged files and pending replicas; `lastly`, also files that only wait for the last look."""
        return self.ask(
            "SELECT f.name, f.state, r.account, r.state, r.error_code, r.attempts FROM file_file f "
            "LEFT JOIN file_replica r ON r.file_id = f.id AND r.state NOT IN ('stored', 'erased') "
            "WHERE (f.state IN ('receiving', 'erasing') AND (f.live OR ?)) OR r.state = 'pending'",
            lastly,
        )

    def held(self) -> set[Held]:
        rows = self.ask("SELECT account, object_key, file_id FROM file_replica WHERE state = 'stored'")
        return {Held(account, object_key, str(file_id).replace("-", "")) for account, object_key, file_id in rows}

    def acknowledged(self) -> set[str]:
        """The names of the files that exist for a reader."""
        return {name for (name,) in self.ask("SELECT name FROM file_file WHERE state IN ('stored', 'partial')")}

    def everywhere(self, accounts: int) -> set[str]:
        """The names of the files that are stored in this number of accounts."""
        rows = self.ask(
            "SELECT f.name FROM file_file f JOIN file_replica r ON r.file_id = f.id WHERE r.state = 'stored' "
            "GROUP BY f.id HAVING count(*) = ?",
            accounts,
        )
        return {name for (name,) in rows}

    def let_leases_lapse(self) -> None:
        """Let all leases and pauses run out. Only while no service runs."""
        self.change(
            f"UPDATE file_file SET lease_until = {self.now} WHERE lease_until IS NOT NULL",  # noqa: S608 - our own
            f"UPDATE file_replica SET due_at = {self.now} WHERE due_at IS NOT NULL",  # noqa: S608
        )


class SqliteLedger(Ledger):
    """A file."""

    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"  # as Django writes it

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path = path

    def ask(self, query: str, *parameters: object) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query, parameters).fetchall()

    def change(self, *statements: str) -> None:
        with closing(sqlite3.connect(self._path, timeout=10)) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()


class PostgresqlLedger(Ledger):
    """A database on a server."""

    now = "clock_timestamp()"

    def __init__(self, server: Postgres, name: str) -> None:
        self.url = server.url(name)
        database = server.database(name)
        self._where = {"host": database["HOST"], "user": database["USER"], "dbname": name}

    def ask(self, query: str, *parameters: object) -> list[tuple[str, ...]]:
        with psycopg.connect(**self._where) as connection:
            return connection.execute(query.replace("?", "%s").encode(), parameters).fetchall()

    def change(self, *statements: str) -> None:
        with psycopg.connect(**self._where) as connection:
            for statement in statements:
                connection.execute(statement.encode())


def assert_settled(ledger: Ledger, within_seconds: float, *, lastly: bool = False) -> None:
    """Poll until the clean-up is done: it has no signal."""
    deadline = time.monotonic() + within_seconds
    while unsettled := ledger.unsettled(lastly=lastly):
        assert time.monotonic() < deadline, json.dumps(unsettled, indent=1)
        time.sleep(_LOOK_AGAIN_SECONDS)


def assert_agreement(ledger: Ledger, accounts: Iterable[StoreAccount], told: Iterable[str]) -> None:
    """Every account has exactly the ledger's objects, and the files named in `told`, whose clients got a success."""
    found: set[Held] = set()
    for account in accounts:
        contents = account.contents()
        assert contents.uploads == [], f"{account.name}: {contents.uploads}"
        client = asking(account)
        for key, _ in contents.versions:
            metadata = client.head_object(Bucket=account.s3_bucket_name, Key=key)["Metadata"]
            found.add(Held(account.name, key, metadata[FILE_ID].replace("-", "")))
    held = ledger.held()
    assert found - held == set(), "in an account, and not in the ledger"
    assert held - found == set(), "in the ledger, and not in the account"
    assert set(told) - ledger.acknowledged() == set(), "acknowledged to a client, and not in the ledger"
