"""`manage.py verify` as an operator runs it beside the service: what it prints, and its exit code."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from file.audit.findings import SHOWN, AccountFindings, Finding, Findings, UnknownObject
from file.logic.errors import AccountUnreachableError
from file.management.reports.verify import as_json, as_lines, as_progress
from testkit.account import StoreAccount
from tests.service.conftest import ONE_PART, Accounts, content, put, serving
from tests.service.receipts import answer_when, listed_state
from tests.service.verifying import body_of, delete, overwrite, states_of
from tests.unit.ledger.commands import run_manage, sqlite_url


async def manage(path: Path, accounts: Mapping[str, StoreAccount], *arguments: str) -> CompletedProcess[str]:
    environment = {name: text for account in accounts.values() for name, text in account.environment().items()}
    return await asyncio.to_thread(run_manage, sqlite_url(path), "verify", *arguments, **environment)


async def told(path: Path, accounts: Mapping[str, StoreAccount], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the one object."""
    run = await manage(path, accounts, "--json", *arguments)
    assert run.stderr == ""
    assert run.stdout.count("\n") == 1
    return run.returncode, json.loads(run.stdout)


@pytest.fixture
def ledger(sqlite_database: str, tmp_path: Path) -> Path:
    return tmp_path / "database.sqlite3"


@pytest.mark.timeout(300)
async def test_an_operator_is_told_and_the_service_puts_it_right(
    accounts: Accounts, sqlite_database: str, ledger: Path
) -> None:
    async with serving(*accounts.values(), database=sqlite_database) as service:
        for key in ("in/k", "in/other", "out"):
            assert (await put(service, ONE_PART, key)).status_code == 201
    code, found = await told(ledger, accounts, "--deep")
    assert (code, found["right"], found["problems"], found["deep"]) == (0, True, {"count": 0, "first": []}, True)
    assert found["accounts"]["B"] == {
        "asked": 3,
        "good": 3,
        "missing": 0,
        "differs": 0,
        "not_answered": 0,
        "objects": 3,
        "strangers": 0,
        "left_behind": 0,
        "not_in_ledger": 0,
        "open_uploads": 0,
        "uploads_left_open": 0,
        "error": None,
    }
    delete(accounts["A"], "in/k")
    overwrite(accounts["C"], b"theirs", "in/other")
    overwrite(accounts["B"], b"theirs", "in/theirs")
    code, found = await told(ledger, accounts, "--dry-run", "--prefix", "in/")
    assert (code, found["dry_run"], found["problems"]["count"]) == (1, True, 2)
    assert [found["accounts"][name]["objects"] for name in "ABC"] == [1, 3, 2]
    assert {name for name, state in (await states_of(sqlite_database, "in/k")).items() if state[0] != "stored"} == set()
    code, found = await told(ledger, accounts, "--account", "B", "--sample", "2")
    assert (code, found["accounts"].keys(), found["accounts"]["B"]["asked"]) == (0, {"B"}, 2)
    assert found["accounts"]["B"]["strangers"] is None
    run = await manage(ledger, accounts)
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
    async with (
        serving(*accounts.values(), database=sqlite_database, lease_seconds=1.0) as service,
        service.client() as client,
    ):
        await answer_when(lambda: listed_state(client, "in/k"), lambda state: state == "stored")
    assert body_of(accounts["A"], "in/k") == content(ONE_PART)


@pytest.mark.timeout(300)
async def test_what_cannot_be_done_is_refused_in_a_line(accounts: Accounts, tmp_path: Path, ledger: Path) -> None:
    for arguments, words in (
        (("--account", "Z"), "the accounts are A, B, C"),
        (("--clean", "--sample", "1"), "use one of them"),
        (("--sample", "0"), "a whole number"),
    ):
        run = await manage(ledger, accounts, *arguments)
        assert run.returncode != 0
        assert words in run.stderr, run.stderr
        assert "Traceback" not in run.stderr
        assert run.stdout == ""
    run = await manage(tmp_path / "none.sqlite3", accounts)
    assert (run.returncode, "there is no ledger yet" in run.stderr) == (1, True)
    assert not (tmp_path / "none.sqlite3").exists()


@pytest.mark.timeout(300)
async def test_an_account_that_is_not_configured_any_more_is_told(
    accounts: Accounts, sqlite_database: str, ledger: Path
) -> None:
    async with serving(*accounts.values(), database=sqlite_database) as service:
        assert (await put(service, ONE_PART)).status_code == 201
    del accounts["C"]
    code, found = await told(ledger, accounts)
    assert (code, found["accounts"]["C"]["not_answered"]) == (1, 1)
    assert found["accounts"]["C"]["error"]["code"] == "account_unreachable"
    assert found["accounts"]["A"]["good"] == found["accounts"]["B"]["good"] == 1
    assert (await states_of(sqlite_database))["C"] == ("stored", None)


def a_problem(number: int, **changes: Any) -> Finding:
    told = {
        "account": "A",
        "key": f"k{number}",
        "code": "replica_missing",
        "became": "kept",
        "detail": "is gone",
    }
    return Finding(**{**told, **changes})


def test_lists_are_bounded_and_what_is_left_is_counted() -> None:
    findings = Findings({"A": AccountFindings(asked=SHOWN + 7, missing=SHOWN + 7)})
    for number in range(SHOWN + 7):
        findings.add(a_problem(number))
        findings.add_unknown(UnknownObject(account="A", object_key=f"s{number}"))
    lines = list(as_lines(findings, dry_run=False))
    assert "And 7 more." in lines
    assert len(lines) == SHOWN + 1 + SHOWN + 1
    found = as_json(findings)
    assert (found["problems"]["count"], len(found["problems"]["first"])) == (SHOWN + 7, SHOWN)


def test_lines_say_how_many_good_copies_are_left() -> None:
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


def test_progress_is_the_part_of_all_accounts_that_is_done() -> None:
    own = AccountFindings()
    findings = Findings({"A": own, "B": AccountFindings(reached=1.0, objects=4)})
    assert as_progress(findings) == ("0 replicas checked, 0 problems, 4 objects listed", 0.5)
    own.reached = 1.0
    assert as_progress(findings)[1] == 1.0
    assert as_progress(Findings({}))[1] == 0.0
