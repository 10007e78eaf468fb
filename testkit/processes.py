"""Processes that never outlive the one that started them, however that ends: in order, by Ctrl-C, or by SIGKILL.

Everything that the tests, the demo, the soak and the benchmark start is started here. On Linux the kernel ends such a
process when its parent has ended (`PR_SET_PDEATHSIG`); elsewhere only a parent that ends in order takes it along. It
holds for the process itself: what that one starts in turn has to be started in the same way.
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

# The kernel ties "dies with its parent" to the *thread* that forked, so all processes are started by one thread that
# lives as long as this process; a pool's or an event loop's worker thread would take them with it when it ends.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def inherited_environment(*without: str) -> dict[str, str]:
    """Our own environment, without proxies and without the names that begin with one of these."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(without) and name.upper() not in _PROXIES
    }


def dies_with_us(last_signal: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """What a new process calls before anything else: it gets that signal when the thread that forked it has ended."""
    parent = os.getpid()

    def die_with_parent() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that runs us in the background has it ignored
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(last_signal))
            if os.getppid() != parent:  # it had ended before: nobody tells that any more
                os.kill(os.getpid(), last_signal)

    return die_with_parent


def start_process(
    command: Sequence[str | Path], *, last_signal: signal.Signals = signal.SIGKILL, **options: Any
) -> subprocess.Popen[Any]:
    """Start it and return at once. `options` are those of `subprocess.Popen`; any thread may call this."""

    def start() -> subprocess.Popen[Any]:
        return subprocess.Popen(command, preexec_fn=dies_with_us(last_signal), **options)

    return _starter.submit(start).result()


def run_process(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[Any]:
    """Start it and wait until it has ended. `options` are those of `subprocess.run`; `check` is off."""
    # By this thread: it waits, so it lives for as long as the process does.
    return subprocess.run(command, preexec_fn=dies_with_us(), **{"check": False, **options})


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Our Python in the project's folder, with this environment only, and without `.env`."""
    kept = ("PATH", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_START")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return run_process(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**inherited, "UPLOAD_ENV_FILE": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
