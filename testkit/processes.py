"""Starts processes that never outlive their parent, also if the parent ends by Ctrl-C or SIGKILL.

The tests, the demo, the soak, and the benchmark start every process here. On Linux the kernel ends the process when its
parent has ended (`PR_SET_PDEATHSIG`); on other systems only a parent that ends normally ends it. This holds for the
process itself: its own children must be started in the same way.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PR_SET_PDEATHSIG = 1

# The kernel ends a process with the *thread* that forked it. So one thread that lives as long as this process starts
# all of them: with a worker thread of a pool or of an event loop, they would end too early.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def inherited_environment(*without: str) -> dict[str, str]:
    """Our environment without proxies, and without the names that begin with one of these."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(without) and name.upper() not in _PROXIES
    }


def dies_with_us(last_signal: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """What a new process calls first: it gets this signal when the thread that forked it has ended."""
    parent = os.getpid()

    def die_with_parent() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that runs us in the background ignores it
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(last_signal))
            if os.getppid() != parent:  # it had ended before, so there will be no signal
                os.kill(os.getpid(), last_signal)

    return die_with_parent


def start_process(
    command: Sequence[str | Path], *, last_signal: signal.Signals = signal.SIGKILL, **options: Any
) -> subprocess.Popen[Any]:
    """Starts a process and returns at once. `options`: those of `subprocess.Popen`. Any thread may call this."""

    def start() -> subprocess.Popen[Any]:
        return subprocess.Popen(command, preexec_fn=dies_with_us(last_signal), **options)

    return _starter.submit(start).result()


def run_process(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Starts a process and waits until it has ended. `options`: those of `subprocess.run`; `check` is off."""
    # This thread may fork: it waits, so it lives as long as the process.
    return subprocess.run(command, preexec_fn=dies_with_us(), **{"check": False, **options})
