"""Each transition does what `states.py` draws, and no other module writes a state."""

import ast
import random
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, product
from pathlib import Path

import pytest
from django.db import connections
from django.db.models.functions import Now

from file.ledger import states
from file.ledger.accounts import presence
from file.ledger.accounts.backfill import backfill, unretire
from file.ledger.accounts.retirement import RetirementRefusedError, forget_unplaced, retire
from file.ledger.audit.rebuild import Copy, Restoration, RestoredFile
from file.ledger.audit.replicas import MISSING, REPLACED, Replicas
from file.ledger.audit.verification import Verification
from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.database.threads import ReadingThreads
from file.ledger.work.claims import Due
from file.logic.accounts.placement import Placement
from file.logic.accounts.registry import Registry
from file.logic.errors import AccessRefusedError, AccountUnreachableError, KeyOccupiedError, UploadError
from file.logic.naming import new_file_id
from file.logic.values import Ack, Digests, Failed, FileState, Intent, Place, ReplicaState, Stored
from file.models import File, Replica
from testkit.memorybucket import account
from tests.intents import ACCOUNTS, PREFIX, failed, intent, pending, receipt, stored
from tests.unit.ledger.looking import ask, ledger_on
from tests.unit.ledger.rows import make_file
from tests.unit.ledger.working import claims_of, erasures_of, results_of

Transition = tuple[str, str]
STATES = {"file": FileState, "replica": ReplicaState}
_LINE = re.compile(r"^    ([a-z, ]+?) -> ([a-z, ]+?) {2,}(\w+)  ", re.MULTILINE)
_LOG = """
CREATE TABLE IF NOT EXISTS log (of TEXT, before TEXT, after TEXT);
CREATE TRIGGER {table}_made AFTER INSERT ON file_{table} BEGIN
    INSERT INTO log VALUES ('{table}', 'new', NEW.state); END;
CREATE TRIGGER {table}_changed AFTER UPDATE OF state ON file_{table} WHEN OLD.state <> NEW.state BEGIN
    INSERT INTO log VALUES ('{table}', OLD.state, NEW.state); END;
CREATE TRIGGER {table}_removed AFTER DELETE ON file_{table} BEGIN
    INSERT INTO log VALUES ('{table}', OLD.state, 'gone'); END;
"""


def drawn(table: str) -> dict[str, set[Transition]]:
    """By name. A transition from a state to itself is no change."""
    assert states.__doc__ is not None
    of_file, of_replica = states.__doc__.split("\nReplica. ")
    found: dict[str, set[Transition]] = {}
    for before, after, name in _LINE.findall(of_file if table == "file" else of_replica):
        pairs = {(one, other) for one in before.split(", ") for other in after.split(", ")}
        found.setdefault(name, set()).update((one, other) for one, other in pairs if one != other)
    return found


def all_drawn(table: str) -> set[Transition]:
    return set().union(*drawn(table).values())


@contextmanager
def logging(database: str) -> Iterator["Log"]:
    """Log the transitions of an SQLite database until the block ends."""
    path = connections.settings[database]["NAME"]
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)) as connection:
        for table in STATES:
            connection.executescript(_LOG.format(table=table))
        yield Log(connection)


class Log:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        """Beside the ledger."""
        self._connection.execute(statement)

    def transitions(self, table: str) -> set[Transition]:
        return set(self._connection.execute("SELECT DISTINCT before, after FROM log WHERE of = ?", (table,)))


ROOT = Path(__file__).resolve().parents[3]
SOON = timedelta(seconds=1)
STORED = Stored(account="A", bucket="bucket-a", object_key="k", etag='"e"', version_id=None, request_id=None)
FAILED = Failed(account="A", bucket="bucket-a", object_key="k", error=AccountUnreachableError("A", "put"))
# Columns of a state: only `states.py` may write them.
COLUMNS = {"state", "live", "lease_until", "owner", "due_at", "begun_until", "last_look", "attempts", "error_code"}

