"""The first version of this service, and a fair improvement of it: the Django project in `firstdesign/`."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench.contestants.contestant import Gateway
from bench.figures import MiB, Work
from bench.folders import VENV
from bench.processes import clean_environment, start_process, stop_process, takes_connections, wait_until
from testkit.account import StoreAccount
from testkit.ports import free_port


class FirstDesign(Gateway):
    """`keeps_clients`: the fair improvement."""

    def __init__(self, accounts: Sequence[StoreAccount], folder: Path, *, keeps_clients: bool) -> None:
        super().__init__("boto3 kept, threads" if keeps_clients else "first design", folder, is_form=True)
        self.path = "/upload"
        self._accounts = accounts
        self._way = "kept" if keeps_clients else "pool"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def most_size(self) -> int | None:
        # The first design holds a file about five times in memory per simultaneous upload.
        return 64 * MiB if self._way == "pool" else None

    def start(self) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = clean_environment(
            DJANGO_SETTINGS_MODULE="bench.contestants.firstdesign.settings",
            BENCH_ACCOUNTS=json.dumps([asdict(account) for account in self._accounts]),
            BENCH_WAY=self._way,
            BENCH_FOLDER=str(self.log.parent),
        )
        command: list[str | Path] = [VENV / "python", "-m", "django", "runserver", "--noreload", f"127.0.0.1:{port}"]
        self._process = start_process(command, self.log, environment=environment)
        wait_until(lambda: takes_connections(port), self._process, self.log)

    def stop(self) -> None:
        stop_process(self._process)
        self._process = None

    def warm_up(self, work: Work) -> None:
        # Few uploads: unfinished ones would run in the turn of another contestant. The first one creates its processes.
        requests = work.requests if self._way == "kept" else len(self._accounts)
        super().warm_up(replace(work, requests=requests, limit_seconds=20.0))

    def process_ids(self) -> list[int]:
        return [self._process.pid] if self._process is not None else []
