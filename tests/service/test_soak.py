"""A short soak from outside: what it finds, how it ends, and that no process is left."""

import json
import re
import signal
from pathlib import Path

import pytest

from tests.service.conftest import StartProgram

LOST = "acknowledged files missing or damaged in any account"
LEFT = "objects, versions, multipart uploads that nobody knows"


@pytest.mark.timeout(400)  # draining and reading come after the trouble, and a loaded machine is slow at both
def test_nothing_is_lost_and_nothing_is_left_after_a_short_soak(start_program: StartProgram, tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    process = start_program("soak", "--minutes", "0.25", "--seed", "11", "--lease", "6", "--json", str(figures_file))
    output, errors = process.communicate(timeout=380)
    assert (process.returncode, errors) == (0, ""), errors + output
    figures = json.loads(figures_file.read_text())
    assert (figures[LOST], figures[LEFT]) == (0, 0)
    assert figures["seed"] == 11
    assert figures["uploads tried"] == figures["acknowledged"] + figures["refused"] + figures["unknown"]
    assert figures["acknowledged"] > 20
    assert figures["objects read"] >= figures["acknowledged"] - figures["deleted"]
    assert sum(figures["faults"].values()) > 5
    assert sum(figures["processes"].values()) >= 1
    assert all(peak > 0 for peak in figures["peak memory, MiB"].values())
    assert f"{LEFT}{'0':>10}".split() == output.splitlines()[-1].split()
    assert list(tmp_path.glob("soak-*")) == []


@pytest.mark.timeout(200)
def test_everything_stops_when_ctrl_c_is_pressed(start_program: StartProgram) -> None:
    process = start_program("soak", "--minutes", "30", "--seed", "12", "--progress", "1")
    assert process.stdout is not None
    for line in process.stdout:
        if (tried := re.search(r"tried (\d+)", line)) and int(tried[1]) > 20:  # in the middle of it
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=150)
    assert (process.returncode, errors) == (130, "")
    assert "Stopped" in output
