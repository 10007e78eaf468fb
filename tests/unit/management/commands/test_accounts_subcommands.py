"""`manage.py accounts` and its subcommands as they are run: what they say, in lines or one object, and how they end."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from file.ledger.accounts.accountstates import KnownAccount
from file.logic.values import Account
from file.management.reports.accounts import account_states, age, as_table
from testkit.memorybucket import account
from tests.databases import sqlite_copy
from tests.unit.ledger.commands import run_manage, sqlite_url
from tests.unit.ledger.rows import AGO, PREFIX, change, make_file

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def accounts(ledger: Path, account_json: Callable[..., str]) -> Run:
    """With A, B and C in the environment, or the names that are given as `names`."""

    def run(*arguments: str, names: str = "ABC", **environment: str) -> CompletedProcess[str]:
        told = {f"AWS_ACCOUNT_{name}": account_json(s3_bucket_name=f"bucket-{name.lower()}") for name in names}
        return run_manage(sqlite_url(ledger), "accounts", *arguments, **told, **environment)

    return run


def fill(ledger: Path) -> None:
    with sqlite_copy(ledger) as alias:
        make_file(alias, "k1", {"A": "stored", "B": "stored", "C": "stored"})
        make_file(alias, "k2", {"A": "stored", "B": "stored", "C": "blocked"})
        make_file(alias, "k3", {"A": "stored", "X": "blocked"})
        for key, name, code in (("k2", "C", "access_refused"), ("k3", "X", "account_missing")):
            change(alias, key, name, error_code=code, due_at=AGO if code == "account_missing" else None)


def object_of(ran: CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert ran.returncode == code, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_each_account_has_a_row_when_nothing_is_asked_for(ledger: Path, accounts: Run) -> None:
    fill(ledger)
    ran = accounts()
    assert (ran.returncode, ran.stderr) == (0, "")
    rows = {line.split()[0]: line for line in ran.stdout.splitlines()}
    assert list(rows) == ["account", "A", "B", "C", "X"]
    assert rows["A"].split() == ["A", "bucket-a", "eu-central-1", "active", "3", "0", "0", "0", "-"]
    assert "1 (access_refused 1)" in rows["C"]
    assert "missing from the environment" in rows["X"]
    told = object_of(accounts("--json"))["accounts"]
    assert (told["C"]["stored"], told["C"]["blocked"], told["C"]["last_error"]) == (
        1,
        {"access_refused": 1},
        "access_refused",
    )
    assert (told["X"]["configured"], told["X"]["bucket"]) == (False, "bucket-x")


def test_what_is_done_is_told_in_one_object_when_it_is_asked_for(ledger: Path, accounts: Run) -> None:
    fill(ledger)
    assert object_of(accounts("--retry", "C", "--json")) == {"account": "C", "released": 1, "erasing": 0}
    drained = object_of(accounts("retire", "C", "--drain", "--json"), code=1)
    assert {name: drained[name] for name in ("given_up", "leaving", "only_there", "unfinished", "done")} == {
        "given_up": 1,
        "leaving": 1,
        "only_there": 0,
        "unfinished": 2,
        "done": False,
    }
    filled = object_of(accounts("--json", "add", "C", "--backfill"), code=1)  # the option may stand on either side
    assert {name: filled[name] for name in ("was_retired", "files", "added", "leaving", "whole")} == {
        "was_retired": True,
        "files": 3,
        "added": 1,
        "leaving": 2,
        "whole": False,
    }


def test_an_account_is_renamed_when_the_environment_has_its_new_name(
    ledger: Path, accounts: Run, account_json: Callable[..., str]
) -> None:
    fill(ledger)
    new = account_json(s3_bucket_name="bucket-x", prefix=PREFIX)
    assert object_of(accounts("rename", "X", "Y", "--json", AWS_ACCOUNT_Y=new)) == {
        "account": "X",
        "new_name": "Y",
        "renamed": 1,
    }
    told = object_of(accounts("--json", AWS_ACCOUNT_Y=new))["accounts"]
    assert set(told) == set("ABCY")
    assert (told["Y"]["pending"], told["Y"]["blocked"]) == (1, {})


def test_what_was_done_and_what_is_left_is_told_in_lines(ledger: Path, accounts: Run) -> None:
    fill(ledger)
    ran = accounts("retire", "A", "--drain")
    assert ran.returncode == 1
    assert "A is retired: no new files go there." in ran.stdout
    assert "1 files are only in A" in ran.stdout
    ran = accounts("add", "A")
    assert ran.returncode == 0
    assert "A is not retired any more." in ran.stdout
    assert "from the next start" in ran.stdout
    ran = accounts("--retry", "C")
    assert (ran.returncode, ran.stdout) == (
        0,
        "C: 1 blocked replicas are pending again; 0 erasures are due now.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--retry", "X"], "AWS_ACCOUNT_X is not set; the accounts in the environment are: A, B, C"),
        (["add", "X", "--backfill"], "AWS_ACCOUNT_X is not set; the accounts in the environment are: A, B, C"),
        (["retire", "X", "--drain"], "AWS_ACCOUNT_X is not set: nothing can be removed from X without it"),
        (["retire", "Z", "--keep"], "there is no account Z, neither in the environment nor in the ledger"),
        (["rename", "A", "B"], "AWS_ACCOUNT_A is still set: rename it to AWS_ACCOUNT_B first"),
        (["rename", "X", "Y"], "AWS_ACCOUNT_Y is not set; the accounts in the environment are: A, B, C"),
        (["rename", "X", "C"], "X has files in bucket-x, and the bucket of C is another"),
        (["rename", "Z", "C"], "the ledger knows no account Z"),
    ],
)
def test_a_refusal_is_one_line_when_something_cannot_be_done(
    ledger: Path, accounts: Run, arguments: list[str], says: str
) -> None:
    fill(ledger)
    ran = accounts(*arguments)
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (1, "", f"CommandError: {says}")


def test_the_last_account_is_not_retired(accounts: Run) -> None:
    assert accounts("retire", "A", "--keep", names="AB").returncode == 0
    ran = accounts("retire", "B", "--keep", names="AB")
    assert (ran.returncode, ran.stderr.strip()) == (1, "CommandError: B is the last account that gets new files")


def test_nothing_is_done_when_the_settings_have_a_fault(ledger: Path, accounts: Run) -> None:
    """An account with a fault would look as if it were not configured."""
    fill(ledger)
    ran = accounts("retire", "B", "--drain", AWS_ACCOUNT_D="{")
    assert ran.returncode == 1
    assert "AWS_ACCOUNT_D" in ran.stderr
    assert object_of(accounts("--json"))["accounts"]["B"]["state"] == "active"


def test_each_way_of_being_there_has_its_name() -> None:
    known = {
        "keeps": KnownAccount(name="keeps", keeps=True, stored=1),
        "drains": KnownAccount(name="drains", keeps=False, erasing={"": 1, "object_locked": 2}),
        "empty": KnownAccount(name="empty", keeps=False),
        "gone": KnownAccount(name="gone", bucket="b", pending=2, oldest_seconds=7300),
        "left": KnownAccount(name="left", keeps=True, stored=1),
    }
    configured: list[Account] = [account(name) for name in ("new", "keeps", "drains", "empty")]
    states = account_states(configured, known)
    assert {state.known.name: state.state for state in states} == {
        "new": "active",
        "keeps": "retired (keeps)",
        "drains": "retired (draining)",
        "empty": "retired (empty)",
        "gone": "missing from the environment",
        "left": "retired (keeps), missing from the environment",
    }
    table = "\n".join(as_table(states).lines())
    assert "2 (oldest 2 h)" in table
    assert "3 (object_locked 2)" in table


@pytest.mark.parametrize(("seconds", "says"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (1e6, "11 d")])
def test_an_age_is_told_in_its_largest_unit(seconds: float, says: str) -> None:
    assert age(seconds) == says
