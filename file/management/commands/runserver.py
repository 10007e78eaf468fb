"""`manage.py runserver [addr:port]`: the whole service, API and pages, as it runs in production."""

import dataclasses
import re
import secrets
import socket
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from file.checks import open_files
from file.management.terminal import OK, exit_now, opened_ledger
from file.server import openfiles
from file.server.server import ConnectionLimits
from file.server.serving import run
from file.service.application import create_application
from file.service.logs import configure

_log = structlog.get_logger()
_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):)?(?P<port>\d{1,5})")


class Command(BaseCommand):
    help = (
        "Starts the service: API, probes and pages. Ctrl-C or SIGTERM stops it after the uploads that are under way. "
        "Example: python manage.py runserver 0.0.0.0:8000"
    )
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
        opened_ledger(self.stdout.write)
        token = None
        if not upload.tokens and not upload.open:
            # The checks allow this with DEBUG only. A token for this run lets the first upload succeed.
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
        exit_now(OK)

    def _connections(self) -> int:
        """How many clients may be connected at once. A system check has found that it is enough."""
        files = open_files()
        openfiles.raise_limit(files)
        _log.info("open_files", limit=files.limit, reserve=files.reserve, connections=files.connections)
        return files.connections

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
        raise CommandError(f"{text!r} is neither a port nor address:port; examples are 8000 and 0.0.0.0:8000")
    return match["host"] or "127.0.0.1", int(match["port"])


def _free_address(host: str, port: int, *, setting: str = "") -> str:
    """The numeric address, after a test that it is free: the server accepts no names, and reports errors late."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(place)
    except OSError as error:
        raise CommandError(f"{setting}cannot serve on {host}:{port}: {error.strerror}") from error
    return str(place[0])
