"""`python -m fuzz --requests N [--seed S]`: sends mutated requests, then checks that nothing is broken, stuck or left.

Uses the real service, two accounts on real S3 servers, and 96 connections at once. The exit code is 1 if anything is
wrong; the folder then has the bytes of each case, and `--only N` sends one case again. Everything that was started is
stopped, also on Ctrl-C.
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
        print("\nStopped: the service and the S3 servers.", file=sys.stderr, flush=True)
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
    parser.add_argument("--requests", type=int, default=30_000, metavar="N", help="the number of requests (30,000)")
    parser.add_argument("--seed", type=int, metavar="S", help="the seed of an earlier run, to repeat it (random)")
    parser.add_argument("--only", type=int, metavar="N", help="send only the case with this number")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    parser.add_argument(
        "--folder", metavar="DIR", help="the folder for cases, log, ledger, and accounts (a temporary one)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder also after a successful run")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
