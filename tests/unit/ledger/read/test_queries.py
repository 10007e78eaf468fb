"""Every query finds its rows by an index, on both databases; `bench/ledger_rows.py` measures millions of rows."""

import pytest

from bench.filled_ledger import ACCOUNTS, files, key_of, replicas
from bench.ledger_rows import PAGE, indexes_in, questions, whole_tables_in
from file.ledger.read.queries import listing, replicas_of_key
from file.logic.values import FileState
from file.models import File, Replica
from tests.unit.ledger.conftest import Filled

COUNT = 20_000
# By the beginning of the question: an index that must be in its plan.
INDEXES = {
    "file by key": "one_live_file_a_key",
    "receipt by id": "file_file",
    "page, the first": "one_live_file_a_key",
    "page, from": "one_live_file_a_key",
    "page of a prefix": "one_live_file_a_key",
    "page, state partial": "file_partial",
    "due": "replica_due",
    "expired": "file_leases",
    "replicas still": "replica_unfinished",
    "admin, the": "file_file",
    "admin, state partial": "file_partial",
    "admin, state receiving": "file_leases",
    "admin, account": "file_file",
}


def test_an_index_is_used_when_the_ledger_is_large(filled: Filled) -> None:
    database = filled(COUNT)
    assert File.objects.using(database).count() == sum(1 for _ in files(COUNT)) == COUNT
    assert Replica.objects.using(database).count() == sum(1 for _ in replicas(COUNT))
    for question in questions(database, COUNT):
        plan = question.new().explain()
        assert not whole_tables_in(plan), (question.name, plan)
        wanted = [index for name, index in INDEXES.items() if question.name.startswith(name)]
        assert wanted, question.name
        for index in wanted:
            assert any(index in used for used in indexes_in(plan)), (question.name, plan)
        if question.name.startswith("page") and "partial" not in question.name:  # few enough to be sorted
            assert "TEMP B-TREE" not in plan
            assert "Sort" not in plan


def test_the_answers_are_right_when_the_ledger_is_large(filled: Filled) -> None:
    database = filled(COUNT)
    assert sorted(replica.account for replica in replicas_of_key(database, key_of(7))) == list(ACCOUNTS)
    page = [file.key for file in listing(database, prefix="team-150/", after=key_of(1150))[:PAGE]]
    assert page == sorted(key_of(number) for number in range(1350, COUNT, 200))[:PAGE]
    partial = listing(database, state=FileState.PARTIAL)
    assert [file.key for file in partial] == sorted(key_of(number) for number in range(7, COUNT, 200))


@pytest.mark.parametrize(
    ("plan", "whole"),
    [
        ("2 0 0 SCAN file_file", True),
        ("2 0 0 SCAN file_file USING INDEX one_live_file_a_key", False),
        ("2 0 0 SEARCH file_replica USING INDEX replica_due (due_at>? AND due_at<?)", False),
        ("3 0 0 SEARCH file_file USING INDEX x (key>?)\n9 0 0 SCAN file_replica", True),
        ("Limit\n  ->  Seq Scan on file_file  (cost=0.00..1 rows=1)", True),
        ("Limit\n  ->  Index Scan using file_partial on file_file  (cost=0.00..1 rows=1)", False),
    ],
)
def test_a_whole_table_is_noticed_when_a_plan_reads_it(plan: str, whole: bool) -> None:
    assert bool(whole_tables_in(plan)) is whole


def test_the_plan_of_a_question_without_an_index_is_noticed_when_it_is_asked(filled: Filled) -> None:
    assert whole_tables_in(File.objects.using(filled(COUNT)).filter(name="none").explain())
