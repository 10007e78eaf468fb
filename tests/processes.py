"""Which processes belong to a test, whether they have ended, and how much memory they use."""

import os
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path


def processes_with(name: str, value: str) -> list[int]:
    """The ids of processes that were started with this variable in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{name}={value}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended, or belongs to another user
    return found


def memory_of(process_id: int | None, field: str) -> int:
    """Bytes; `VmRSS` is the memory that it uses now, `VmHWM` the most that it used."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))


class Watched:
    """Processes that run now, by handles of the kernel: another process may get their ids."""

    def __init__(self, process_ids: Iterable[int], watching: ExitStack) -> None:
        self._ending = {}
        for process_id in process_ids:
            with suppress(ProcessLookupError):
                self._ending[ending := os.pidfd_open(process_id)] = process_id
                watching.callback(os.close, ending)

    def running(self, within_seconds: float) -> list[int]:
        """Those that did not end in that time."""
        left, deadline = dict(self._ending), time.monotonic() + within_seconds
        while left and (seconds := deadline - time.monotonic()) > 0:
            for ended in select.select(list(left), [], [], seconds)[0]:
                del left[ended]
        return list(left.values())
