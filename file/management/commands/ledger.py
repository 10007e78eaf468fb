"""`manage.py ledger`: work on the ledger as a whole. One method per subcommand.

Promises: each subcommand reports what it did in lines, or, with `--json`, in one object; a refusal is one line and exit
code 1. Leaves to others: the work (`file/audit/rebuild.py`, `file/ledger/database/backup.py`).
"""

import argparse
import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connection

from file.audit.findings import RebuildFindings
from file.audit.rebuild import Rebuild
from file.ledger.database.backup import CopyRefusedError, copy_ledger
from file.ledger.database.threads import ReadingThreads
from file.ledger.installations import NO_INSTALLATION, Installations, Ownership, is_installation
from file.ledger.keyed import account_hashes
from file.logic.accounts.registry import Registry
from file.logic.errors import LedgerUnavailableError
from file.management.reports.rebuild import as_json, as_lines, as_progress, is_right
from file.management.terminal import (
    NOT_DONE,
    OperatorCommand,
    Options,
    Show,
    add_json,
    add_subcommand,
    ledger_is_missing,
)
from file.service.accounts import s3_connector

_REBUILD = """\
Restores files and replicas in the ledger from the objects in the accounts: each object says which file it is. What the
ledger has does not change, except that a pending replica whose object is there becomes stored. So the command may run
on an older copy of the ledger, beside the running service, and more than once. Objects that contradict each other are
reported and not restored. Then, and if an account could not be listed, the exit code is 1.

Each object names the installation that wrote it. Objects of another installation are counted and left alone. If they
are yours, name that installation with --adopt. This is necessary after a loss of the ledger: a new ledger has a new id.

Objects name the accounts of their file by hashes under SECRET_KEY. A file that lacks a copy in an account whose name is
not known is counted and not restored. If SECRET_KEY was replaced, put the former key into SECRET_KEY_FALLBACKS. If an
account was renamed or removed, give its former name with --former-account.

These things cannot be restored: who sent a file, the ack of its upload, the request ids of S3, idempotency keys, the
size of the parts, and the exact time of the acknowledgement. A file that was being received or erased when the ledger
was lost is restored as partial if an account has it. An object without the SHA-256 of its file is read once.

examples:
  python manage.py ledger rebuild --dry-run
  python manage.py ledger rebuild --adopt 3f2a9c1e-0b5d-4c7a-9e86-5d1f00c2ab47
"""
_BACKUP = """\
Copies an SQLite ledger to a new file while the service runs. The copy is of one moment and needs no other file. Keep
SECRET_KEY with it. For PostgreSQL use pg_dump.

example:
  python manage.py ledger backup /backups/ledger-monday.sqlite3
"""
_INSTALLATION = """\
Shows the id that each object of this ledger carries, and whether the ledger is an older copy. Then the exit code is 1.
"""


