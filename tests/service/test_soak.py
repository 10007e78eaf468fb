"""A short soak, from outside: what it finds, how it ends, and that nothing runs on after it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.processes import start_process
from tests.processes import processes_with

ROOT = Path(__file__).resolve().parents[2]
MARK = "MENTUM_TEST_SOAK"
LOST = "acknowledged files missing or damaged in any account"
TRIED = re.compile(r"tried (\d+)")
LEFT = "objects, versions, multipart uploads that nobody knows"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a soak runs in; every process that it starts carries the mark, by which one left behind is found."""
    mark = str(tmp_path)
    yield {**os.environ, "TMPDIR": str(tmp_path), MARK: mark}
    left = processes_with(MARK, mark)
    for process_id in left:
        os.kill(process_id, signal.SIGKILL)
    assert not left


def soak(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = start_process(
        [sys.executable, "-m", "soak", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


@pytest.mark.timeout(400)  # draining and reading come after the trouble, and a loaded machine is slow at both
def test_nothing_is_lost_and_nothing_is_left_after_a_short_soak(environment: dict[str, str], tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    process = soak(environment, "--minutes", "0.25", "--seed", "11", "--lease", "6", "--json", str(figures_file))
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
def test_everything_stops_when_ctrl_c_is_pressed(environment: dict[str, str]) -> None:
    process = soak(environment, "--minutes", "30", "--seed", "12", "--progress", "1")
    assert process.stdout is not None
    for line in process.stdout:
        if (tried := TRIED.search(line)) and int(tried[1]) > 20:  # in the middle of it
            break
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=150)
    assert (process.returncode, errors) == (130, "")
    assert "Stopped" in output
