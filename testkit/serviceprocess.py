"""The service in a process of its own: `manage.py runserver`, configured by its environment only."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.processes import start_process

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
# Loopback is reached directly, whatever proxy the environment names.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_for(claim: Callable[[], bool], seconds: float = 90.0) -> bool:
    """Whether it came true within that time. Nobody tells when it does: it is asked again."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


class ServerProcessError(Exception):
    """One line on why the service is not there."""


class ServerProcess:
    """A running service. `environment` is all that it is told; nothing of `mentumfileupload/.env` is read.

    Proxies of our own environment are not handed on: the accounts are on loopback, too. `command` is what Python runs
    instead of `manage.py`. It may be started again after it has ended, and never outlives the process that started it.
    """

    def __init__(
        self, port: int, environment: Mapping[str, str], log: Path, *, command: Sequence[str] = ("manage.py",)
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self._port = port
        self._command = command
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "UPLOAD_")) and name.upper() not in _PROXIES
        }
        self._environment = {**inherited, "UPLOAD_ENV_FILE": "", **environment}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process_id(self) -> int | None:
        """While it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `ServerProcessError`."""
        with self.log.open("wb") as log:
            self._process = start_process(
                [sys.executable, *self._command, "runserver", f"127.0.0.1:{self._port}"],
                cwd=_ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on, once the accounts need not be there any more
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self._process.poll() is not None:
                raise ServerProcessError(f"the service did not start: {self._last_line()}")
            if time.monotonic() > deadline:
                raise ServerProcessError(
                    f"the service was not ready within {_START_SECONDS:.0f} seconds; see {self.log}"
                )
            time.sleep(0.05)  # nothing signals readiness but the answer itself

    def stop(self) -> int:
        """SIGTERM, and wait. Returns the exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        try:
            with HTTP.open(f"{self.url}/_/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _last_line(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"
