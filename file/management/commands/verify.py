"""`manage.py verify`: asks every account for every replica, and tells what is not as it should be.

Promises: with `--json` nothing is on standard output but one object; the exit code is 1 if anything was wrong, also if
it was put right, and in a dry run; a refusal is one line and exit code 1.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connection

from file.audit.findings import AccountFindings, Findings
from file.audit.orphans import CleaningRefusedError, Strangers
from file.audit.verify import Plan, Verify
from file.checks import TAGS_WITHOUT_SETTINGS
from file.ledger.audit.known import Acquaintance
from file.ledger.audit.replicas import Verifiable
from file.ledger.audit.verification import Verification
from file.ledger.database.opening import LedgerRefusedError, open_ledger
from file.ledger.database.threads import ReadingThreads
from file.ledger.installations import Installations
from file.logic.errors import LedgerUnavailableError
from file.management.leaving import Leaving
from file.management.reports.verify import as_json, as_lines, as_progress
from file.service.accounts import s3_accounts

_TERMINAL_SECONDS, _LINE_SECONDS = 0.2, 10.0  # between two signs of life
_ABOUT = """\
Asks every account for every replica that the ledger says it has: our file's id, size and checksum. What is missing
becomes pending, and the service brings it; what is something else becomes blocked, for you to decide; the last good
replica of a file is left as it is. Runs beside the service. Then lists what lies under our prefix that the ledger does
not know, and open uploads. docs/verify.md says what each finding means.
"""


class Command(Leaving):
    help = "Asks every account for every replica, and marks what is missing or replaced."
    requires_system_checks = TAGS_WITHOUT_SETTINGS

    def add_arguments(self, parser: CommandParser) -> None:
        parser.description = _ABOUT
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("--deep", action="store_true", help="read every object and hash it, not only look at it")
        parser.add_argument("--account", metavar="A", help="this account only")
        parser.add_argument("--prefix", metavar="P", default="", help="keys that begin so only")
        parser.add_argument(
            "--sample", metavar="N", type=_count, help="so many replicas an account, by chance; lists no strangers"
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="where an earlier run found other bytes under our own file's id: remove them, and have the file "
            "brought again",
        )
        parser.add_argument(
            "--clean",
            action="store_true",
            help="remove objects of files that the ledger recorded as erased or given up, and open uploads of ours "
            "with which nothing goes on; refused while the ledger is older than what lies in the accounts",
        )
        parser.add_argument("--dry-run", action="store_true", help="change nothing, and tell what would be done")
        parser.add_argument("--json", action="store_true", help="tell the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.UPLOAD_FAULTS:  # an account that is left out would go unasked
            raise CommandError("\n".join(settings.UPLOAD_FAULTS))
        if options["clean"] and options["sample"] is not None:
            raise CommandError("--clean needs a whole listing, and --sample makes none: use one of them")
        configured = [account.name for account in settings.UPLOAD.accounts]
        if options["account"] not in (None, *configured):
            raise CommandError(f"--account: there is no such account; the accounts are {', '.join(configured)}")
        self._open_ledger(dry_run=options["dry_run"])
        names = configured if options["account"] is None else [options["account"]]
        findings = Findings({name: AccountFindings() for name in names})
        begun = time.monotonic()
        try:
            asyncio.run(self._verify(findings, options))
        except CleaningRefusedError as error:
            raise CommandError(
                "--clean: the ledger is older than what lies in the accounts, and does not know all files; "
                "stop the service, and restore them: python manage.py ledger rebuild --older-copy"
            ) from error
        except LedgerUnavailableError as error:
            raise CommandError(f"{error.detail} What was marked until now stays.") from error
        finally:
            connection.close()
        if options["json"]:
            seconds = round(time.monotonic() - begun, 3)
            told = as_json(findings) | {"dry_run": options["dry_run"], "deep": options["deep"], "seconds": seconds}
            self.stdout.write(json.dumps(told, ensure_ascii=False))
        else:
            self.stdout.write("\n".join(as_lines(findings, dry_run=options["dry_run"])))
        if not findings.is_right:
            raise SystemExit(1)

    async def _verify(self, findings: Findings, options: dict[str, Any]) -> None:
        told, done = self._progress(findings, options)
        threads = ReadingThreads(DEFAULT_DB_ALIAS, count=1)
        plan = Plan(**{name: options[name] for name in ("deep", "prefix", "sample", "replace", "dry_run")})
        try:
            async with s3_accounts(settings.UPLOAD) as opened:
                buckets = [bucket for bucket in opened if bucket.account.name in findings.accounts]
                strangers = Strangers(
                    Acquaintance(threads, DEFAULT_DB_ALIAS),
                    Installations(threads, DEFAULT_DB_ALIAS),
                    buckets,
                    findings,
                    under=plan.prefix,
                    clean=options["clean"],
                    dry_run=plan.dry_run,
                    told=told,
                )
                await strangers.check()
                verify = Verify(
                    Verifiable(threads, DEFAULT_DB_ALIAS),
                    Verification(threads, DEFAULT_DB_ALIAS),
                    buckets,
                    plan,
                    findings,
                    others=opened,
                    told=told,
                )
                await verify.run()
                if plan.sample is None:
                    await strangers.run()
                    if options["account"] is None and not plan.prefix:
                        await verify.look_for_others()
        finally:
            await threads.close()
            done()

    def _open_ledger(self, *, dry_run: bool) -> None:
        if connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists():
            raise CommandError("there is no ledger yet; if it was lost: python manage.py ledger rebuild")
        try:
            copy = open_ledger(dry_run=dry_run)
        except LedgerRefusedError as error:
            raise CommandError(str(error)) from error
        if copy is not None:
            self.stderr.write(f"The ledger was migrated; as it was before, it is in {copy}", style_func=str)

    def _progress(self, findings: Findings, options: dict[str, Any]) -> tuple[Callable[[], None], Callable[[], None]]:
        """Beside the result: a bar on a terminal, elsewhere a line now and then."""
        if options["json"]:
            return lambda: None, lambda: None
        is_terminal = sys.stderr.isatty()
        pause = _TERMINAL_SECONDS if is_terminal else _LINE_SECONDS
        due = time.monotonic() + pause

        def tell() -> None:
            nonlocal due
            if time.monotonic() < due:
                return
            due = time.monotonic() + pause
            show("" if is_terminal else "\n")

        def show(ending: str) -> None:
            start = "\r" if is_terminal else ""
            self.stderr.write(start + as_progress(findings), style_func=str, ending=ending)

        return tell, lambda: show("\n") if is_terminal else None


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("a whole number, 1 or more")
    return int(text)
