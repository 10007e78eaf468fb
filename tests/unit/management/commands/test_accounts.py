"""`manage.py accounts` as users run it: the check-up, the subcommands, their output and their exit codes."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from file.accounts.checkup.checks import CHECKS
from file.ledger.accounts.accountstates import KnownAccount
from file.logic.values import Account
from file.management.reports.accounts import account_states, age, as_table
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.memorybucket import account
from testkit.processes import ROOT, start_process
from testkit.serviceprocess import SECRET_KEY
from tests.databases import sqlite_copy
from tests.unit.ledger.commands import run_manage, sqlite_url
from tests.unit.ledger.rows import AGO, PREFIX, change, make_file

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]
Run = Callable[..., CompletedProcess[str]]

KEY = {"SECRET_KEY": SECRET_KEY}


def environment(*accounts: StoreAccount) -> dict[str, str]:
    return KEY | {name: text for account in accounts for name, text in account.environment().items()}


def test_one_line_says_what_is_wrong(manage: Run, account_json: Callable[..., str]) -> None:
    run = manage("accounts", "--check", "--account", "Z", AWS_ACCOUNT_A=account_json(), **KEY)
    assert (run.returncode, run.stderr) == (1, "CommandError: there is no account 'Z'; the accounts are A\n")
    run = manage("accounts", "--check", AWS_ACCOUNT_A=account_json(prefix="/"), **KEY)
    assert run.returncode == 1
    assert run.stderr.startswith("CommandError: AWS_ACCOUNT_A: the key 'prefix' ")
    assert "$ecret" not in run.stdout + run.stderr


def test_the_help_says_what_a_check_does(manage: Run) -> None:
    run = manage("accounts", "--help")
    assert run.returncode == 0
    assert "mentum-check-<uuid>" in run.stdout
    assert "docs/operations.md" in run.stdout


def test_the_table_has_only_ticks_when_everything_is_allowed(manage: Run, accounts: Accounts) -> None:
    run = manage("accounts", "--check", **environment(accounts["A"], accounts["B"]))
    assert (run.returncode, run.stderr) == (0, "")
    header, *rows, last = run.stdout.splitlines()
    assert header.split() == ["A", "B"]
    assert [row[:22].strip() for row in rows] == [*CHECKS, "(keeps versions)"]
    signs = {row[:22].strip(): row[22:].split() for row in rows}
    assert signs.pop("owner") == ["-", "-"]
    assert signs.pop("(keeps versions)") == ["no", "no"]
    assert {tuple(row) for row in signs.values()} == {("✓", "✓")}
    assert last == "Everything that the service does works in each account."
    assert not accounts["A"].contents()
    assert not accounts["B"].contents()


def test_a_denied_action_has_a_line_and_exit_code_1(manage: Run, proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    proxy.add(Fault.refuses("AccessDenied", operation="list_versions", times=None))
    configured = environment(proxy.account, accounts["B"])
    run = manage("accounts", "--check", **configured)
    assert (run.returncode, run.stderr) == (1, "")
    lines = run.stdout.splitlines()
    assert lines[-1] == "✗ A, list versions: allow s3:ListBucketVersions on bucket bucket-a."
    assert [line.split()[-2:] for line in lines if line.startswith("list versions")] == [["✗", "✓"]]
    run = manage("accounts", "--check", "--json", **configured)
    assert run.returncode == 1
    told = json.loads(run.stdout)
    assert (told["whole"], told["accounts"]["B"]["left"]) == (False, [])
    checks = told["accounts"]["A"]["checks"]
    assert [check["check"] for check in checks] == list(CHECKS)
    action = {"action": "s3:ListBucketVersions", "detail": "allow s3:ListBucketVersions on bucket bucket-a"}
    failed = {"check": "list versions", "state": "failed", **action}
    assert [check for check in checks if check["state"] == "failed"] == [failed]
    assert not any(accounts[name].secret_access_key in run.stdout for name in "AB")
    assert manage("accounts", "--check", "--account", "B", **configured).returncode == 0
    assert not accounts["A"].contents()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_is_interrupted(
    number: signal.Signals, proxied: Proxied, accounts: Accounts, tmp_path: Path
) -> None:
    proxy = proxied("A")
    interrupted = threading.Event()
    proxy.add(Fault.holds_reply(interrupted, operation="complete"))
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    settings = {"UPLOAD_ENV_FILE": "", "DATABASE_URL": f"sqlite:///{tmp_path}/ledger.sqlite3"}
    with start_process(
        [sys.executable, "manage.py", "accounts", "--check", "--json"],
        cwd=ROOT,
        env={**kept, **settings, **environment(proxy.account)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            proxy.wait_for("complete", timeout_seconds=30)
            process.send_signal(number)
            interrupted.set()
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "")
    told = json.loads(output)
    assert (told["whole"], told["accounts"]["A"]["left"]) == (False, [])
    assert not accounts["A"].contents()


# --- subcommands


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


@pytest.fixture
def run_accounts(ledger: Path, account_json: Callable[..., str]) -> Run:
    """`run_accounts("retire", "A", names="AB")`; `names` are the accounts in the environment."""

    def run(*arguments: str, names: str = "ABC", **environment: str) -> CompletedProcess[str]:
        told = {f"AWS_ACCOUNT_{name}": account_json(s3_bucket_name=f"bucket-{name.lower()}") for name in names}
        return run_manage(sqlite_url(ledger), "accounts", *arguments, **told, **environment)

    return run


def fill(ledger: Path) -> None:
    with sqlite_copy(ledger) as alias:
        for key, state in (("k1", "stored"), ("k2", "blocked")):
            make_file(alias, key, {"A": "stored", "B": "stored", "C": state})
        make_file(alias, "k3", {"A": "stored", "X": "blocked"})
        change(alias, "k2", "C", error_code="access_refused", due_at=None)
        change(alias, "k3", "X", error_code="account_missing", due_at=AGO)


def object_of(ran: CompletedProcess[str], code: int = 0) -> dict[str, Any]:
    assert ran.returncode == code, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_each_account_has_a_row_without_a_subcommand(ledger: Path, run_accounts: Run) -> None:
    fill(ledger)
    ran = run_accounts()
    assert (ran.returncode, ran.stderr) == (0, "")
    rows = {line.split()[0]: line for line in ran.stdout.splitlines()}
    assert list(rows) == ["account", "A", "B", "C", "X"]
    assert rows["A"].split() == ["A", "bucket-a", "eu-central-1", "active", "3", "0", "0", "0", "-"]
    assert "1 (access_refused 1)" in rows["C"]
    assert "missing from the environment" in rows["X"]
    told = object_of(run_accounts("--json"))["accounts"]
    assert (told["C"]["stored"], told["C"]["blocked"]) == (1, {"access_refused": 1})
    assert told["C"]["last_error"] == "access_refused"
    assert (told["X"]["configured"], told["X"]["bucket"]) == (False, "bucket-x")


def test_the_result_is_one_object_when_json_is_asked_for(ledger: Path, run_accounts: Run) -> None:
    fill(ledger)
    assert object_of(run_accounts("--retry", "C", "--json")) == {"account": "C", "released": 1, "erasing": 0}
    drained = object_of(run_accounts("retire", "C", "--drain", "--json"), code=1)
    counts = {"given_up": 1, "leaving": 1, "only_there": 0, "unfinished": 2, "done": False}
    assert {**drained, **counts} == drained
    filled = object_of(run_accounts("--json", "add", "C", "--backfill"), code=1)  # the option may be on either side
    counts = {"was_retired": True, "files": 3, "added": 1, "leaving": 2, "whole": False}
    assert {**filled, **counts} == filled


def test_an_account_is_renamed(ledger: Path, run_accounts: Run, account_json: Callable[..., str]) -> None:
    fill(ledger)
    new = account_json(s3_bucket_name="bucket-x", prefix=PREFIX)
    renamed = object_of(run_accounts("rename", "X", "Y", "--json", AWS_ACCOUNT_Y=new))
    assert renamed == {"account": "X", "new_name": "Y", "renamed": 1}
    told = object_of(run_accounts("--json", AWS_ACCOUNT_Y=new))["accounts"]
    assert set(told) == set("ABCY")
    assert (told["Y"]["pending"], told["Y"]["blocked"]) == (1, {})


def test_the_result_is_in_lines_without_json(ledger: Path, run_accounts: Run) -> None:
    fill(ledger)
    ran = run_accounts("retire", "A", "--drain")
    assert ran.returncode == 1
    assert "A is retired: no new files go there." in ran.stdout
    assert "1 files are only in A" in ran.stdout
    ran = run_accounts("add", "A")
    assert ran.returncode == 0
    assert "A is not retired any more." in ran.stdout
    assert "from the next start" in ran.stdout
    ran = run_accounts("--retry", "C")
    assert ran.returncode == 0
    assert ran.stdout == "C: 1 blocked replicas are pending again; 0 erasures are due now.\n"


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
def test_a_refusal_is_one_line(ledger: Path, run_accounts: Run, arguments: list[str], says: str) -> None:
    fill(ledger)
    ran = run_accounts(*arguments)
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (1, "", f"CommandError: {says}")


def test_the_last_account_is_not_retired(run_accounts: Run) -> None:
    assert run_accounts("retire", "A", "--keep", names="AB").returncode == 0
    ran = run_accounts("retire", "B", "--keep", names="AB")
    assert (ran.returncode, ran.stderr.strip()) == (1, "CommandError: B is the last account that gets new files")


def test_nothing_is_done_when_the_settings_have_a_fault(ledger: Path, run_accounts: Run) -> None:
    """An account with a fault would look as if it were not configured."""
    fill(ledger)
    ran = run_accounts("retire", "B", "--drain", AWS_ACCOUNT_D="{")
    assert ran.returncode == 1
    assert "AWS_ACCOUNT_D" in ran.stderr
    assert object_of(run_accounts("--json"))["accounts"]["B"]["state"] == "active"


def test_each_state_of_an_account_has_its_name() -> None:
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
def test_an_age_is_given_in_its_largest_unit(seconds: float, says: str) -> None:
    assert age(seconds) == says
