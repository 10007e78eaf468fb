"""`manage.py verify` as an operator runs it: what it prints, and its exit code."""

from pathlib import Path
from typing import Any

import pytest

from file.audit.findings import SHOWN, AccountFindings, Finding, Findings, UnknownObject
from file.logic.errors import AccountUnreachableError
from file.management.reports.verify import as_json, as_lines, as_progress
from tests.service.conftest import Accounts, serving_client
from tests.service.owners import body_of, delete, overwrite
from tests.service.receipts import answer_when, listed_state
from tests.service.services import manage, manage_json
from tests.service.sizes import ONE_PART, content
from tests.service.verifying import states_of, upload
from tests.unit.ledger.commands import sqlite_url


@pytest.fixture
def url(sqlite_database: str, tmp_path: Path) -> str:
    """Of the ledger `sqlite_database`."""
    return sqlite_url(tmp_path / "database.sqlite3")


@pytest.mark.timeout(300)
async def test_verify_reports_and_the_service_repairs(accounts: Accounts, sqlite_database: str, url: str) -> None:
    await upload(sqlite_database, *accounts.values(), keys=("in/k", "in/other", "out"))
    code, found = await manage_json(url, accounts.values(), "verify", "--deep")
    assert (code, found["right"], found["problems"], found["deep"]) == (0, True, {"count": 0, "first": []}, True)
    none = "missing differs not_answered strangers left_behind not_in_ledger open_uploads uploads_left_open".split()
    expected = {**dict.fromkeys(none, 0), **dict.fromkeys(("asked", "good", "objects"), 3), "error": None}
    assert found["accounts"]["B"] == expected
    delete(accounts["A"], "in/k")
    overwrite(accounts["C"], b"theirs", "in/other")
    overwrite(accounts["B"], b"theirs", "in/theirs")
    code, found = await manage_json(url, accounts.values(), "verify", "--dry-run", "--prefix", "in/")
    assert (code, found["dry_run"], found["problems"]["count"]) == (1, True, 2)
    assert [found["accounts"][name]["objects"] for name in "ABC"] == [1, 3, 2]
    assert {state for state, _ in (await states_of(sqlite_database, "in/k")).values()} == {"stored"}
    code, found = await manage_json(url, accounts.values(), "verify", "--account", "B", "--sample", "2")
    assert (code, found["accounts"].keys(), found["accounts"]["B"]["asked"]) == (0, {"B"}, 2)
    assert found["accounts"]["B"]["strangers"] is None
    run = await manage(url, accounts.values(), "verify")
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    titles = "account asked good missing differs not answered unknown objects left behind not in ledger open uploads"
    assert lines[0].split() == titles.split()
    assert [line.split() for line in lines[1:4]] == [
        ["A", *"3 2 1 0 0 0 0 0 0".split()],
        ["B", *"3 3 0 0 0 1 0 0 0".split()],
        ["C", *"3 2 0 1 0 0 0 0 0".split()],
    ]
    assert "A: 'in/k' (replica_missing): is not there: catch-up copies it." in lines
    assert "B: 'in/theirs': an object of another owner; not changed." in lines
    assert lines[-1] == "Problems were found."
    assert (await states_of(sqlite_database, "in/k"))["A"] == ("pending", "replica_missing")
    assert (await states_of(sqlite_database, "in/other"))["C"] == ("blocked", "replaced")
    async with serving_client(*accounts.values(), database=sqlite_database, lease_seconds=1.0) as (_, client):
        await answer_when(lambda: listed_state(client, "in/k"), lambda state: state == "stored")
    assert body_of(accounts["A"], "in/k") == content(ONE_PART)


@pytest.mark.timeout(300)
async def test_wrong_options_are_refused_in_one_line(accounts: Accounts, tmp_path: Path, url: str) -> None:
    for arguments, words in (
        (("--account", "Z"), "the accounts are A, B, C"),
        (("--clean", "--sample", "1"), "use one of them"),
        (("--sample", "0"), "a whole number"),
    ):
        run = await manage(url, accounts.values(), "verify", *arguments)
        assert run.returncode != 0
        assert words in run.stderr, run.stderr
        assert "Traceback" not in run.stderr
        assert run.stdout == ""
    run = await manage(sqlite_url(tmp_path / "none.sqlite3"), accounts.values(), "verify")
    assert (run.returncode, "there is no ledger yet" in run.stderr) == (1, True)
    assert not (tmp_path / "none.sqlite3").exists()


@pytest.mark.timeout(300)
async def test_an_account_without_configuration_is_reported(accounts: Accounts, sqlite_database: str, url: str) -> None:
    await upload(sqlite_database, *accounts.values())
    del accounts["C"]
    code, found = await manage_json(url, accounts.values(), "verify")
    assert (code, found["accounts"]["C"]["not_answered"]) == (1, 1)
    assert found["accounts"]["C"]["error"]["code"] == "account_unreachable"
    assert found["accounts"]["A"]["good"] == found["accounts"]["B"]["good"] == 1
    assert (await states_of(sqlite_database))["C"] == ("stored", None)


def a_problem(number: int, **changes: Any) -> Finding:
    told = {"account": "A", "key": f"k{number}", "code": "replica_missing", "became": "kept", "detail": "is gone"}
    return Finding(**{**told, **changes})


def test_lists_are_bounded_and_have_a_count_of_the_rest() -> None:
    findings = Findings({"A": AccountFindings(asked=SHOWN + 7, missing=SHOWN + 7)})
    for number in range(SHOWN + 7):
        findings.add(a_problem(number))
        findings.add_unknown(UnknownObject(account="A", object_key=f"s{number}"))
    lines = list(as_lines(findings, dry_run=False))
    assert "And 7 more." in lines
    assert len(lines) == SHOWN + 1 + SHOWN + 1
    found = as_json(findings)
    assert (found["problems"]["count"], len(found["problems"]["first"])) == (SHOWN + 7, SHOWN)


def test_lines_have_the_number_of_good_copies() -> None:
    findings = Findings({"A": AccountFindings(error=AccountUnreachableError("A", "head"))})
    findings.add(a_problem(0, good_copies=0))
    findings.add(a_problem(1, good_copies=1, became="pending"))
    findings.add(a_problem(2, good_copies=2, became="removed", code="replaced"))
    for dry_run in (False, True):
        lines = list(as_lines(findings, dry_run=dry_run))
        assert lines[0] == "A: 'k0' (replica_missing): is gone: unchanged; the file has no other good copy."
        assert lines[1].endswith("; the file has only one other good copy.")
        assert ("would" in lines[2]) is dry_run
        assert lines[-2] == "Not verified completely: A (account_unreachable): " + str(findings.accounts["A"].error)


def test_progress_is_the_share_of_all_accounts_that_is_done() -> None:
    own = AccountFindings()
    findings = Findings({"A": own, "B": AccountFindings(reached=1.0, objects=4)})
    assert as_progress(findings) == ("0 replicas checked, 0 problems, 4 objects listed", 0.5)
    own.reached = 1.0
    assert as_progress(findings)[1] == 1.0
    assert as_progress(Findings({}))[1] == 0.0
