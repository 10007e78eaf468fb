"""`manage.py runserver [addr:port]`: the whole service, API and pages, as it runs in production."""

import dataclasses
import logging
import os
import re
import secrets
import socket
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from file.checks import open_files
from file.ledger.database.opening import LedgerRefusedError, open_ledger
from file.management.server import openfiles
from file.management.server.serving import ConnectionLimits, run
from file.service.application import create_application
from file.service.logs import configure

_log = structlog.get_logger()
_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):)?(?P<port>\d{1,5})")


class Command(BaseCommand):
    help = "Starts the service: uploads, probes and pages. Ctrl-C or SIGTERM ends it after the uploads under way."
    requires_system_checks = "__all__"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "addrport", nargs="?", default="127.0.0.1:8000", help="port, or address:port (default: 127.0.0.1:8000)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = _parse(options["addrport"])
        address = _free_address(host, port)
        upload = settings.UPLOAD
        if upload.metrics_address is not None:
            _free_address(*upload.metrics_address, setting="UPLOAD_METRICS_ADDRESS: ")
        self._open_ledger()
        token = None
        if not upload.tokens and not upload.open:
            # The checks let this through with DEBUG only: a token for this run, so that the first try just works.
            token = secrets.token_urlsafe(24)
            upload = dataclasses.replace(upload, tokens={"debug": token})
        application = create_application(upload)
        configure(upload.log_level)
        self._greet(host, port, token)
        try:
            limits = ConnectionLimits(
                idle_seconds=upload.idle_seconds,
                head_seconds=upload.head_seconds,
                min_bytes_per_second=upload.min_bytes_per_second,
                connections=self._connections(),
            )
            run(application, address, port, limits=limits, shutdown_seconds=upload.shutdown_seconds)
        except OSError as error:
            raise CommandError(f"cannot serve on {host}:{port}: {error}") from error
        # Rust threads of the server and of the HTTP client outlive the event loop, and some abort the process when the
        # interpreter is taken down under them (5 of 50 stops). All is told and closed by now.
        logging.shutdown()
        self.stdout.flush()
        self.stderr.flush()
        os._exit(0)

    def _connections(self) -> int:
        """How many clients may be connected at once; the checks have seen that it is enough."""
        files = open_files()
        openfiles.raise_limit(files)
        _log.info("open_files", limit=files.limit, reserve=files.reserve, connections=files.connections)
        return files.connections

    def _open_ledger(self) -> None:
        try:
            copy = open_ledger()
        except LedgerRefusedError as error:
            raise CommandError(str(error)) from error
        if copy is not None:
            self.stdout.write(f"The ledger was migrated; as it was before, it is in {copy}")

    def _greet(self, host: str, port: int, token: str | None) -> None:
        names = ", ".join(account.name for account in settings.UPLOAD.accounts)
        reached = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104 - a comparison
        self.stdout.write(f"Every file goes to the accounts {names}. Listening on http://{host}:{port}/")
        if token is not None:
            self.stdout.write(
                f'Try it:  curl -F file=@README.md -H "Authorization: Bearer {token}" http://{reached}:{port}/upload'
            )
        self.stdout.flush()


def _parse(text: str) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise CommandError(f"{text!r} is neither a port nor address:port; for example 8000 or 0.0.0.0:8000")
    return match["host"] or "127.0.0.1", int(match["port"])


def _free_address(host: str, port: int, *, setting: str = "") -> str:
    """The numeric address, after trying it: the server takes no names, and its own complaint comes late and is long."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
    except OSError as error:
        raise CommandError(f"{setting}cannot serve on {host}:{port}: {error.strerror}") from error
    return str(place[0])
