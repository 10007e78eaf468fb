"""Which processes belong to a test, whether they have ended, and what they hold."""

import os
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path


def processes_with(name: str, value: str) -> list[int]:
    """Those that were started with this variable in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{name}={value}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it ended, or is not ours to look at
    return found


def memory_of(process_id: int | None, field: str) -> int:
    """Bytes: `VmRSS` is what it has in memory now, `VmHWM` the most that it had. Linux tells."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))


class Watched:
    """Processes that run now. Watched by the kernel's own handles: another one may get their ids."""

    def __init__(self, process_ids: Iterable[int], watching: ExitStack) -> None:
        self._ending = {}
        for process_id in process_ids:
            try:
                ending = os.pidfd_open(process_id)
            except ProcessLookupError:
                continue
            watching.callback(os.close, ending)
            self._ending[ending] = process_id

    def running(self, within_seconds: float) -> list[int]:
        """Those that did not end in that time."""
        left, deadline = dict(self._ending), time.monotonic() + within_seconds
        while left and (seconds := deadline - time.monotonic()) > 0:
            for ended in select.select(list(left), [], [], seconds)[0]:
                del left[ended]
        return list(left.values())
