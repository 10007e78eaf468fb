"""This service as installed by default: `runserver`, SQLite on disk, tokens on, logs to a file; no payload limit."""

import json
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.contestants.contestant import Gateway
from bench.errors import ContestantError
from bench.processes import free_port
from testkit.account import StoreAccount
from testkit.serviceprocess import ServerProcess, ServerProcessError


class Ours(Gateway):
    """`ledger` is a filled database to go on with; without one it begins with an empty one at each start."""

    def __init__(
        self,
        accounts: Sequence[StoreAccount],
        folder: Path,
        *,
        name: str = "ours",
        is_form: bool = False,
        ack: str | None = None,
        ledger: Path | None = None,
    ) -> None:
        super().__init__(name, folder, is_form=is_form)
        self.path = "/upload" if is_form else "/files/"
        self._accounts = accounts
        self._ack = ack
        self._ledger = ledger
        self._service: ServerProcess | None = None

    def start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        token = secrets.token_urlsafe(24)
        self.headers = (f"Authorization: Bearer {token}", *([f"Upload-Ack: {self._ack}"] if self._ack else []))
        environment = {
            "DEBUG": "false",
            "SECRET_KEY": secrets.token_urlsafe(50),
            "DATABASE_URL": f"sqlite:///{self._ledger or self.log.with_name('ledger.sqlite3')}",
            "UPLOAD_TOKENS": json.dumps({"bench": token}),
            "UPLOAD_MAX_REQUEST_BYTES": "0",
        }
        for account in self._accounts:
            environment |= account.environment()
        self._service = ServerProcess(free_port(), environment, self.log)
        self.url = self._service.url
        try:
            self._service.start()
        except ServerProcessError as error:
            raise ContestantError(str(error)) from error

    def stop(self) -> None:
        if self._service is not None:
            # Not in order: what it would still bring to a slow account is nobody's any more.
            self._service.kill()
            self._service = None

    def forget_ledger(self) -> None:
        """Remove the filled database; it takes gigabytes."""
        if self._ledger is not None:
            for path in self._ledger.parent.glob(f"{self._ledger.name}*"):
                path.unlink()

    def process_ids(self) -> list[int]:
        process_id = self._service.process_id if self._service else None
        return [process_id] if process_id is not None else []