Files = Callable[[str, str], object]  # the database, the file's id
FILE: dict[str, list[tuple[dict[str, object], Files]]] = {
    "forget_received": [({}, lambda alias, pk: states.forget_received(files(alias, pk)))],
    "give_up": [
        ({}, lambda alias, pk: states.give_up(files(alias, pk), holds_key=True)),
        ({}, lambda alias, pk: states.give_up(files(alias, pk), holds_key=False)),
    ],
    "take_over": [({"lease_until": Now() - SOON}, lambda alias, pk: states.take_over(files(alias, pk)))],
    "erase_file": [({}, lambda alias, pk: states.erase_file(files(alias, pk), "hash"))],
    "lack": [({}, lambda alias, pk: states.lack(files(alias, pk)))],
    "complete": [({}, lambda alias, pk: states.complete(alias, pk, "A"))],
    "finish": [
        ({"key_hash": "hash"}, lambda alias, pk: states.finish(alias, pk)),
        ({"lease_until": Now()}, lambda alias, pk: states.finish(alias, pk)),
        ({}, lambda alias, pk: states.finish(alias, pk)),
    ],
    "reopen_file": [({}, lambda alias, pk: states.reopen_file(files(alias, pk)))],
}
REPLICA: dict[str, list[Files]] = {
    "store": [lambda alias, pk: states.store(replicas(alias, pk), STORED)],
    "refuse": [lambda alias, pk: states.refuse(replicas(alias, pk), "code")],
    "block_missing": [lambda alias, pk: states.block_missing(replicas(alias, pk), "code")],
    "unblock": [lambda alias, pk: states.unblock(replicas(alias, pk))],
    "demote": [
        lambda alias, pk: states.demote(replicas(alias, pk), ReplicaState.PENDING, "code"),
        lambda alias, pk: states.demote(replicas(alias, pk), ReplicaState.BLOCKED, "code"),
    ],
    "show_again": [lambda alias, pk: states.show_again(replicas(alias, pk), STORED)],
    "end_removal": [
        lambda alias, pk: states.end_removal(replicas(alias, pk), removed=True),
        lambda alias, pk: states.end_removal(replicas(alias, pk), removed=False),
    ],
    "withdraw": [lambda alias, pk: states.withdraw(replicas(alias, pk))],
    "drain": [lambda alias, pk: states.drain(replicas(alias, pk))],
    "erase_replicas": [lambda alias, pk: states.erase_replicas(replicas(alias, pk))],
    "leave": [lambda alias, pk: states.leave(alias, pk, FAILED, SOON)],
    "account_has_none": [lambda alias, pk: states.account_has_none(replicas(alias, pk), 0)],
    "finish": [
        lambda alias, pk: erasing_and_finished(alias, pk, 1),
        lambda alias, pk: erasing_and_finished(alias, pk, 2),
    ],
    "reopen": [lambda alias, pk: states.reopen(alias, pk, "A", "k", SOON)],
    "want_again": [lambda alias, pk: states.want_again(replicas(alias, pk))],
    "forget": [lambda alias, pk: states.forget(replicas(alias, pk))],
}
# Rows that are created, and SQL: the tests of their writers test them.
MADE = {
    "file": {"CLAIMED", "CONCLUDED", "received_by", "RECEIVED", "restored_file", "FOUND_LATE"},
    "replica": {"STORED", "pending", "WANTED", "RESTORED", "missing", "UNSEEN"},
}


def files(alias: str, pk: str) -> states.Files:
    return File.objects.using(alias).filter(pk=pk)


def replicas(alias: str, pk: str) -> states.Replicas:
    return Replica.objects.using(alias).filter(file_id=pk, account="A")


def erasing_and_finished(alias: str, pk: str, looks: int) -> None:
    """Finish a file that was never acknowledged."""
    files(alias, pk).update(state=FileState.ERASING, lease_until=Now() if looks == 1 else None)
    states.finish(alias, pk)


def test_every_transition_has_a_name_that_is_written_here() -> None:
    assert drawn("file").keys() == FILE.keys() | MADE["file"]
    assert drawn("replica").keys() == REPLICA.keys() | MADE["replica"]
    for table, known in STATES.items():
        assert {word for pair in all_drawn(table) for word in pair} == {"new", "gone", *known}