class Command(OperatorCommand):
    help = "Copies and restores the ledger, the record of which account has which file."

    def add_arguments(self, parser: CommandParser) -> None:
        add_json(parser)
        subcommands = parser.add_subparsers(dest="subcommand", required=True, metavar="subcommand")
        backup = add_subcommand(subcommands, "backup", "copies an SQLite ledger", _BACKUP, self.backup)
        backup.add_argument("file", type=Path, help="the path of the copy; no file may be there")
        rebuild = add_subcommand(
            subcommands, "rebuild", "restores the ledger from the accounts", _REBUILD, self.rebuild
        )
        rebuild.add_argument("--dry-run", action="store_true", help="change nothing, and report what would be done")
        rebuild.add_argument(
            "--older-copy",
            action="store_true",
            help="the ledger is an older copy (a dump, a standby): also restore uploads that were under way when it "
            "was made, because they may have been acknowledged since; stop the service before",
        )
        rebuild.add_argument(
            "--adopt",
            action="append",
            default=[],
            type=_installation,
            metavar="INSTALLATION",
            help="restore the objects of this installation too; `none` for objects without the id of an installation. "
            "May be given several times; a ledger without files takes the id of the first one",
        )
        rebuild.add_argument(
            "--former-account",
            action="append",
            default=[],
            metavar="NAME",
            help="the name of an account that is not configured any more, such as the former name of a renamed one. "
            "May be given several times",
        )
        rebuild.add_argument(
            "--without-unknown-accounts",
            action="store_true",
            help="also restore files that lack a copy in an account whose name is not known; the ledger does not know "
            "that copy then, and it is not copied again",
        )
        add_subcommand(subcommands, "installation", "shows the id of this ledger", _INSTALLATION, self.installation)

    def handle(self, *args: Any, **options: Any) -> None:
        options["run"](options)

    def installation(self, options: Options) -> None:
        """Exit code 1 if the ledger is known to be an older copy."""
        if ledger_is_missing():
            raise CommandError("there is no ledger yet; the service makes it when it starts")
        self.open_ledger()
        try:
            found = asyncio.run(_ownership())
        except LedgerUnavailableError as error:
            raise CommandError(error.detail) from error
        adopted = sorted(found.ours - {found.own})
        behind_at = None if found.behind_at is None else found.behind_at.isoformat()
        lines = [f"This installation: {found.own}", *(f"Adopted: {other}" for other in adopted)]
        if behind_at is not None:
            lines.append(
                f"The ledger is older than the objects in the accounts (noticed {behind_at}). "
                "Stop the service, and run: python manage.py ledger rebuild --older-copy"
            )
        self.report(options, {"installation": found.own, "adopted": adopted, "behind_at": behind_at}, lines)
        if behind_at is not None:
            raise SystemExit(NOT_DONE)

    def backup(self, options: Options) -> None:
        """One consistent copy, which is on the disk when the command ends."""
        if connection.vendor == "postgresql":
            raise CommandError("the ledger is in PostgreSQL: copy it with pg_dump")
        if connection.vendor != "sqlite":
            raise CommandError("DATABASE_URL: names no database; see: python manage.py check")
        target: Path = options["file"].absolute()
        begun = time.monotonic()
        try:
            with self.progress(options) as show:
                source = Path(connection.settings_dict["NAME"])
                size = copy_ledger(
                    source, target, lambda done, total: show(lambda: (f"{done} of {total} pages", done / max(total, 1)))
                )
        except CopyRefusedError as error:
            raise CommandError(str(error)) from error
        seconds = round(time.monotonic() - begun, 3)
        line = f"Copied the ledger to {target}: {size} bytes in {seconds:.1f} seconds."
        self.report(options, {"file": str(target), "bytes": size, "seconds": seconds}, [line])

    def rebuild(self, options: Options) -> None:
        """Exit code 1 if something could not be restored."""
        self.refuse_faults()
        alias = None if options["dry_run"] and ledger_is_missing() else DEFAULT_DB_ALIAS
        if alias is not None:
            self.open_ledger(dry_run=options["dry_run"])
        begun = time.monotonic()
        try:
            with self.progress(options) as show:
                findings = asyncio.run(self._rebuilt(alias, options, show))
        except LedgerUnavailableError as error:
            raise CommandError(f"{error.detail} What was restored stays.") from error
        except (sqlite3.Error, OSError) as error:
            raise CommandError(f"the temporary file cannot be used (TMPDIR): {error}") from error
        finally:
            connection.close()
        result = as_json(findings) | {"dry_run": options["dry_run"], "seconds": round(time.monotonic() - begun, 3)}
        self.report(options, result, as_lines(findings, dry_run=options["dry_run"]))
        if not is_right(findings):
            raise SystemExit(NOT_DONE)

    async def _rebuilt(self, alias: str | None, options: Options, show: Show) -> RebuildFindings:
        registry = Registry(settings.UPLOAD.accounts)
        async with registry.connected(s3_connector(settings.UPLOAD)):
            return await Rebuild(
                alias,
                registry,
                hashes=account_hashes(),
                former=options["former_account"],
                without_unknown=options["without_unknown_accounts"],
                adopted=options["adopt"],
                older_copy=options["older_copy"],
                dry_run=options["dry_run"],
                progress=lambda findings: show(lambda: as_progress(findings)),
            ).run()


async def _ownership() -> Ownership:
    threads = ReadingThreads(DEFAULT_DB_ALIAS, count=1)
    try:
        return await Installations(threads, DEFAULT_DB_ALIAS).read()
    finally:
        await threads.close()


def _installation(text: str) -> str:
    """The id of an installation, for argparse."""
    if text != NO_INSTALLATION and not is_installation(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the id of an installation (a UUID), and not `{NO_INSTALLATION}`"
        )
    return text
