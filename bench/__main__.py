"""`python -m bench`: runs the parts, prints the tables, writes the results. `make bench` prepares what it needs."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from bench.errors import BenchError
from bench.folders import MADE
from bench.parts import PARTS, Run
from bench.plan import QUICK, WHOLE
from stores.errors import StoreError


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = parse()
    MADE.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="run-", dir=MADE, ignore_cleanup_errors=True) as folder:
            run = Run(QUICK if options.quick else WHOLE, Path(folder), say)
            for part in options.only or PARTS:
                PARTS[part](run)
    except (BenchError, StoreError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped, and everything that was started.", file=sys.stderr)
        return 130
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, rounds and seconds: within three minutes")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=f"of: {', '.join(PARTS)}")
    return parser.parse_args()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
