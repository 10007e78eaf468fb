"""A run of tests that is interrupted leaves no process behind: no service, no database, no store."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.processes import tree
from testkit.processes import ROOT, start_process
from tests.kill import interrupted
from tests.processes import Watched, processes_with

MARK = "MENTUM_TEST_RUN"
READY_SECONDS = 90.0
ENDED_SECONDS = 60.0
# Each process that runs tests has a store, a PostgreSQL server, a process that forks services, and a service.
PROCESSES = 4


@pytest.fixture
def told(tmp_path: Path) -> Iterator[int]:
    """A pipe: each test of the run writes a line when everything runs."""
    os.mkfifo(tmp_path / "told")
    reading = os.open(tmp_path / "told", os.O_RDWR)
    yield reading
    os.close(reading)


def wait_for_lines(reading: int, count: int) -> None:
    lines = b""
    while lines.count(b"\n") < count:
        ready, _, _ = select.select([reading], [], [], READY_SECONDS)
        assert ready, f"of {count} processes only {lines!r} came so far"
        lines += os.read(reading, 1024)


@pytest.mark.skipif(sys.platform != "linux", reason="only this kernel ends processes with their parent")
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 2), (signal.SIGTERM, 0), (signal.SIGKILL, 2)])
def test_nothing_runs_on_when_a_run_is_interrupted(
    number: signal.Signals, workers: int, told: int, tmp_path: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    places = {"TMPDIR": str(tmp_path), "PYTEST_DEBUG_TEMPROOT": str(tmp_path), interrupted.TELL: str(tmp_path / "told")}
    options = ["-n", str(workers), "-p", "no:cacheprovider", "-p", "no:randomly", interrupted.__file__]
    command, env = [sys.executable, "-m", "pytest", *options], {**environment, **places, MARK: str(tmp_path)}
    with ExitStack() as watching, (tmp_path / "output").open("wb") as output:
        run = start_process(command, cwd=ROOT, env=env, stdout=output, stderr=output, start_new_session=True)
        try:
            wait_for_lines(told, max(1, workers))
            started = {*tree([run.pid]), *processes_with(MARK, str(tmp_path))}
            assert len(started) > PROCESSES * max(1, workers)
            watched = Watched(started, watching)
            run.send_signal(number)
            assert watched.running(ENDED_SECONDS) == []
            assert processes_with(MARK, str(tmp_path)) == []  # nor any that was started meanwhile
        finally:
            for process_id in processes_with(MARK, str(tmp_path)):
                os.kill(process_id, signal.SIGKILL)
            run.wait()
