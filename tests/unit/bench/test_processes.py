"""CPU time and memory of a contestant's processes, with their children; none remains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.errors import ContestantError
from bench.figures import MiB
from bench.processes import (
    Watch,
    clean_environment,
    cpu_seconds,
    highest_memory_bytes,
    memory_bytes,
    start_process,
    stop_process,
    tree,
    wait_until,
)

# One child uses CPU time and ends; another holds memory, prints `ready` and stays.
FAMILY = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
child = "held = bytearray(64 << 20)\\nprint('ready', flush=True)\\nimport signal\\nsignal.pause()"
subprocess.run([sys.executable, "-c", child])
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def test_children_count_when_they_live_and_when_they_have_died(log: Path) -> None:
    process = start_process([sys.executable, "-c", FAMILY], log)
    try:
        with Watch([process.pid]) as watch:
            wait_until(lambda: "ready" in log.read_text(), process, log)
        family = tree([process.pid])
        assert len(family) == 2
        assert 0.3 <= cpu_seconds([process.pid]) < 30
        assert memory_bytes(family) > memory_bytes(family[:1]) + 32 * MiB
        assert watch.cpu_seconds >= 0.25
        assert highest_memory_bytes(family[1]) >= 64 * MiB
    finally:
        stop_process(process)
    assert memory_bytes(family) == 0


def test_a_peak_is_seen_when_the_memory_was_freed(log: Path) -> None:
    code = "held = bytearray(80 << 20); del held; print('ready', flush=True); import signal; signal.pause()"
    process = start_process([sys.executable, "-c", code], log)
    try:
        with Watch([process.pid]) as watch:
            wait_until(lambda: "ready" in log.read_text(), process, log)
        assert watch.peak_bytes >= 80 * MiB
    finally:
        stop_process(process)


def test_the_last_line_is_the_reason_when_a_process_ends_at_its_start(log: Path) -> None:
    process = start_process([sys.executable, "-c", "import sys; sys.exit('no such thing')"], log)
    with pytest.raises(ContestantError, match="no such thing"):
        wait_until(lambda: False, process, log)


def test_the_wait_ends_when_a_process_is_never_ready(log: Path) -> None:
    process = start_process([sys.executable, "-c", "import signal; signal.pause()"], log)
    try:
        with pytest.raises(ContestantError, match="not ready within 0 seconds"):
            wait_until(lambda: False, process, log, seconds=0.1)
    finally:
        stop_process(process)


def test_nothing_happens_when_no_process_is_stopped() -> None:
    stop_process(None)


def test_a_process_is_killed_when_it_does_not_end(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.processes._STOP_SECONDS", 0.2)
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    process = start_process([sys.executable, "-c", code], log)
    wait_until(lambda: "ready" in log.read_text(), process, log)
    stop_process(process)
    assert process.returncode == -9


def test_a_process_that_ended_has_no_time_and_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert tree([process.pid]) == []
    assert (cpu_seconds([process.pid]), memory_bytes([process.pid]), highest_memory_bytes(process.pid)) == (0, 0, 0)


def test_no_account_and_no_proxy_is_in_the_environment_when_a_process_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {"AWS_ACCOUNT_A", "UPLOAD_TOKENS", "RCLONE_CONFIG", "https_proxy"}
    for name in names:
        monkeypatch.setenv(name, "x")
    environment = clean_environment(ADDED="1")
    assert not names & set(environment)
    assert (environment["ADDED"], environment["PATH"]) == ("1", os.environ["PATH"])
