"""`manage.py accounts`: the state of each account; `--check`, `--retry A`, and the subcommands add, retire and rename.

Promises: a refusal is one line and exit code 1; work that is not finished has exit code 1 too, and the same command
continues it; `--json` reports the same in one object. Leaves to others: the work (`file/ledger/accounts/`), what is
asked of an account (`file/accounts/checkup/`), and the texts (`reports/`).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connection

from file.ledger.accounts.accountstates import is_known, known_accounts
from file.ledger.accounts.backfill import backfill, unretire
from file.ledger.accounts.batches import reading
from file.ledger.accounts.presence import retry
from file.ledger.accounts.renaming import RenamingRefusedError, rename
from file.ledger.accounts.retirement import RetirementRefusedError, retire
from file.logic.accounts.placement import Placement
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountsRefusedError, LedgerUnavailableError
from file.logic.values import Account
from file.management.reports import checkup
from file.management.reports.accounts import account_states, added, as_json, as_table, retired, variable
from file.management.terminal import (
    INTERRUPTED,
    NOT_DONE,
    OK,
    OperatorCommand,
    Options,
    add_json,
    add_subcommand,
    exit_now,
)

_HELP = """\
Shows the state of each account, configured or known to the ledger: how many files it has, what it lacks, and why.
docs/accounts.md explains how to add, retire and rename an account.

--retry A tries again now what account A refused: blocked replicas become pending, and erasures run. Replicas whose
object was replaced stay blocked; `manage.py verify --replace` decides about them.

--check tries everything that the service does, once per account, with a test object of its own under the account's
prefix (<prefix>mentum-check-<uuid>), and removes it again. It checks the connection, clock, region, credentials, bucket
and owner, and each permission. For each failed check it shows the IAM action to allow, or the line to write into the
account's JSON if the store lacks a feature (docs/stores.md). It changes nothing else in the bucket. The exit code is 1
if a check failed. docs/operations.md has the IAM policy.
"""
_EXAMPLES = """\
examples:
  python manage.py accounts                       the state of each account
  python manage.py accounts --check --account B   test the permissions of account B
  python manage.py accounts --retry B             after the cause of its refusals is repaired
  python manage.py accounts add D --backfill      copy the existing files to the new account D
  python manage.py accounts retire B --drain      remove all files from account B
"""
_ADD = """\
Lets new files go to account A, also if A was retired. The running service notices within seconds; it notices an account
that is new in the environment at its next start.

--backfill gives each existing file a pending replica in A, and the service copies it; `manage.py accounts` shows the
progress. You may interrupt the command and run it again: it adds only what is missing.
"""
_RETIRE = """\
Stops new files from going to account A; the running service notices within seconds. Files that A lacks are not copied
to it any more. The exit code is 1 until everything is done; run the command again until it is 0.

--keep: the files in A stay there, are read from there, and are erased when the client erases them. Keep A in the
environment.
--drain: each file is removed from A if another account has it in good order. After that you may remove A from the
environment.
"""
_RENAME = """\
Account A has the name B from now on. Before, rename AWS_ACCOUNT_A to AWS_ACCOUNT_B in the environment, with the same
bucket and prefix, and stop every service that uses A. The metadata of existing objects keeps the old name
(docs/accounts.md).

example:
  python manage.py accounts rename A B