@pytest.mark.parametrize("name", FILE)
def test_a_files_transition_begins_and_ends_where_it_is_drawn(sqlite_database: str, name: str) -> None:
    seen: set[Transition] = set()
    for (columns, apply), before in product(FILE[name], FileState):
        pk = make_file(sqlite_database, "k", {"A": "erased"}, state=before, **columns)
        apply(sqlite_database, pk)
        left = files(sqlite_database, pk).first()
        seen.add((before, "gone" if left is None else left.state))
        File.objects.using(sqlite_database).all().delete()
    assert {(before, after) for before, after in seen if before != after} == drawn("file")[name]


@pytest.mark.parametrize("name", REPLICA)
def test_a_replicas_transition_begins_and_ends_where_it_is_drawn(sqlite_database: str, name: str) -> None:
    seen: set[Transition] = set()
    for apply, before in product(REPLICA[name], ReplicaState):
        pk = make_file(sqlite_database, "k", {"A": before})
        if name == "forget":  # forgets only replicas without a place
            replicas(sqlite_database, pk).update(bucket="", stored_at=None)
        apply(sqlite_database, pk)
        left = replicas(sqlite_database, pk).first()
        seen.add((before, "gone" if left is None else left.state))
        File.objects.using(sqlite_database).all().delete()
    assert {(before, after) for before, after in seen if before != after} == drawn("replica")[name]


def modules() -> Iterator[Path]:
    """The modules that can write a row, with models or with SQL."""
    for path in sorted((ROOT / "file").rglob("*.py")):
        knows_tables = re.search(r"file\.models|file_file|file_replica", path.read_text())
        if knows_tables and path.name != "states.py" and path.parent.name != "migrations":
            yield path


def writes(tree: ast.AST) -> Iterator[str]:
    """The columns of a state that a module writes, with the ORM or with SQL."""
    words = "|".join({*FileState, *ReplicaState})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in (
            "update", "create", "bulk_create", "get_or_create", "update_or_create", "bulk_update", "File", "Replica",
        ):  # fmt: skip
            yield from (keyword.arg for keyword in node.keywords if keyword.arg in COLUMNS)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in COLUMNS:
            yield ast.unparse(node)
        if isinstance(node, ast.Dict):
            yield from (key.value for key in node.keys if isinstance(key, ast.Constant) and key.value in COLUMNS)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(rf"state\s*(?:=|IN)\s*\(?'(?:{words})'|'(?:receiving|erasing)'", node.value)


def test_no_other_module_writes_a_state() -> None:
    found = {path.relative_to(ROOT).as_posix(): [*writes(ast.parse(path.read_text()))] for path in modules()}
    assert {name: columns for name, columns in found.items() if columns} == {}


STEPS = 250
ERRORS = (AccountUnreachableError("A", "put"), AccessRefusedError("A", "put"), KeyOccupiedError("A", "put"))
PLACES = {name: account(name, PREFIX) for name in ACCOUNTS}


