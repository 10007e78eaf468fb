"""`python -m fuzz --requests N [--seed S]`: mutated requests, after which nothing may be broken, stuck or left.

The real service, two accounts on real S3 servers, and clients that send what no client means: 96 connections at once.
Exit code 1 if anything is wrong, with the bytes of each case in the folder; `--only N` sends that case alone.
Everything that was started is stopped, also by Ctrl-C.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from fuzz.report import figures, findings
from fuzz.run import Run
from fuzz.world import running
from soak.report import Progress, table, write_json
from testkit.errors import StoreError
from testkit.serviceprocess import ServiceProcessError


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    asked = _arguments()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=asked.folder))
    print(f"Seed {seed}, {asked.requests:,} requests.", file=sys.stderr, flush=True)
    try:
        code = _fuzz(asked, seed, folder)
    except (ServiceProcessError, StoreError) as error:
        print(f"fuzz: {error}; the logs are in {folder}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: the service and the accounts.", file=sys.stderr, flush=True)
        code = 130
    if code == 1 or asked.keep:
        print(f"The bytes of the cases and the log are in {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _fuzz(asked: argparse.Namespace, seed: int, folder: Path) -> int:
    progress = Progress(out=sys.stderr)
    with running(folder) as world:
        result = asyncio.run(Run(world, seed, folder, progress).run(asked.requests, asked.only))
    progress.end()
    told = figures(result, seed)
    print(table(told), flush=True)
    for text in findings(result, seed, folder):
        print(text)
    if asked.json:
        write_json(told, asked.json)
    return 1 if result.findings else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=30_000, metavar="N", help="how many (30,000)")
    parser.add_argument("--seed", type=int, metavar="S", help="of an earlier run; a new one by default")
    parser.add_argument("--only", type=int, metavar="N", help="the case with this number alone")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--folder", metavar="DIR", help="where cases, log, ledger and accounts lie (a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the folder, whatever comes out")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
