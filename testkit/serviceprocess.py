"""The service as a process: `manage.py runserver`, configured only by its environment.

For the demo, the tests, the soak, the fuzzer, and the benchmark. Our own environment and `mentumfileupload/.env` do not
configure it; proxies are not passed on, because the accounts are on loopback.
"""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from testkit.account import StoreAccount
from testkit.forking.commands import Forked, start_python
from testkit.ports import free_port
from testkit.processes import inherited_environment

SECRET_KEY = "the-secret-key-of-the-tests-which-is-long-enough-for-it"  # noqa: S105 - it protects nothing
TOKEN = "the-token-of-the-tests"  # noqa: S105 - as well
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
# Loopback is reached directly, also if the environment has a proxy.
HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_for(claim: Callable[[], bool], seconds: float = 90.0) -> bool:
    """Whether the condition became true within this time. There is no event for it, so it is asked repeatedly."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def is_ready(url: str) -> bool:
    """Whether the service at `url` accepts requests."""
    try:
        with HTTP.open(f"{url}/_/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def configuration(
    database_url: str, accounts: Iterable[StoreAccount], settings: Mapping[str, str], *, token: str = TOKEN
) -> dict[str, str]:
    """The environment of a service with this ledger, these accounts, and one token; `settings` have priority."""
    told = {
        "DEBUG": "false",
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database_url,
        "UPLOAD_TOKENS": json.dumps({"tests": token}),
        "UPLOAD_ENV_FILE": "",
    }
    for account in accounts:
        told |= account.environment()
    return {**inherited_environment("AWS_", "UPLOAD_"), **told, **settings}


class ServiceProcessError(Exception):
    """The reason why the service does not run, in one line."""


class ServiceProcess:
    """A service on its own port. It can be started again after it has ended.

    `folder` has its log, and its ledger unless the settings have a `DATABASE_URL`. `command`: what Python runs instead
    of `manage.py`.
    """

    def __init__(
        self,
        folder: Path,
        accounts: Iterable[StoreAccount] = (),
        settings: Mapping[str, str] = MappingProxyType({}),
        *,
        token: str = TOKEN,
        port: int | None = None,
        log: str = "service.log",
        command: Sequence[str] = ("manage.py",),
        cold: bool = False,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / log
        self.environment = configuration(f"sqlite:///{folder / 'ledger.sqlite3'}", accounts, settings, token=token)
        self._command = command
        self._cold = cold
        self._process: subprocess.Popen[bytes] | Forked | None = None

    @property
    def process_id(self) -> int | None:
        """The process of the last start; None before the first."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Starts it and waits until it is ready. Raises `ServiceProcessError`."""
        with self.log.open("wb") as log:
            command = [*self._command, "runserver", self.url.removeprefix("http://")]
            # In a session of its own: we pass Ctrl-C on when it is time.
            self._process = start_python(command, self.environment, log, cold=self._cold)
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready(self.url):
            if self._process.poll() is not None:
                raise ServiceProcessError(f"the service did not start: {self._last_line()}")
            if time.monotonic() > deadline:
                raise ServiceProcessError(
                    f"the service was not ready within {_START_SECONDS:.0f} seconds; see {self.log}"
                )
            time.sleep(0.05)  # there is no sign of readiness except an answer

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it was started."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> int:
        """Sends SIGTERM and waits. Returns the exit code."""
        if self._process is None:
            return 0
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Sends SIGKILL and waits until it has ended."""
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

    def _last_line(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1] if lines else "it said nothing"
