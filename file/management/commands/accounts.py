"""`manage.py accounts`: the state of each account, how one comes and goes, and whether it is fit for the service.

Promises: a refusal is one line and exit code 1; `--json` tells the same in one object. The work is done elsewhere.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from file.accounts.checkup.checkup import CheckUp
from file.checks import TAGS_WITHOUT_SETTINGS
from file.logic.values import Account
from file.management.accountsubcommands import Membership, add_arguments
from file.management.leaving import leave
from file.management.reports.checkup import as_json, as_lines, check_accounts, is_whole, progress

_HELP = """\
Without an option: the state of each account, configured or only known to the ledger, how many files it has,
and what it lacks and why. How accounts come and go is in docs/accounts.md.

--retry A makes what A refused due now: what is blocked (but for what was replaced, which `verify --replace` decides)
is pending again, and what is to be erased is tried.

--check does everything that the service does, once, in every account with a probe object under its prefix
(<prefix>mentum-check-<uuid>), and takes it back: is the account reached, are clock, region, credentials, bucket and
owner right, and is every permission there? It tells a table, and for each cross the IAM action to allow, or the line to
write into the account's JSON where the store lacks something (docs/stores.md). Nothing else in the bucket is touched or
overwritten. The exit code is 1 if there is a cross; docs/operations.md has the policy.
"""
_INTERRUPTED = 130  # what a shell calls a process that Ctrl-C ended


class Command(BaseCommand):
    help = _HELP
    # What is wrong with the accounts themselves is told by the command, before anything is asked.
    requires_system_checks = TAGS_WITHOUT_SETTINGS

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, formatter_class=argparse.RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="try everything that the service does in an account")
        parser.add_argument(
            "--account", action="append", metavar="A", help="this account only; may be given several times"
        )
        parser.add_argument("--json", action="store_true", help="tell the result as JSON")
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.UPLOAD_FAULTS:
            raise CommandError("\n".join(settings.UPLOAD_FAULTS))
        if options["check"]:
            self.check_up(self._chosen(options["account"]), options)
        else:
            work = options.get("work") or (Membership.retry if options["retry"] else Membership.show)
            Membership(self.stdout, self.stderr).carry_out(options, work)

    def check_up(self, accounts: Sequence[Account], options: dict[str, Any]) -> None:
        """Exit code 1 if there is a cross."""
        watched = sys.stderr.isatty() and not options["json"]

        def show(checkups: Sequence[CheckUp]) -> None:
            if watched:  # beside the result
                self.stderr.write(f"\r{progress(checkups)}", style_func=str, ending="")

        checkups, ended = check_accounts(accounts, show)
        if watched:
            self.stderr.write("", style_func=str)
        if options["json"]:
            self.stdout.write(json.dumps(as_json(checkups), ensure_ascii=False))
        else:
            self.stdout.write("\n".join(as_lines(checkups)))
        leave(_INTERRUPTED if not ended else 0 if is_whole(checkups) else 1)

    def _chosen(self, names: Sequence[str] | None) -> Sequence[Account]:
        accounts: dict[str, Account] = {account.name: account for account in settings.UPLOAD.accounts}
        for name in names or ():
            if name not in accounts:
                raise CommandError(f"there is no account {name!r}; there are {', '.join(accounts)}")
        return [account for name, account in accounts.items() if not names or name in names]
