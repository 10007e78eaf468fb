"""`python -m soak --minutes N [--seed S]`: everything goes wrong for so long, and then nothing may be lost or left.

Several processes of the service on one ledger, three accounts on real S3 servers, faults between them, kills, freezes
and restarts, all drawn from one seed. Exit code 1 if anything is wrong, with the history of each case; the logs stay
then. Everything that was started is stopped, also by Ctrl-C.
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
        print("\nStopped: the service, the accounts and everything between.", flush=True)
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
    parser.add_argument("--minutes", type=float, default=2.0, metavar="N", help="of trouble; draining comes after (2)")
    parser.add_argument("--seed", type=int, metavar="S", help="of an earlier run; a new one by default")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="of the service (2)")
    parser.add_argument("--database", choices=DATABASES, default="sqlite", help="the ledger (sqlite)")
    parser.add_argument(
        "--deletes", action=argparse.BooleanOptionalAction, default=True, help="DELETE some of the files"
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=12.0,
        metavar="S",
        help="of an upload; draining takes some of them, and 6 is the least (12)",
    )
    parser.add_argument(
        "--progress", type=float, default=30.0, metavar="S", help="between two lines, but on a terminal (30)"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--folder", metavar="DIR", help="where logs, ledger and accounts lie (a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the logs, whatever comes out")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
