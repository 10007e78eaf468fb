"""`manage.py accounts --check` as it is run: its table, its exit codes, and that nothing is left by an interruption."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from file.accounts.checkup.checks import CHECKS
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.serviceprocess import SECRET_KEY

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]
Run = Callable[..., CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[4]
KEY = {"SECRET_KEY": SECRET_KEY}


def environment(*accounts: StoreAccount) -> dict[str, str]:
    return KEY | {name: text for account in accounts for name, text in account.environment().items()}


def test_one_line_refuses_when_the_settings_or_the_name_are_wrong(
    manage: Run, account_json: Callable[..., str]
) -> None:
    run = manage("accounts", "--check", "--account", "Z", AWS_ACCOUNT_A=account_json(), **KEY)
    assert (run.returncode, run.stderr) == (1, "CommandError: there is no account 'Z'; the accounts are A\n")
    run = manage("accounts", "--check", AWS_ACCOUNT_A=account_json(prefix="/"), **KEY)
    assert run.returncode == 1
    assert run.stderr.startswith("CommandError: AWS_ACCOUNT_A: the key 'prefix' ")
    assert "$ecret" not in run.stdout + run.stderr


def test_help_says_what_a_check_does_when_it_is_asked_for(manage: Run) -> None:
    run = manage("accounts", "--help")
    assert run.returncode == 0
    assert "mentum-check-<uuid>" in run.stdout
    assert "docs/operations.md" in run.stdout


def test_table_has_ticks_only_when_all_is_allowed(manage: Run, accounts: Accounts) -> None:
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


def test_cross_has_its_line_and_the_exit_code_is_1_when_something_is_denied(
    manage: Run, proxied: Proxied, accounts: Accounts
) -> None:
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
    assert told["whole"] is False
    assert told["accounts"]["B"]["left"] == []
    assert [check["check"] for check in told["accounts"]["A"]["checks"]] == list(CHECKS)
    assert [check for check in told["accounts"]["A"]["checks"] if check["state"] == "failed"] == [
        {
            "check": "list versions",
            "state": "failed",
            "action": "s3:ListBucketVersions",
            "detail": "allow s3:ListBucketVersions on bucket bucket-a",
        }
    ]
    secrets = [accounts[name].secret_access_key for name in "AB"]
    assert not any(secret in run.stdout for secret in secrets)
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
    with subprocess.Popen(
        [sys.executable, "manage.py", "accounts", "--check", "--json"],
        cwd=ROOT,
        env={**kept, **settings, **environment(proxy.account)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background may have Ctrl-C ignored, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
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
