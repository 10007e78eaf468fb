"""Each transition does what is drawn, and no other module writes a state."""

import ast
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models.functions import Now

from file.ledger import states
from file.logic.errors import AccountUnreachableError
from file.logic.values import Failed, FileState, ReplicaState, Stored
from file.models import File, Replica
from tests.unit.ledger.rows import make_file
from tests.unit.ledger.statetable import STATES, Transition, all_drawn, drawn

ROOT = Path(__file__).resolve().parents[3]
SOON = timedelta(seconds=1)
STORED = Stored(account="A", bucket="bucket-a", object_key="k", etag='"e"', version_id=None, request_id=None)
FAILED = Failed(account="A", bucket="bucket-a", object_key="k", error=AccountUnreachableError("A", "put"))
# Columns of a state: only the ledger's states.py may say what they become.
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
# Not functions of query sets, but rows that are created, and SQL. The tests of their writers see them.
MADE = {
    "file": {"CLAIMED", "CONCLUDED", "received_by", "RECEIVED", "restored_file", "FOUND_LATE"},
    "replica": {"STORED", "pending", "WANTED", "RESTORED", "missing", "UNSEEN"},
}


def files(alias: str, pk: str) -> states.Files:
    return File.objects.using(alias).filter(pk=pk)


def replicas(alias: str, pk: str) -> states.Replicas:
    return Replica.objects.using(alias).filter(file_id=pk, account="A")


def erasing_and_finished(alias: str, pk: str, looks: int) -> None:
    """Of a file that was never acknowledged."""
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
    for columns, apply in FILE[name]:
        for number, before in enumerate(FileState):
            pk = make_file(sqlite_database, f"k{number}", {"A": "erased"}, state=before, **columns)
            apply(sqlite_database, pk)
            left = files(sqlite_database, pk).first()
            seen.add((before, "gone" if left is None else left.state))
        File.objects.using(sqlite_database).all().delete()
    assert {(before, after) for before, after in seen if before != after} == drawn("file")[name]


@pytest.mark.parametrize("name", REPLICA)
def test_a_replicas_transition_begins_and_ends_where_it_is_drawn(sqlite_database: str, name: str) -> None:
    seen: set[Transition] = set()
    for apply in REPLICA[name]:
        for number, before in enumerate(ReplicaState):
            pk = make_file(sqlite_database, f"k{number}", {"A": before})
            if name == "forget":  # only what has no place
                replicas(sqlite_database, pk).update(bucket="", stored_at=None)
            apply(sqlite_database, pk)
            left = replicas(sqlite_database, pk).first()
            seen.add((before, "gone" if left is None else left.state))
        File.objects.using(sqlite_database).all().delete()
    assert {(before, after) for before, after in seen if before != after} == drawn("replica")[name]


def modules() -> Iterator[Path]:
    """Those that can write a row: by the models, or by SQL."""
    for path in sorted((ROOT / "file").rglob("*.py")):
        knows_tables = re.search(r"file\.models|file_file|file_replica", path.read_text())
        if knows_tables and path.name != "states.py" and path.parent.name != "migrations":
            yield path


def writes(tree: ast.AST) -> Iterator[str]:
    """What of a module writes a column of a state: by the ORM, or by SQL."""
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