"""


class Command(OperatorCommand):
    help = _HELP

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = _EXAMPLES
        parser.add_argument("--check", action="store_true", help="test everything that the service does in an account")
        parser.add_argument(
            "--account", action="append", metavar="A", help="only this account; may be given several times"
        )
        parser.add_argument("--retry", metavar="A", help="try again now what account A refused")
        add_json(parser)
        subcommands = parser.add_subparsers(dest="subcommand", metavar="subcommand")

        add = add_subcommand(subcommands, "add", "new files go to an account", _ADD, self.add)
        add.add_argument("name", metavar="A", help="the account")
        add.add_argument("--backfill", action="store_true", help="copy the existing files to it")
        retired = add_subcommand(subcommands, "retire", "no new files go to an account", _RETIRE, self.retire)
        retired.add_argument("name", metavar="A", help="the account")
        way = retired.add_mutually_exclusive_group(required=True)
        way.add_argument("--drain", action="store_true", help="remove its files, where another account has them")
        way.add_argument("--keep", action="store_true", help="leave its files there")
        renamed = add_subcommand(subcommands, "rename", "an account has another name", _RENAME, self.rename)
        renamed.add_argument("name", metavar="A", help="its former name")
        renamed.add_argument("new_name", metavar="B", help="its new name in the environment")

    def handle(self, *args: Any, **options: Any) -> None:
        self.refuse_faults()
        self._registry = Registry(settings.UPLOAD.accounts)
        if options["check"]:
            self.check_accounts(options)
        run: Callable[[Options], bool] = options.get("run") or (self.retry if options["retry"] else self.show)
        self.open_ledger()
        try:
            done = run(options)
        except LedgerUnavailableError as error:
            cause = "" if error.__cause__ is None else f" ({' '.join(str(error.__cause__).split())})"
            raise CommandError(f"{error.detail}{cause} What is done stays; run the command again.") from error
        except (RetirementRefusedError, RenamingRefusedError, AccountsRefusedError) as error:
            raise CommandError(str(error)) from error
        finally:
            connection.close()
        if not done:
            raise SystemExit(NOT_DONE)

    def check_accounts(self, options: Options) -> NoReturn:
        """Exit code 1 if a check failed."""
        with self.progress(options) as show:
            checkups, ended = checkup.check_accounts(
                self._chosen(options["account"]), lambda checkups: show(lambda: checkup.progress(checkups))
            )
        self.report(options, checkup.as_json(checkups), checkup.as_table(checkups), checkup.as_lines(checkups))
        exit_now(INTERRUPTED if not ended else OK if checkup.is_whole(checkups) else NOT_DONE)

    def show(self, options: Options) -> bool:
        """All accounts, or those that `--account` names."""
        states = account_states(settings.UPLOAD.accounts, known_accounts(DEFAULT_DB_ALIAS))
        if options["account"]:
            states = [state for state in states if state.known.name in options["account"]]
        self.report(options, as_json(states), as_table(states))
        return True

    def retry(self, options: Options) -> bool:
        account = self._account(options["retry"])
        released, hastened = retry(DEFAULT_DB_ALIAS, account)
        self.report(
            options,
            {"account": account.name, "released": released, "erasing": hastened},
            [f"{account.name}: {released} blocked replicas are pending again; {hastened} erasures are due now."],
        )
        return True

    def add(self, options: Options) -> bool:
        account, done = self._account(options["name"]), None
        was_retired = unretire(DEFAULT_DB_ALIAS, account.name)
        result: dict[str, Any] = {"account": account.name, "was_retired": was_retired}
        if options["backfill"]:
            with self.progress(options) as show:
                done = backfill(
                    DEFAULT_DB_ALIAS,
                    Placement(self._registry),
                    account,
                    lambda at: show(lambda: (f"{at.files} files, {at.added} added", None)),
                )
            result |= asdict(done) | {"whole": done.is_whole}
        self.report(options, result, added(account.name, was_retired=was_retired, done=done))
        return done is None or done.is_whole

    def retire(self, options: Options) -> bool:
        name, keeps = options["name"], options["keep"]
        is_missing = self._registry.account(name) is None
        if is_missing:
            with reading():
                if not is_known(DEFAULT_DB_ALIAS, name):
                    raise CommandError(f"there is no account {name}, neither in the environment nor in the ledger")
            if not keeps:
                raise CommandError(f"{variable(name)} is not set: nothing can be removed from {name} without it")
        with self.progress(options) as show:
            done = retire(
                DEFAULT_DB_ALIAS,
                name,
                keeps=keeps,
                configured=self._registry.names,
                ack=settings.UPLOAD.ack,
                progress=lambda at: show(
                    lambda: (f"{at.given_up} given up, {at.leaving} to remove, {at.only_there} only there", None)
                ),
            )
        result = {"account": name, "keeps": keeps, **asdict(done), "done": done.is_done}
        self.report(options, result, retired(name, done, keeps=keeps, is_missing=is_missing))
        return done.is_done

    def rename(self, options: Options) -> bool:
        old, new = options["name"], self._account(options["new_name"])
        if self._registry.account(old) is not None:
            raise CommandError(f"{variable(old)} is still set: rename it to {variable(new.name)} first")
        with self.progress(options) as show:
            renamed = rename(DEFAULT_DB_ALIAS, old, new, lambda count: show(lambda: (f"{count} replicas", None)))
        self.report(
            options,
            {"account": old, "new_name": new.name, "renamed": renamed},
            [f"{old} is now {new.name}: {renamed} replicas. Start the services with {variable(new.name)}."],
        )
        return True

    def _chosen(self, names: Sequence[str] | None) -> Sequence[Account]:
        for name in names or ():
            if self._registry.account(name) is None:
                raise CommandError(f"there is no account {name!r}; the accounts are {', '.join(self._registry.names)}")
        return [account for account in self._registry.accounts if not names or account.name in names]

    def _account(self, name: str) -> Account:
        if (account := self._registry.account(name)) is None:
            known = ", ".join(self._registry.names) or "none"
            raise CommandError(f"{variable(name)} is not set; the accounts in the environment are: {known}")
        return account
