"""A group as one statement writes the same rows as its single statements, or leaves the group to them."""

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.db.models import Model

from file.ledger.commit.outcomes import Asked, Noted, Outcomes
from file.logic.values import FileState, Intent
from file.models import File, Replica
from tests.databases import locked, scratch_sqlite, with_options
from tests.intents import intent, receipt
from tests.unit.ledger.looking import execute

_TIMES = {"created_at", "lease_until", "stored_at"}


def outcomes_on(database: str, owner: str = "ours") -> Outcomes:
    return Outcomes(database, owner, lease_seconds=30, settle_seconds=2)


def claimed(database: str, *keys: str) -> tuple[Outcomes, list[Intent]]:
    outcomes, intents = outcomes_on(database), [intent(key) for key in keys]
    assert outcomes.at_once(intents) == [True] * len(keys)
    return outcomes, intents


def by_statements(outcomes: Outcomes, database: str, asked: Sequence[Asked]) -> Sequence[bool]:
    with transaction.atomic(using=database):
        return outcomes(asked)


def rows(database: str, model: type[Model]) -> list[dict[str, Any]]:
    """Of times, only whether there is one: they are the database's own."""
    found = model._default_manager.using(database).order_by("pk").values()
    return [{name: value is None if name in _TIMES else value for name, value in row.items()} for row in found]


def states(database: str) -> dict[str, str]:
    return dict(File.objects.using(database).values_list("key", "state"))


def test_the_rows_are_the_same_as_by_the_statements(sqlite_database: str) -> None:
    usual = intent("a", idempotency_key="once", metadata={"colour": "bläu", 'q"uote': "\u2028"})
    nothing: dict[str, Any] = {"size": None, "sha256": None, "metadata": {}, "content_headers": {}}
    bare = intent("b", **nothing, part_size=1 << 40, places=usual.places[:1])
    groups: list[list[Asked]] = [[usual, bare], [intent("c"), receipt(usual), receipt(bare)]]
    with scratch_sqlite() as other:
        at_once, usually = outcomes_on(sqlite_database), outcomes_on(other)
        for asked in groups:
            assert at_once.at_once(asked) == [True] * len(asked)
            assert by_statements(usually, other, asked) == [True] * len(asked)
        for model in (File, Replica):
            assert rows(sqlite_database, model) == rows(other, model)
    assert states(sqlite_database) == {"a": FileState.STORED, "b": FileState.STORED, "c": FileState.RECEIVING}
    assert Replica.objects.using(sqlite_database).count() == 4


def test_the_times_are_of_the_same_form_as_by_the_statements(sqlite_database: str) -> None:
    outcomes, _ = claimed(sqlite_database, "one")
    by_statements(outcomes, sqlite_database, [intent("other")])
    forms = "SELECT length(created_at), length(lease_until), lease_until > created_at FROM file_file"
    assert len(set(execute(sqlite_database, forms))) == 1


def test_the_statements_say_who_lost_when_a_key_is_taken(sqlite_database: str) -> None:
    outcomes, [mine, _] = claimed(sqlite_database, "mine", "taken")
    group: list[Asked] = [intent("new"), intent("taken"), receipt(mine)]
    assert outcomes.at_once(group) is None
    for _ in range(2):  # also when its answer was lost once more
        assert by_statements(outcomes, sqlite_database, group) == [True, False, True]
    receiving = dict.fromkeys(("taken", "new"), FileState.RECEIVING)
    assert states(sqlite_database) == {"mine": FileState.STORED, **receiving}
    assert Replica.objects.using(sqlite_database).count() == 3


def test_nothing_is_recorded_when_another_process_took_the_file_over(sqlite_database: str) -> None:
    (outcomes, [mine]), others = claimed(sqlite_database, "mine"), intent("others")
    by_statements(outcomes_on(sqlite_database, "theirs"), sqlite_database, [others])
    group: list[Asked] = [receipt(mine), receipt(others)]
    assert outcomes.at_once(group) is None
    assert by_statements(outcomes, sqlite_database, group) == [True, False]
    assert states(sqlite_database) == {"mine": FileState.STORED, "others": FileState.RECEIVING}
    assert {str(row) for row in Replica.objects.using(sqlite_database).values_list("file_id", flat=True)} == {mine.id}


@pytest.mark.parametrize(
    "unusual",
    [
        lambda mine: receipt(mine, behind="B"),
        lambda mine: receipt(mine, gone="ABC"),
        lambda mine: receipt(mine, left="B"),
        lambda mine: Noted(mine.id, "A", "upload"),
    ],
)
def test_nothing_is_written_when_something_is_unusual(sqlite_database: str, unusual: Any) -> None:
    outcomes, [mine] = claimed(sqlite_database, "mine")
    assert outcomes.at_once([intent("new"), unusual(mine)]) is None
    assert states(sqlite_database) == {"mine": FileState.RECEIVING}


def test_nothing_is_written_when_a_file_has_uploads_to_close(sqlite_database: str) -> None:
    outcomes, [large] = claimed(sqlite_database, "large")
    outcomes.multipart.add(large.id)
    assert outcomes.at_once([receipt(large)]) is None
    assert states(sqlite_database) == {"large": FileState.RECEIVING}


@pytest.mark.parametrize(
    "bad",
    [
        lambda mine: [intent("b", name="\ud800")],  # no text
        lambda mine: [intent("b", name="in\0two")],  # which JSON would cut
        lambda mine: [intent("b", metadata={"x": float("nan")})],  # refused by a condition of the table
        lambda mine: [replace(of := receipt(mine), outcomes=(*of.outcomes, of.outcomes[0]))],  # by an index
    ],
)
def test_nothing_of_a_group_is_written_when_one_row_cannot_be_written(sqlite_database: str, bad: Any) -> None:
    outcomes, [mine] = claimed(sqlite_database, "mine")
    assert outcomes.at_once([intent("a"), *bad(mine), intent("c")]) is None
    assert states(sqlite_database) == {"mine": FileState.RECEIVING}
    assert not Replica.objects.using(sqlite_database).exists()


def test_it_raises_when_the_database_is_locked(sqlite_database: str) -> None:
    """The single statements would only wait for the same lock again."""
    with with_options(sqlite_database, timeout=0.1), locked(sqlite_database):
        with pytest.raises(OperationalError, match="locked"):
            outcomes_on(sqlite_database).at_once([intent()])
        connections[sqlite_database].close()
    assert states(sqlite_database) == {}


def test_it_goes_on_when_the_connection_is_a_new_one(sqlite_database: str) -> None:
    outcomes, [mine] = claimed(sqlite_database, "mine")
    connections[sqlite_database].close()
    assert outcomes.at_once([receipt(mine)])
    assert states(sqlite_database) == {"mine": FileState.STORED}


def test_it_is_durable_when_it_returns(sqlite_database: str) -> None:
    """Another connection sees it, and no transaction is open."""
    outcomes_on(sqlite_database).at_once([intent("mine")])
    assert not connections[sqlite_database].connection.in_transaction
    with sqlite3.connect(connections[sqlite_database].settings_dict["NAME"]) as other:
        assert other.execute("SELECT key FROM file_file").fetchall() == [("mine",)]
    other.close()


def test_it_is_for_sqlite_only(postgresql_database: str) -> None:
    assert outcomes_on(postgresql_database).at_once([intent("mine")]) is None
    assert states(postgresql_database) == {}
