"""`manage.py ledger`: what is done to the ledger as a whole. A method a subcommand, whose options stand beside it.

Promises: each says in a line what it did, or, with `--json`, in one object; a refusal is one line and exit code 1.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connection

from file.audit.inventory import Findings
from file.audit.rebuild import Rebuild
from file.checks import TAGS_WITHOUT_SETTINGS
from file.ledger.database.backup import CopyRefusedError, copy_ledger
from file.ledger.database.opening import LedgerRefusedError, open_ledger
from file.ledger.database.threads import ReadingThreads
from file.ledger.installations import NO_INSTALLATION, Installations, Ownership, is_installation
from file.ledger.keyed import account_hashes
from file.logic.errors import LedgerUnavailableError
from file.management.leaving import Leaving
from file.management.reports.rebuild import as_json, as_lines, is_right
from file.service.accounts import s3_accounts

_REBUILD = """\
Restores files and replicas from what lies in the accounts: every object says whose it is. Nothing that the ledger has
is changed, but that a replica which was pending and is there becomes stored; so this may run on an older copy of the
ledger, beside the service, and again. What contradicts itself is told and not restored; then, and if an account could
not be listed, the exit code is 1.

Objects say which installation wrote them. Those of another one are left alone, and counted: name it with --adopt if
its files are yours, as after the loss of the whole ledger, when a new one has a new id.

Objects name the accounts of their file by hashes under SECRET_KEY. A file that lacks a copy in an account whose name
cannot be found is counted and not restored. If SECRET_KEY was replaced, put the former one into SECRET_KEY_FALLBACKS;
if an account was renamed or removed, say its former name with --former-account.

