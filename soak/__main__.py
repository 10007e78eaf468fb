"""`python -m soak --minutes N [--seed S]`: causes faults and kills, then checks that nothing is lost or left.

Several processes of the service share one ledger; three accounts are on real S3 servers. Faults between them, kills,
freezes, and restarts are drawn from one seed. The exit code is 1 if anything is wrong; then the history of each case
is printed, and the logs stay. Everything that was started is stopped, also on Ctrl-C.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from soak.journal import Journal
from soak.report import Progress, figures, findings, table, write_json
from soak.run import Run
from soak.world import DATABASES, running
from testkit.errors import StoreError
from testkit.serviceprocess import ServiceProcessError


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = _arguments()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=asked.folder))
    print(f"Seed {seed}, {asked.minutes:g} minutes, {asked.processes} processes on {asked.database}.", flush=True)
    try:
        code = _soak(asked, seed, folder)
    except (ServiceProcessError, StoreError) as error:
        print(f"soak: {error}; the logs are in {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: the service, the accounts, and the proxies between them.", flush=True)
        code = 130
    if code == 1 or asked.keep:
        print(f"The logs are in {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _soak(asked: argparse.Namespace, seed: int, folder: Path) -> int:
    progress = Progress(asked.progress)
    with running(folder, asked.processes, asked.database, asked.lease) as world:
        journal = Journal(folder)
        run = Run(world, seed, asked.minutes * 60, journal, progress)
        result = asyncio.run(run.run(deletes=asked.deletes))
        progress.end()
        told = figures(result, seed, asked.minutes, asked.database)
        for text in findings(result.verdict, run.clients.records, journal):
            print(text)
        journal.close()
    print(table(told), flush=True)
    if asked.json:
        write_json(told, asked.json)
    return 1 if result.verdict.findings else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--minutes",
        type=float,
        default=2.0,
        metavar="N",
        help="minutes of faults, before draining (2)",
    )
    parser.add_argument("--seed", type=int, metavar="S", help="the seed of an earlier run, to repeat it (random)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="the number of service processes (2)")
    parser.add_argument("--database", choices=DATABASES, default="sqlite", help="the database of the ledger (sqlite)")
    parser.add_argument(
        "--deletes",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether clients DELETE some files",
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=12.0,
        metavar="S",
        help="the lease of an upload, at least 6; draining takes several leases (12)",
    )
    parser.add_argument(
        "--progress",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds between two lines without a terminal (30)",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--folder", metavar="DIR", help="the folder for logs, ledger, and accounts (a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the logs also after a successful run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
