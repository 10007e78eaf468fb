"""No gateway: a client that uploads to every account itself, in a new process for each turn.

CPU seconds and memory are those of the client. Its start (a second, to load Python's modules) is not counted.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.contestants.contestant import Client, new_prefix
from bench.errors import ContestantError
from bench.figures import Load, MiB, Work
from bench.folders import ROOT, VENV
from bench.processes import clean_environment
from testkit.account import StoreAccount
from testkit.processes import run_process

CLIENTS = ("obstore", "aiobotocore", "s5cmd")


class Direct(Client):
    """`all_at_once`: to all accounts at the same time, otherwise one after the other."""

    def __init__(self, client: str, accounts: Sequence[StoreAccount], folder: Path, *, all_at_once: bool) -> None:
        self.name = f"{client}, {'at once' if all_at_once else 'in turn'}"
        self._client = client
        self._accounts = accounts
        self._folder = folder
        self._all_at_once = all_at_once

    def warm_up(self, work: Work) -> None:
        """Does nothing: each turn is a new process, which warms up itself."""

    def upload(self, work: Work) -> Load:
        task = {
            "accounts": [asdict(account) for account in self._accounts],
            "all_at_once": self._all_at_once,
            "file": str(file_of(work.size, self._folder)),
            "prefix": new_prefix(),
            "at_once": work.at_once,
            "seconds": work.seconds,
            "limit_seconds": work.limit_seconds,
            "requests": work.requests,
        }
        command: list[str | Path] = [VENV / "python", "-m", f"bench.direct.with_{self._client}", json.dumps(task)]
        limit = work.limit_seconds * 2 + 30
        try:
            done = run_process(
                command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired as error:
            raise ContestantError(f"it did not come to its end within {limit:.0f} s") from error
        if done.returncode != 0:
            raise ContestantError((done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1])
        return Load(**json.loads(done.stdout))


def file_of(size: int, folder: Path) -> Path:
    """A file of this size in the folder of the run, created once."""
    path = folder / f"body-{size}"
    if not path.exists():
        block = bytes(range(256)) * (MiB // 256)
        with path.open("wb") as file:
            for start in range(0, size, MiB):
                file.write(block[: size - start])
    return path
