"""A short run of the fuzzer, from outside: no 500, no hang, nothing left in an account or in the process."""

import json
import subprocess
import sys
from pathlib import Path

from testkit.processes import run_process

ROOT = Path(__file__).resolve().parents[2]


def fuzz(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = run_process(
        [sys.executable, "-m", "fuzz", "--folder", str(folder), *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )
    return done


def test_nothing_is_wrong_after_a_short_run_of_mutated_requests(tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    done = fuzz(tmp_path, "--requests", "1500", "--seed", "13", "--json", str(figures_file))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(figures_file.read_text())
    assert (figures["findings in all"], figures["seed"]) == (0, 13)
    assert figures["requests"] >= 1_500
    assert figures["files acknowledged"] > 50
    assert figures["objects read in the accounts"] > 100
    assert "500" not in figures["statuses"]
    # That the requests went far: most were understood, and refused for many reasons.
    assert len(figures["errors, by code"]) > 15
    assert figures["answered by the HTTP server itself"] < figures["requests"] / 3
    assert len(figures["mutations"]) > 40
    assert figures["after"]["connections of clients"] == 0
    assert list(tmp_path.glob("fuzz-*")) == []
