"""A service that is started often: forked by a process in which everything is imported already."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from testkit.ports import free_port
from testkit.processes import ROOT, start_process
from testkit.serviceprocess import is_ready

_START_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.01


class Nursery:
    """One service at a time, with only this environment. Its process id is not used again until the next start."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.url = ""
        self._log = log
        with log.open("ab") as errors:
            self._parent = start_process(
                [sys.executable, "-m", "tests.kill.deadly"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                bufsize=0,  # so that the pipe shows whether there is a line to read
                start_new_session=True,
            )
        self._service: int | None = None
        self._code: int | None = None
        self._ending = threading.Lock()

    def start(self, commit: str = "", *, may_die: bool = False) -> None:
        """Start it and wait until it is ready or, if it `may_die`, killed at the `commit` or by a fault."""
        assert self._service is None or self._code is not None, "it still runs"
        address = f"127.0.0.1:{free_port()}"  # a new one: connections to the last one may linger
        assert self._parent.stdin is not None
        order = json.dumps({"address": address, "log": str(self._log), "commit": commit})
        self._parent.stdin.write(f"{order}\n".encode())
        with self._ending:
            self._service, self._code, self.url = self._answer(), None, f"http://{address}"
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready(self.url):
            if self._has_ended():
                assert may_die, f"the service did not start; see {self._log}"
                return
            assert time.monotonic() < deadline, f"the service was not ready; see {self._log}"
            time.sleep(_LOOK_AGAIN_SECONDS)  # nothing signals readiness but the answer itself

    def kill(self) -> None:
        """Kill it and wait until it has ended."""
        if (service := self._service) is not None:
            os.kill(service, signal.SIGKILL)
            self._collect(service)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        assert self._service is not None, "it was never started"
        self._collect(self._service)
        assert self._code is not None
        return self._code

    def _collect(self, service: int) -> None:
        """Read its exit code, unless another thread has read it, or the next service runs already."""
        with self._ending:
            if self._service == service and self._code is None:
                self._code = self._answer()

    def close(self) -> None:
        """Kill the service and the process that forks it."""
        try:
            self.kill()
        finally:
            self._parent.kill()
            self._parent.communicate()

    def _answer(self) -> int:
        assert self._parent.stdout is not None
        line = self._parent.stdout.readline()
        assert line, f"the process that forks has ended; see {self._log}"
        return int(line)

    def _has_ended(self) -> bool:
        assert self._parent.stdout is not None
        return self._code is not None or bool(select.select([self._parent.stdout], [], [], 0)[0])
