"""The effect of more accounts, clients, files in the ledger, and delay. This service, and rclone if it applies."""

import shutil
import sys
from pathlib import Path

from bench.contestants.contestant import Contestant, Filled
from bench.contestants.ours import Ours
from bench.contestants.rclone import Rclone
from bench.errors import BenchError
from bench.figures import MiB, Work
from bench.folders import ROOT
from bench.plan import SMALL, work_name
from bench.processes import clean_environment
from bench.run import ACCOUNTS, Run
from bench.servers import null_accounts
from testkit.processes import run_process

DELAY_MS = 50
SLOW_BYTES_PER_SECOND = 1_000_000
# Measured: rows and indexes of a file with three replicas, with space for the journal.
_LEDGER_BYTES_A_FILE = 3000


def accounts_name(who: str, count: int) -> str:
    return f"{who}, {count} account{'s' if count > 1 else ''}"


def accounts(run: Run) -> None:
    """1 to 16 accounts, one upload at a time: the time of an upload."""
    counts = run.plan.account_counts
    with null_accounts(run.folder, max(counts)) as every:
        for size in (5 * MiB,) if run.plan.is_quick else (5 * MiB, SMALL):
            work = run.plan.work(size, 1)
            contestants: list[Contestant] = []
            for count in counts:
                mine = every[:count]
                contestants.append(Ours(mine, run.folder, name=accounts_name("ours", count)))
                name = accounts_name("rclone", count)
                contestants.append(Rclone(mine, run.folder, name=name))
            run.measure("accounts", work_name(work), work, contestants, accounts=max(counts))


def clients(run: Run) -> None:
    """1 to 256 clients with uploads of 4 KiB."""
    with null_accounts(run.folder, ACCOUNTS) as every:
        for at_once in run.plan.client_counts:
            work = run.plan.work(SMALL, at_once)
            contestants = [Ours(every, run.folder), Rclone(every, run.folder)]
            run.measure("clients", work_name(work), work, contestants)


def ledger_name(files: int) -> str:
    return f"ours, {files:,} files in the ledger"


def ledger(run: Run) -> None:
    """A ledger that already has files, each with three replicas."""
    work = run.plan.work(SMALL, 16)
    with null_accounts(run.folder, ACCOUNTS) as every:
        contestants = []
        for files in run.plan.ledger_files:
            filled = fill_ledger(run, files) if files else None
            contestants.append(Ours(every, run.folder, name=ledger_name(files), ledger=filled))
        run.measure("ledger", work_name(work), work, contestants)
    for contestant in contestants:
        contestant.forget_ledger()


def files(run: Run) -> None:
    """4 KiB after many other files in the same folder: whether a contestant slows down as the folder fills."""
    work = run.plan.work(SMALL, 16)
    contestants: list[Contestant] = []
    with null_accounts(run.folder, ACCOUNTS) as every:
        for count in run.plan.files_before:
            for name, kind in (("ours", Ours), ("rclone", Rclone)):
                folder = run.folder / f"{count}-before"
                contestants.append(Filled(kind(every, folder, name=name), count))
        run.measure("files", work_name(work), work, contestants)


def fill_ledger(run: Run, files: int) -> Path:
    """A database with this number of files, in the folder of the run."""
    path = run.folder / f"ledger-{files}.sqlite3"
    free = shutil.disk_usage(run.folder).free
    if free < files * _LEDGER_BYTES_A_FILE:
        raise BenchError(f"a ledger of {files:,} files needs {files * _LEDGER_BYTES_A_FILE / 1e9:.0f} GB of disk")
    run.say(f"ledger: filling one with {files:,} files")
    command = [sys.executable, "-m", "bench.filled_ledger", str(path), str(files)]
    done = run_process(command, cwd=ROOT, env=clean_environment(UPLOAD_ENV_FILE=""), capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"the ledger was not filled: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}")
    return path


def slow(run: Run) -> None:
    """The last of three accounts accepts only 1 MB/s: whether uploads wait for it, by ack."""
    work = Work(size=run.plan.slow_size, at_once=2, seconds=run.plan.seconds, limit_seconds=run.plan.slow_limit_seconds)
    with null_accounts(run.folder, ACCOUNTS, rates=(0, 0, SLOW_BYTES_PER_SECOND)) as every:
        contestants = [
            Ours(every, run.folder, name="ours, ack all", ack="all"),
            Ours(every, run.folder, name="ours, ack any", ack="any"),
            Rclone(every, run.folder),
        ]
        run.measure(
            "slow", f"{work_name(work)}, one account at 1 MB/s", work, contestants, rounds=min(2, run.plan.rounds - 1)
        )


def delay(run: Run) -> None:
    """Accounts that delay answers by 50 ms: this is most of an upload's time, unless requests wait for each other."""
    few, many = ACCOUNTS, 8
    with null_accounts(run.folder, many, delay_ms=DELAY_MS) as every:
        for at_once in (1,) if run.plan.is_quick else (1, 16):
            work = run.plan.work(SMALL, at_once)
            contestants = [Ours(every[:few], run.folder), Rclone(every[:few], run.folder)]
            run.measure("delay", f"{work_name(work)}, answers after 50 ms", work, contestants)
        work = run.plan.work(5 * MiB, 1)
        growing: list[Contestant] = []
        for count in (1, many):
            growing.append(Ours(every[:count], run.folder, name=accounts_name("ours", count)))
            name = accounts_name("rclone", count)
            growing.append(Rclone(every[:count], run.folder, name=name))
        run.measure("delay", f"{work_name(work)}, answers after 50 ms", work, growing, accounts=many)
