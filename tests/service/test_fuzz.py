"""A short run of the fuzzer from outside: no 500, no hang, nothing left in an account or in the process."""

import json
from pathlib import Path

from tests.service.conftest import StartProgram


def test_nothing_is_wrong_after_a_short_run_of_mutated_requests(start_program: StartProgram, tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    words = ["--folder", str(tmp_path), "--requests", "1500", "--seed", "13", "--json", str(figures_file)]
    fuzzing = start_program("fuzz", *words)
    output, errors = fuzzing.communicate(timeout=110)
    assert fuzzing.returncode == 0, output + errors
    figures = json.loads(figures_file.read_text())
    assert (figures["findings in all"], figures["seed"]) == (0, 13)
    assert figures["requests"] >= 1_500
    assert figures["files acknowledged"] > 50
    assert figures["objects read in the accounts"] > 100
    assert "500" not in figures["statuses"]
    # The requests went far: most were understood, and refused for many reasons.
    assert len(figures["errors, by code"]) > 15
    assert figures["answered by the HTTP server itself"] < figures["requests"] / 3
    assert len(figures["mutations"]) > 40
    assert figures["after"]["connections of clients"] == 0
    assert list(tmp_path.glob("fuzz-*")) == []
