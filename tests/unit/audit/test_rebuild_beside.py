"""`ledger rebuild` beside a running service, and the output of the command."""

import asyncio
import json
from itertools import product
from pathlib import Path

from file.audit.rebuild import Rebuild
from file.ledger.keyed import account_hashes
from file.models import File
from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from tests.buckets import registry_of, s3_buckets
from tests.service.conftest import Accounts, Proxied, serving
from tests.service.owners import assert_stored
from tests.service.sizes import MANY_PARTS, content
from tests.unit.ledger.commands import run_manage, run_python, sqlite_url
from tests.unit.ledger.looking import ask

UPLOADS = 24
OURS = "0f0e0d0c-0000-4000-8000-000000000001"


async def test_no_removed_file_is_restored_when_the_service_is_running(
    accounts: Accounts, proxied: Proxied, sqlite_database: str
) -> None:
    proxy = proxied("C")
    refused = [f"refused {number}" for number in range(0, UPLOADS, 2)]
    for key, operation in product(refused, ("put", "complete")):
        proxy.add(Fault.refuses("AccessDenied", operation=operation, key=key, times=None))
    keys = [*refused, *(f"stored {number}" for number in range(1, UPLOADS, 2))]
    bodies = {key: content(MANY_PARTS if number % 4 == 0 else 1000) for number, key in enumerate(keys)}
    done = asyncio.Event()
    rounds = []

    async def rebuild_again_and_again() -> None:
        async with s3_buckets(*accounts.values()) as buckets:
            while not done.is_set():
                rounds.append(await Rebuild(sqlite_database, registry_of(buckets), hashes=account_hashes()).run())

    async with serving(accounts["A"], accounts["B"], proxy.account, database=sqlite_database) as service:
        rebuilding = asyncio.create_task(rebuild_again_and_again())
        async with service.client() as client, asyncio.TaskGroup() as group:
            asked = {key: group.create_task(client.put(f"/files/{key}", content=body)) for key, body in bodies.items()}
        statuses = {key: answer.result().status_code for key, answer in asked.items()}
        done.set()
        await rebuilding
    assert statuses == {key: 502 if key in refused else 201 for key in keys}
    assert len(rounds) > 1
    assert [problem for findings in rounds for problem in findings.problems] == []
    assert sum(findings.stored + findings.partial for findings in rounds) == 0
    kept = {key: body for key, body in bodies.items() if key not in refused}
    assert_stored(accounts.values(), kept)
    files = File.objects.using(sqlite_database)
    assert await ask(sqlite_database, lambda: sorted(files.values_list("key", flat=True))) == sorted(kept)


def put_ours(account: StoreAccount, key: str, accounts: str, body: bytes = b"x") -> None:
    file_id = "0193d7a0-0000-7000-8000-000000000001"
    metadata = {"mentum-file-id": file_id, "mentum-accounts": accounts, "mentum-installation": OURS}
    account.boto3().put_object(Bucket=account.s3_bucket_name, Key=key, Body=body, Metadata=metadata)


def test_the_command_fails_and_names_the_account_when_one_cannot_be_listed(accounts: Accounts, tmp_path: Path) -> None:
    put_ours(accounts["B"], "k", "A,B,C")
    ledger = tmp_path / "ledger.sqlite3"
    up = {**accounts["B"].environment(), **accounts["C"].environment()}  # no server listens at A
    run = run_manage(sqlite_url(ledger), "ledger", "rebuild", "--json", "--adopt", OURS, **up)
    assert (run.returncode, run.stderr) == (1, "")
    told = json.loads(run.stdout)
    assert (told["restored"], told["hashed"]) == ({"stored": 0, "partial": 1}, 1)
    codes = {name: each["error"] and each["error"]["code"] for name, each in told["accounts"].items()}
    assert codes == {"A": "account_unreachable", "B": None, "C": None}
    run = run_manage(sqlite_url(ledger), "ledger", "rebuild", **up)
    assert run.returncode == 1
    assert run.stdout.splitlines() == [
        "Restored 0 files, 0 of them partial. 1 files were known; 0 of their pending replicas are there. "
        "0 files that are being received or erased, or were given up, are unchanged. "
        "0 objects were read for their digests.",
        "A: 0 objects, 0 ours, 0 unknown, 0 missing.",
        "B: 1 objects, 1 ours, 0 unknown, 0 missing.",
        "C: 0 objects, 0 ours, 0 unknown, 0 missing.",
        "Not listed completely: A (account_unreachable): Account A cannot be reached: it refuses connections.",
    ]


def test_the_command_fails_and_says_why_when_something_is_not_restored(accounts: Accounts, tmp_path: Path) -> None:
    put_ours(accounts["A"], "k", "A,B")
    put_ours(accounts["B"], "k", "A,B", b"other")
    up = {name: text for account in accounts.values() for name, text in account.environment().items()}
    run = run_manage(sqlite_url(tmp_path / "ledger.sqlite3"), "ledger", "rebuild", "--adopt", OURS, **up)
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1] == (
        "Not restored: 'k' (copies_differ): has other bytes in one account than in another"
    )


def test_the_command_asks_no_account_when_a_setting_is_wrong(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite3"
    run = run_manage(sqlite_url(ledger), "ledger", "rebuild", AWS_ACCOUNT_B='{"secret_access_key": "SECRET"')
    assert run.returncode == 1
    assert run.stderr.startswith("CommandError: AWS_ACCOUNT_B: ")
    assert "SECRET" not in run.stdout + run.stderr
    assert not ledger.exists()


def test_the_command_ends_with_one_line_when_the_disk_is_full(tmp_path: Path) -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
        "from django.core.management import execute_from_command_line; import os; "
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'mentumfileupload.settings'; "
        "execute_from_command_line(['manage.py', 'ledger', 'rebuild', '--dry-run'])"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    # -B: otherwise Python would keep compiled modules, cut to this size.
    run = run_python(sqlite_url(tmp_path / "none.sqlite3"), "-B", "-c", script, TMPDIR=str(temporary))
    assert run.returncode == 1
    assert run.stderr.startswith("CommandError: the temporary file cannot be used (TMPDIR): ")
    assert list(temporary.iterdir()) == []


def test_the_help_says_what_cannot_be_restored(tmp_path: Path) -> None:
    told = " ".join(run_manage(sqlite_url(tmp_path / "none"), "ledger", "rebuild", "--help").stdout.split())
    for lost in ("who sent a file", "the ack", "request ids", "idempotency keys", "size of the parts"):
        assert lost in told
