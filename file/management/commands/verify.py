"""`manage.py verify`: checks every replica in every account, and reports what is wrong.

Promises: with `--json`, standard output has one object and nothing else; the exit code is 1 if something was wrong,
also if it was repaired, and in a dry run; a refusal is one line and exit code 1. Leaves to others: the work
(`file/audit/`).
"""

import argparse
import asyncio
import time
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connection

from file.audit.findings import AccountFindings, Findings
from file.audit.orphans import CleaningRefusedError, Orphans
from file.audit.verify import Plan, Verify
from file.ledger.audit.known import KnownObjects
from file.ledger.audit.replicas import Replicas
from file.ledger.audit.verification import Verification
from file.ledger.database.threads import ReadingThreads
from file.ledger.installations import Installations
from file.logic.accounts.registry import Registry
from file.logic.errors import LedgerUnavailableError
from file.management.reports.verify import as_json, as_lines, as_progress, as_table
from file.management.terminal import NOT_DONE, OperatorCommand, Options, Show, add_json, ledger_is_missing
from file.service.accounts import s3_connector

_HELP = """\
Checks every replica that the ledger has in every account: file id, size and checksum. A missing replica becomes
pending, and the service copies it again. A replaced replica becomes blocked, and you decide. The last good replica of a
file is never changed. The command then lists objects under the account's prefix that the ledger does not know, and open
uploads. It may run beside the service. The exit code is 1 if something was wrong. docs/verify.md explains each finding.
"""
_EXAMPLES = """\
examples:
  python manage.py verify --dry-run                  report only
  python manage.py verify --sample 1000              1,000 random replicas per account
  python manage.py verify --deep --account B         read and hash every object in account B
  python manage.py verify --clean                    also remove what erased and failed uploads left
"""


class Command(OperatorCommand):
    help = _HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = _EXAMPLES
        parser.add_argument(
            "--deep", action="store_true", help="read and hash every object, in place of a HEAD request"
        )
        parser.add_argument("--account", metavar="A", help="only this account")
        parser.add_argument("--prefix", metavar="P", default="", help="only keys that begin with P")
        parser.add_argument(
            "--sample",
            metavar="N",
            type=_count,
            help="only N replicas per account, chosen at random; unknown objects are not listed",
        )
        parser.add_argument(
            "--replace",
            action="store_true",
            help="where an earlier run found other bytes under the id of our own file: remove them, and copy the file "
            "again",
        )
        parser.add_argument(
            "--clean",
            action="store_true",
            help="remove objects of files that the ledger has as erased or given up, and our open uploads that nothing "
            "continues; refused while the ledger is older than the objects in the accounts",
        )
        parser.add_argument("--dry-run", action="store_true", help="change nothing, and report what would be done")
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        self.refuse_faults()
        if options["clean"] and options["sample"] is not None:
            raise CommandError("--clean needs a complete listing, and --sample makes none: use one of them")
        configured = [account.name for account in settings.UPLOAD.accounts]
        if options["account"] not in (None, *configured):
            raise CommandError(f"--account: there is no such account; the accounts are {', '.join(configured)}")
        if ledger_is_missing():
            raise CommandError("there is no ledger yet; if it was lost: python manage.py ledger rebuild")
        self.open_ledger(dry_run=options["dry_run"])
        names = configured if options["account"] is None else [options["account"]]
        findings = Findings({name: AccountFindings() for name in names})
        begun = time.monotonic()
        try:
            with self.progress(options, with_lines=True) as show:
                asyncio.run(self._verify(findings, options, show))
        except CleaningRefusedError as error:
            raise CommandError(
                "--clean: the ledger is older than the objects in the accounts, and does not know all files. "
                "Stop the service, and restore them: python manage.py ledger rebuild --older-copy"
            ) from error
        except LedgerUnavailableError as error:
            raise CommandError(f"{error.detail} What was marked stays.") from error
        finally:
            connection.close()
        seconds = round(time.monotonic() - begun, 3)
        result = as_json(findings) | {"dry_run": options["dry_run"], "deep": options["deep"], "seconds": seconds}
        self.report(options, result, as_table(findings), as_lines(findings, dry_run=options["dry_run"]))
        if not findings.is_right:
            raise SystemExit(NOT_DONE)

    async def _verify(self, findings: Findings, options: Options, show: Show) -> None:
        show_progress = partial(show, partial(as_progress, findings))
        threads = ReadingThreads(DEFAULT_DB_ALIAS, count=1)
        plan = Plan(**{name: options[name] for name in ("deep", "prefix", "sample", "replace", "dry_run")})
        try:
            registry = Registry(settings.UPLOAD.accounts)
            async with registry.connected(s3_connector(settings.UPLOAD)):
                orphans = Orphans(
                    KnownObjects(threads, DEFAULT_DB_ALIAS),
                    Installations(threads, DEFAULT_DB_ALIAS),
                    registry,
                    findings,
                    under=plan.prefix,
                    clean=options["clean"],
                    dry_run=plan.dry_run,
                    progress=show_progress,
                )
                await orphans.check()
                verify = Verify(
                    Replicas(threads, DEFAULT_DB_ALIAS),
                    Verification(threads, DEFAULT_DB_ALIAS),
                    registry,
                    plan,
                    findings,
                    progress=show_progress,
                )
                await verify.run()
                if plan.sample is None:
                    await orphans.run()
                    if options["account"] is None and not plan.prefix:
                        await verify.look_for_others()
        finally:
            await threads.close()


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("must be a whole number, 1 or more")
    return int(text)
