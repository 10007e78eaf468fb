"""Starts processes that end with this one, and measures them with the counters of the kernel.

CPU seconds and memory of a contestant are those of all its processes, including children. The CPU seconds of ended
children are in the counters of their parents. Memory is sampled: a peak shorter than a sample may be missed.
"""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import ContestantError
from bench.folders import ROOT
from testkit import processes
from testkit.processes import inherited_environment

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_SECONDS = 0.02
_STOP_SECONDS = 10.0


def clean_environment(**added: str) -> dict[str, str]:
    """Our environment without variables that name other accounts or a proxy: everything is on loopback."""
    return inherited_environment("AWS_", "UPLOAD_", "RCLONE_", "S3_") | {"PYTHONPATH": str(ROOT)} | added


def takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def start_process(
    command: Sequence[str | Path], log: Path, *, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Starts a process in its own session (we handle Ctrl-C); its output goes to `log`."""
    with log.open("ab") as output:
        return processes.start_process(
            [str(word) for word in command],
            cwd=ROOT,
            env=dict(environment) if environment is not None else clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def stop_process(process: subprocess.Popen[bytes] | None) -> None:
    """Sends SIGTERM, then SIGKILL, also to children that are left. Returns when all have ended."""
    if process is None:
        return
    family = tree([process.pid])
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for process_id in family[1:]:
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    pause = threading.Event()  # they are not our children: there is no event when they end
    deadline = time.monotonic() + _STOP_SECONDS
    while any(map(_runs, family[1:])) and time.monotonic() < deadline:
        pause.wait(0.01)


def _runs(process_id: int) -> bool:
    """Whether the process runs, and is not a zombie."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 30.0) -> None:
    """Asks a server until it answers, because there is no other sign that it is ready. Raises `ContestantError`."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return
        if process.poll() is not None:
            raise ContestantError(f"it ended at its start: {last_line(log)}")
        pause.wait(0.05)
    raise ContestantError(f"it was not ready within {seconds:.0f} seconds: {last_line(log)}")


def tree(roots: Iterable[int]) -> list[int]:
    """The living ones of these processes and their descendants. While threads end, the kernel may omit some."""
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        process_id = waiting.pop(0)
        try:
            tasks = list(Path(f"/proc/{process_id}/task").iterdir())
            children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except (OSError, ValueError):
            continue
        found.append(process_id)
        waiting += children
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """The CPU seconds of these processes and all descendants, living and ended. It asks each process for its parent."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = stat.read_text().rpartition(")")[2].split()
            process_id = int(stat.parent.name)
            parents[process_id] = int(after_name[1])
            ticks[process_id] = sum(int(field) for field in after_name[11:15])  # utime, stime, cutime, cstime
    family = {root for root in roots if root in ticks}
    while grown := {child for child, parent in parents.items() if parent in family and child not in family}:
        family |= grown
    return sum(ticks[process_id] for process_id in family) / _TICKS


def memory_bytes(process_ids: Iterable[int]) -> int:
    """Their resident memory. Shared pages count once per process."""
    pages = 0
    for process_id in process_ids:
        with suppress(OSError, IndexError):
            pages += int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    return pages * _PAGE


def highest_memory_bytes(process_id: int) -> int:
    """The peak memory of one process, from the kernel."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


class Watch:
    """Measures `cpu_seconds` and `peak_bytes` during the block."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = roots
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="watch", daemon=True)
        self.cpu_seconds = 0.0
        self.peak_bytes = 0

    def __enter__(self) -> Self:
        self.cpu_seconds = -cpu_seconds(self._roots)
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._sampler.join()
        family = tree(self._roots)
        self.cpu_seconds += cpu_seconds(self._roots)
        if len(family) == 1:  # the kernel also knows peaks between two samples
            self.peak_bytes = max(self.peak_bytes, highest_memory_bytes(family[0]))

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, memory_bytes(tree(self._roots)))
