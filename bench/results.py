"""Writes the results of a run: JSON and pictures.

A whole run goes to `bench/results/`: `latest.json`, a dated copy (not in git), and the pictures. A quick or partial run
must not be quoted, and goes to `.bench/results/`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.figures import Scenario
from bench.folders import ROOT, VENV
from bench.processes import clean_environment
from bench.targets import Target
from testkit.processes import run_process

FORM = 1  # increased when the format of the JSON changes


def result_of(
    machine: dict[str, Any],
    kind: str,
    scenarios: Sequence[Scenario],
    targets: Sequence[Target],
    failed: dict[str, str],
    skipped: dict[str, str],
) -> dict[str, Any]:
    """`kind`: `whole`, `quick`, or `partial`.

    `failed`: for each part that could not run, why; `skipped`: for each part that needs what is not installed, what.
    """
    return {
        "form": FORM,
        "kind": kind,
        "machine": machine,
        "scenarios": [scenario.as_json() for scenario in scenarios],
        "targets": [target.as_json() for target in targets],
        "failed": failed,
        "skipped": skipped,
    }


def write(result: dict[str, Any], folder: Path) -> list[Path]:
    """Writes the files and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    when = result["machine"]["when"].replace(":", "").partition("+")[0]
    written = [folder / "latest.json", folder / f"{when}.json"]
    for path in written:
        path.write_text(text)
    return [*written, *draw(written[0], folder)]


def draw(latest: Path, folder: Path) -> list[Path]:
    """Draws the pictures with matplotlib in the environment of the benchmark."""
    command: list[str | Path] = [VENV / "python", "-m", "bench.pictures", latest, folder]
    environment = clean_environment(MPLCONFIGDIR=str(VENV.parent / "matplotlib"))
    done = run_process(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"the pictures were not drawn: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    return [Path(line) for line in done.stdout.splitlines()]