class Driver:
    """Calls the ledger's writers as the service and the commands do, at random."""

    def __init__(self, database: str, ledger: DatabaseLedger, threads: ReadingThreads, log: Log, seed: int) -> None:
        self._database, self._ledger, self._threads, self._log = database, ledger, threads, log
        self._random = random.Random(seed)  # noqa: S311 - a test
        self._claims, self._results = claims_of(ledger, database), results_of(ledger, database)
        self._received: list[Intent] = []
        self._followed: list[tuple[str, Place]] = []
        self._claimed: list[Due] = []
        self.steps: Sequence[Callable[[], Awaitable[object]]] = [
            self.intend, self.intend, self.intend, self.conclude, self.conclude, self.conclude, self.fail, self.follow,
            self.take_over, self.claim, self.claim, self.settle, self.settle, self.settle, self.clean, self.erase,
            self.block, self.release, self.retire, self.return_and_backfill, self.verify, self.verify, self.rebuild,
        ]  # fmt: skip

    async def step(self) -> None:
        with suppress(UploadError, RetirementRefusedError):
            await self._random.choice(self.steps)()

    @property
    def account(self) -> str:
        return self._random.choice(ACCOUNTS)

    async def ask(self, work: Callable[[], object]) -> None:
        await ask(self._database, work)

    async def write(self, work: Callable[..., object], *arguments: object) -> None:
        await self._ledger.writer.run(partial(work, self._database, *arguments))

    async def make_due(self) -> None:
        statement = "UPDATE file_replica SET due_at = '2020-01-01 00:00:00' WHERE due_at IS NOT NULL"
        await self.ask(partial(self._log.execute, statement))

    # --- an upload

    async def intend(self) -> None:
        part_size = self._random.choice((None, 8))
        wanted = intent(f"k{self._random.randrange(5)}", part_size=part_size)
        if await self._ledger.intend(wanted) is None:
            self._received.append(wanted)
            if part_size:
                self._ledger.begun(wanted.id, self.account, self._random.choice((None, "u")))

    def _one_received(self) -> Intent:
        if not self._received:
            raise KeyOccupiedError("A", "put")  # nothing to do
        return self._received.pop(self._random.randrange(len(self._received)))

    async def conclude(self) -> None:
        wanted = self._one_received()
        behind = self._random.choice(("", "", "C", "BC"))
        if await self._ledger.conclude(receipt(wanted, behind=behind)):
            self._followed += [(wanted.id, place) for place in wanted.places if place.account in behind]

    async def fail(self) -> None:
        wanted = self._one_received()
        of = receipt(wanted, gone="ABC", left=self._random.choice(("", "B", "AC")))
        if self._random.random() < 0.3:
            outcomes = tuple(failed(place, unanswered=place.account == "B") for place in wanted.places)
            of = replace(of, outcomes=outcomes)
        await self._ledger.conclude(of)

    async def follow(self) -> None:
        if self._followed:
            file_id, place = self._followed.pop(self._random.randrange(len(self._followed)))
            outcomes = (stored(place), pending(place, code="let_go"), pending(place, code="refused", retryable=False))
            await self._ledger.follow(file_id, self._random.choice(outcomes))

    # --- work

    async def take_over(self) -> None:
        statement = "UPDATE file_file SET lease_until = '2020-01-01 00:00:00' WHERE lease_until IS NOT NULL"
        await self.ask(partial(self._log.execute, statement))
        await self._claims.take_over()

    async def claim(self) -> None:
        await self.make_due()
        state = self._random.choice((ReplicaState.PENDING, ReplicaState.ERASING))
        self._claimed += await self._claims.claim(self.account, state, 4)

    async def settle(self) -> None:
        if not self._claimed:
            return
        due = self._claimed.pop(self._random.randrange(len(self._claimed)))
        if due.state is ReplicaState.ERASING and self._random.random() < 0.7:
            await self._results.gone(due, strangers=self._random.randrange(2))
            return
        has_it = stored(Place(due.account, due.bucket, due.object_key))
        await self._random.choice(
            (
                partial(self._results.found, due, has_it),
                partial(self._results.failed, due, self._random.choice(ERRORS)),
                partial(self._results.end_claim, due),
                partial(self._results.give_up, due),
                partial(self._claims.hold, due),
            )
        )()

    async def clean(self) -> None:
        """Everything that is to be removed from one account, or from all."""
        for name in ACCOUNTS if self._random.random() < 0.5 else (self.account,):
            for _ in range(3):
                await self.make_due()
                for due in await self._claims.claim(name, ReplicaState.ERASING, 100):
                    await self._results.gone(due)

    async def erase(self) -> None:
        await erasures_of(self._ledger, self._database).begin(f"k{self._random.randrange(5)}")

    # --- accounts

    async def block(self) -> None:
        account = self.account
        await self.write(presence.block_missing, account)
        await self.write(presence.mark_erasing, account, None)

    async def release(self) -> None:
        account = PLACES[self.account]
        if self._random.random() < 0.5:
            await self.ask(lambda: presence.retry(self._database, account))
        await self.write(presence.place_unplaced, account)
        await self.write(presence.unblock_missing, account)

    async def retire(self) -> None:
        work = partial(retire, self._database, self.account, keeps=self._random.random() < 0.3)
        await self.ask(partial(work, configured=set(ACCOUNTS), ack=Ack("any"), progress=lambda at: None))

    async def return_and_backfill(self) -> None:
        account = PLACES[self.account]
        await self.ask(lambda: unretire(self._database, account.name))
        placement = Placement(Registry(PLACES.values()))
        await self.ask(lambda: backfill(self._database, placement, account, lambda at: None))

    # --- audit

    async def verify(self) -> None:
        verification = Verification(self._threads, self._database)
        recorded = await Replicas(self._threads, self._database).one(self.account)
        batches = [batch async for batch, _ in Replicas(self._threads, self._database).batches(self.account)]
        rows = [row for row in (recorded, *chain.from_iterable(batches)) if row is not None]
        if not rows:
            return
        row = self._random.choice(rows)
        if row.state is ReplicaState.BLOCKED and self._random.random() < 0.6:
            if (claim := await verification.begin_removal(row)) is not None:
                await verification.end_removal(row, claim, removed=self._random.random() < 0.7)
        elif self._random.random() < 0.4:
            shown = stored(Place(row.account, row.bucket, row.object_key), version_id=row.version_id)
            await verification.verified([(row, shown)])
        else:
            await verification.demote(row, self._random.choice((MISSING, REPLACED)))

    async def rebuild(self) -> None:
        restoration = Restoration(self._threads, self._database, Registry(PLACES.values()))
        key, now = f"k{self._random.randrange(5)}", datetime.now(UTC)
        has_it = stored(Place("A", "bucket-a", PREFIX + key), version_id=None)
        missing = self._random.choice(({}, {"B": "missing"}, {"Z": "gone"}))
        made = RestoredFile(
            id=new_file_id(), key=key, name=key, content_type="text/plain", content_headers={}, metadata={},
            digests=Digests(3, bytes(32), 7), created_at=now, copies=[Copy(has_it, now)], missing=missing,
        )  # fmt: skip
        await restoration.write([made], [])
        if self._random.random() < 0.1:
            await restoration.forget_received()
        if self._random.random() < 0.3:
            await self.ask(lambda: forget_unplaced(self._database, "Z"))

    # --- at the end

    async def settle_all(self) -> None:
        """End all uploads, and bring or remove every replica that is due."""
        for place in PLACES.values():
            await self.write(presence.unblock_missing, place)
        for _ in range(8):
            await self.take_over()
            await self.make_due()
            for name in ACCOUNTS:
                for due in await self._claims.claim(name, ReplicaState.PENDING, 500):
                    await self._results.found(due, stored(Place(name, due.bucket, due.object_key)))
                for due in await self._claims.claim(name, ReplicaState.ERASING, 500):
                    await self._results.gone(due)


