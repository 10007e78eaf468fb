"""`python -m bench`: runs the parts, prints the tables, writes the results. `make bench` installs what it needs.

Exit code 0 if everything could run, whatever the figures; 1 if a part or a contestant could not; 2 if nothing could;
130 if it was stopped.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import machine, results
from bench.errors import BenchError
from bench.folders import MADE, RESULTS, VENV
from bench.native_tools import build
from bench.parts import PARTS, run_parts
from bench.plan import QUICK, WHOLE
from bench.run import Run
from bench.table import machine_lines, tables
from bench.targets import in_short, target_lines, targets_of


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = parse()
    try:
        return measure(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped, and everything that was started.", file=sys.stderr)
        return 130


def parse() -> argparse.Namespace:
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m bench", description=about, epilog=rest)
    parser.add_argument("--quick", action="store_true", help="fewer sizes, rounds, and seconds: about three minutes")
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), metavar="PART", help=f"run only some of: {', '.join(PARTS)}"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON instead of tables")
    parser.add_argument("--results", type=Path, help="the folder for the result and the pictures")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> int:
    if not (VENV / "python").exists():
        raise BenchError("the peers are not installed: `make bench` does it")
    for tool in ("nulls3", "load"):
        build(tool)
    began = time.monotonic()
    found = machine.described()
    with tempfile.TemporaryDirectory(prefix="run-", dir=MADE, ignore_cleanup_errors=True) as folder:
        run = Run(QUICK if options.quick else WHOLE, Path(folder), say)
        failed, skipped = run_parts(run, {part: PARTS[part] for part in options.only or PARTS})
    kind = "quick" if options.quick else "partial" if options.only or failed or skipped else "whole"
    targets = targets_of(run.scenarios)
    result = results.result_of(found, kind, run.scenarios, targets, failed, skipped)
    not_run = [f"{part}: skipped: {why}" for part, why in skipped.items()]
    shown = [*machine_lines(found), *tables(run.scenarios), "", *target_lines(targets), "", *not_run]
    shown += in_short(run.scenarios)
    print(json.dumps(result, indent=1) if options.json else "\n".join(shown), flush=True)
    say(f"\n{(time.monotonic() - began) / 60:.1f} minutes")
    for path in results.write(result, options.results or (RESULTS if kind == "whole" else MADE / "results")):
        say(f"wrote {path}")
    return int(bool(failed) or any(could_not_run(scenario) for scenario in result["scenarios"]))


def could_not_run(scenario: dict[str, Any]) -> bool:
    """Whether a contestant failed: it did not start, or refused uploads. Being too slow is a figure, not a failure."""
    return any(row["failed"] and not row["failed"].startswith(("not asked", "nothing was")) for row in scenario["rows"])


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