What cannot come back: who sent a file, the ack that was asked for, S3's request ids, idempotency keys, the size of the
parts, the exact time of the acknowledgement. A file that was being received or erased when the ledger was lost comes
back, as partial, if it lies in an account. Where an object does not say its file's SHA-256, it is read once, whole.
"""


class Command(Leaving):
    help = "Looks after the ledger, the record of what lies in which account."
    # A ledger is saved even while a setting is wrong.
    requires_system_checks = TAGS_WITHOUT_SETTINGS

    def add_arguments(self, parser: CommandParser) -> None:
        subcommands = parser.add_subparsers(dest="subcommand", required=True, metavar="subcommand")
        backup = subcommands.add_parser("backup", help="Copies an SQLite ledger while the service runs.")
        backup.add_argument("file", type=Path, help="the copy; must not be there yet")
        backup.add_argument("--json", action="store_true", help="tell the result as JSON")
        backup.set_defaults(run=self.backup)
        rebuild = subcommands.add_parser(
            "rebuild",
            help="Restores files and replicas from what lies in the accounts.",
            description=_REBUILD,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        rebuild.add_argument("--dry-run", action="store_true", help="change nothing, and tell what would be done")
        rebuild.add_argument(
            "--older-copy",
            action="store_true",
            help="the ledger is a copy (a dump, a standby) that took the place of a later one: what was being received "
            "when it was made may have been acknowledged since, and is restored, too; stop the service before",
        )
        rebuild.add_argument(
            "--adopt",
            action="append",
            default=[],
            type=_installation,
            metavar="INSTALLATION",
            help="take over the objects of this installation, too; `none` for objects that carry no installation's id. "
            "May be given several times; a ledger that knows no file yet becomes the first one",
        )
        rebuild.add_argument(
            "--former-account",
            action="append",
            default=[],
            metavar="NAME",
            help="the name of an account that is not configured any more, such as the former name of one that was "
            "renamed: objects may name it. May be given several times",
        )
        rebuild.add_argument(
            "--without-unknown-accounts",
            action="store_true",
            help="restore also the files that lack a copy in an account whose name cannot be found; the ledger then "
            "does not know of that copy, and it is not brought again",
        )
        rebuild.add_argument("--json", action="store_true", help="tell the result as JSON")
        rebuild.set_defaults(run=self.rebuild)

        installation = subcommands.add_parser(
            "installation", help="Tells the id that every object carries, and whether the ledger is an older copy."
        )
        installation.add_argument("--json", action="store_true", help="tell the result as JSON")
        installation.set_defaults(run=self.installation)

    def handle(self, *args: Any, **options: Any) -> None:
        options["run"](options)

    def installation(self, options: dict[str, Any]) -> None:
        """Exit code 1 if the ledger is known to be behind."""
        if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
            raise CommandError("there is no ledger yet; the service makes it when it starts")
        self._opened(dry_run=False)
        try:
            told = asyncio.run(self._ownership())
        except LedgerUnavailableError as error:
            raise CommandError(error.detail) from error
        others = sorted(told.ours - {told.own})
        behind_at = None if told.behind_at is None else told.behind_at.isoformat()
        if options["json"]:
            self.stdout.write(json.dumps({"installation": told.own, "adopted": others, "behind_at": behind_at}))
        else:
            self.stdout.write(f"This installation: {told.own}")
            self.stdout.writelines(f"Adopted: {other}" for other in others)
            if behind_at is not None:
                self.stdout.write(
                    f"The ledger is older than what lies in the accounts (noticed {behind_at}): "
                    "stop the service, and run: python manage.py ledger rebuild --older-copy"
                )
        if behind_at is not None:
            raise SystemExit(1)

    async def _ownership(self) -> Ownership:
        threads = ReadingThreads(DEFAULT_DB_ALIAS, count=1)
        try:
            return await Installations(threads, DEFAULT_DB_ALIAS).read()
        finally:
            await threads.close()

    def backup(self, options: dict[str, Any]) -> None:
        """One consistent copy, on the disk when the command ends."""
        if connection.vendor == "postgresql":
            raise CommandError("the ledger is in PostgreSQL: copy it with pg_dump")
        if connection.vendor != "sqlite":
            raise CommandError("DATABASE_URL: names no database; see: python manage.py check")
        target: Path = options["file"].absolute()
        begun = time.monotonic()
        try:
            size = copy_ledger(Path(connection.settings_dict["NAME"]), target, self._progress(options))
        except CopyRefusedError as error:
            raise CommandError(str(error)) from error
        seconds = round(time.monotonic() - begun, 3)
        if options["json"]:
            self.stdout.write(json.dumps({"file": str(target), "bytes": size, "seconds": seconds}))
        else:
            self.stdout.write(f"Copied the ledger to {target}: {size} bytes in {seconds:.1f} seconds.")

    def rebuild(self, options: dict[str, Any]) -> None:
        """What the accounts know of their files. Exit code 1 if anything could not be restored."""
        if settings.UPLOAD_FAULTS:  # an account that is left out would count as one that has nothing
            raise CommandError("\n".join(settings.UPLOAD_FAULTS))
        alias = self._opened(dry_run=options["dry_run"])
        begun = time.monotonic()
        try:
            findings = asyncio.run(self._rebuilt(alias, options))
        except LedgerUnavailableError as error:
            raise CommandError(f"{error.detail} What was restored until now stays.") from error
        except (sqlite3.Error, OSError) as error:
            raise CommandError(f"the temporary file cannot be used (TMPDIR): {error}") from error
        finally:
            connection.close()
        seconds = round(time.monotonic() - begun, 3)
        if options["json"]:
            told = as_json(findings) | {"dry_run": options["dry_run"], "seconds": seconds}
            self.stdout.write(json.dumps(told, ensure_ascii=False))
        else:
            self.stdout.write("\n".join(as_lines(findings, dry_run=options["dry_run"])))
        if not is_right(findings):
            raise SystemExit(1)

    async def _rebuilt(self, alias: str | None, options: dict[str, Any]) -> Findings:
        show = self._count(options)
        async with s3_accounts(settings.UPLOAD) as buckets:
            findings = await Rebuild(
                alias,
                buckets,
                hashes=account_hashes(),
                former=options["former_account"],
                without_unknown=options["without_unknown_accounts"],
                adopted=options["adopt"],
                older_copy=options["older_copy"],
                dry_run=options["dry_run"],
                told=show,
            ).run()
        show(findings, ending="\n")
        return findings

    def _opened(self, *, dry_run: bool) -> str | None:
        """The ledger's alias; None if there is none and none is to be made."""
        if dry_run and connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
            return None
        try:
            copy = open_ledger(dry_run=dry_run)
        except LedgerRefusedError as error:
            raise CommandError(str(error)) from error
        if copy is not None:
            self.stderr.write(f"The ledger was migrated; as it was before, it is in {copy}", style_func=str)
        return DEFAULT_DB_ALIAS

    def _count(self, options: dict[str, Any]) -> Any:
        """On a terminal only, and beside the result."""

        def show(findings: Findings, ending: str = "") -> None:
            objects = sum(account.objects for account in findings.accounts.values())
            done = f"\r{objects} objects, {findings.stored + findings.partial} files restored, {findings.hashed} read"
            self.stderr.write(done, style_func=str, ending=ending)

        def say_nothing(findings: Findings, ending: str = "") -> None:
            """Nobody watches."""

        return show if sys.stderr.isatty() and not options["json"] else say_nothing

    def _progress(self, options: dict[str, Any]) -> Any:
        """On a terminal only, and beside the result."""
        if options["json"] or not sys.stderr.isatty():
            return None

        def show(done: int, total: int) -> None:
            percent = 100 * done // max(total, 1)
            self.stderr.write(f"\r{percent:3d} %", style_func=str, ending="\n" if done == total else "")  # not in red

        return show


def _installation(text: str) -> str:
    """Its id, for argparse."""
    if text != NO_INSTALLATION and not is_installation(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no installation's id (a UUID), and not `{NO_INSTALLATION}`")
    return text