def unsettled(database: str) -> dict[str, int]:
    """Rows in a state that is not final, except those that wait for a person or for the unknown account Z."""
    replicas = Replica.objects.using(database).exclude(account="Z")
    files = File.objects.using(database).exclude(replicas__account="Z")
    blocked = files.filter(replicas__state="blocked")
    return {
        "replicas": replicas.filter(state__in=("pending", "erasing")).count(),
        "files": files.filter(state__in=("receiving", "erasing")).count(),
        "partial": files.filter(state="partial").exclude(pk__in=blocked).count(),
        "stored": files.filter(state="stored", replicas__state__in=("pending", "blocked")).count(),
    }


@pytest.mark.parametrize("seed", range(4))
async def test_every_change_of_a_state_is_drawn_and_at_the_end_all_is_settled(sqlite_database: str, seed: int) -> None:
    with logging(sqlite_database) as log:
        async with ledger_on(sqlite_database, settle_seconds=0) as ledger:
            threads = ReadingThreads(sqlite_database, count=1)
            driver = Driver(sqlite_database, ledger, threads, log, seed)
            for _ in range(STEPS):
                await driver.step()
            await driver.settle_all()
            await threads.close()
        for table in STATES:
            assert log.transitions(table) - all_drawn(table) == set()
        assert set((await ask(sqlite_database, partial(unsettled, sqlite_database))).values()) == {0}
