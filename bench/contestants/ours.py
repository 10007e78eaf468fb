"""This service with default settings: `runserver`, SQLite on disk, tokens on, logs to a file; no payload limit."""

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.contestants.contestant import Gateway
from bench.errors import ContestantError
from testkit.account import StoreAccount
from testkit.serviceprocess import ServiceProcess, ServiceProcessError

# The uploads by `POST /upload`.
FORM = "ours, form"


class Ours(Gateway):
    """`ledger`: a filled database to use; without it, each start begins with an empty one.

    `authority`: a PEM file of the authority that issued the certificates of the accounts, if these speak TLS.
    """

    def __init__(
        self,
        accounts: Sequence[StoreAccount],
        folder: Path,
        *,
        name: str = "ours",
        is_form: bool = False,
        ack: str | None = None,
        ledger: Path | None = None,
        authority: Path | None = None,
    ) -> None:
        super().__init__(name, folder, is_form=is_form)
        self.path = "/upload" if is_form else "/files/"
        self._accounts = accounts
        self._ack = ack
        self._ledger = ledger
        self._authority = authority
        self._service: ServiceProcess | None = None

    def start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        token = secrets.token_urlsafe(24)
        self.headers = (f"Authorization: Bearer {token}", *([f"Upload-Ack: {self._ack}"] if self._ack else []))
        settings = {"UPLOAD_MAX_REQUEST_BYTES": "0"}
        if self._ledger is not None:
            settings["DATABASE_URL"] = f"sqlite:///{self._ledger}"
        if self._authority is not None:
            settings["SSL_CERT_FILE"] = str(self._authority)
        log = self.log
        self._service = ServiceProcess(log.parent, self._accounts, settings, token=token, log=log.name)
        self.url = self._service.url
        try:
            self._service.start()
        except ServiceProcessError as error:
            raise ContestantError(str(error)) from error

    def stop(self) -> None:
        if self._service is not None:
            # Killed, not drained: its catch-up of a slow account is no longer needed.
            self._service.kill()
            self._service = None

    def forget_ledger(self) -> None:
        """Removes the filled database, which takes gigabytes."""
        if self._ledger is not None:
            for path in self._ledger.parent.glob(f"{self._ledger.name}*"):
                path.unlink()

    def process_ids(self) -> list[int]:
        process_id = self._service.process_id if self._service else None
        return [process_id] if process_id is not None else []
