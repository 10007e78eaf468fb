"""How accounts come and go: `manage.py accounts`, `--retry A`, `add`, `retire` and `rename`, their options and answers.

Promises: a refusal is one line and exit code 1; so is what is not done yet, and running the same again goes on. Each
tells what it did in lines, or, with `--json`, in one object. The command itself is `commands/accounts.py`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser, OutputWrapper
from django.db import DEFAULT_DB_ALIAS, connection

from file.ledger.accounts.accountstates import is_known, known_accounts
from file.ledger.accounts.backfill import Backfilled, backfill, take_back
from file.ledger.accounts.batches import reading
from file.ledger.accounts.presence import retry
from file.ledger.accounts.renaming import RenamingRefusedError, rename
from file.ledger.accounts.retirement import Retirement, RetirementRefusedError, retire
from file.ledger.database.opening import LedgerRefusedError, open_ledger
from file.logic.errors import LedgerUnavailableError
from file.logic.values import Account
from file.management.reports.accounts import account_states, as_json, as_lines

_ADD = """\
Says that new files go to the account A, and takes back that it was retired, if it was. The running service learns that
within seconds; of an account that is new in the environment it learns at its next start.

--backfill: each file that A does not have gets a pending replica there, and the service brings it; progress is what
`manage.py accounts` says. It may be interrupted and run again, which adds only what is missing.
"""
_RETIRE = """\
From now on no new file goes to the account A; the running service learns it within seconds. What A still lacks is given
up. The exit code is 1 until everything is done, so it may be run again until then.

--keep: what A has stays there, is read from there, and is erased with its file. A stays in the environment for that.
--drain: what A has is removed from it, file by file, if another account has the file in good order. Then A may be taken
out of the environment.
"""
_RENAME = """\
The account A is B now: AWS_ACCOUNT_A was renamed to AWS_ACCOUNT_B in the environment, with the same bucket and prefix.
Stop every service that has A first. What the objects' own metadata says keeps the old name; see docs/accounts.md.
"""
_RESTART = (
    "New files go to {name} from the next start of each service on: the environment is read then. A service that was "
    "started with {variable} learns it within seconds."
)

Options = dict[str, Any]


def variable(name: str) -> str:
    return f"AWS_ACCOUNT_{name}"


def add_arguments(parser: CommandParser) -> None:
    """`--retry`, and the subcommands; `options["work"]` is then what is to be done, called with a `Membership`."""
    parser.add_argument("--retry", metavar="A", help="try again now what account A refused")
    subcommands = parser.add_subparsers(dest="subcommand", metavar="subcommand")

    def subcommand(name: str, help: str, description: str, work: Callable[..., bool]) -> CommandParser:
        made: CommandParser = subcommands.add_parser(
            name, help=help, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        # Or its default would undo the option before the subcommand.
        made.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="tell the result as JSON")
        made.set_defaults(work=work)
        return made

    added = subcommand(
        "add", "New files go to an account; with --backfill those that are there, too.", _ADD, Membership.add
    )
    added.add_argument("name", metavar="A", help="the account")
    added.add_argument("--backfill", action="store_true", help="bring it the files that are there already")
    retired = subcommand("retire", "No new files go to an account.", _RETIRE, Membership.retire)
    retired.add_argument("name", metavar="A", help="the account")
    way = retired.add_mutually_exclusive_group(required=True)
    way.add_argument("--drain", action="store_true", help="remove its files from it, where others have them")
    way.add_argument("--keep", action="store_true", help="leave its files there")
    renamed = subcommand("rename", "An account has another name in the environment.", _RENAME, Membership.rename)
    renamed.add_argument("name", metavar="A", help="its name until now")
    renamed.add_argument("new_name", metavar="B", help="its name in the environment")


class Membership:
    """Carries them out on the ledger of the settings. `out` gets the result, `err` what is shown beside it."""

    def __init__(self, out: OutputWrapper, err: OutputWrapper) -> None:
        self._out = out
        self._err = err
        self._configured: dict[str, Account] = {account.name: account for account in settings.UPLOAD.accounts}

    def carry_out(self, options: Options, work: Callable[..., bool]) -> None:
        """Raises `CommandError`; exits with 1 if something is left to be done."""
        self._open()
        try:
            done = work(self, options)
        except LedgerUnavailableError as error:
            cause = "" if error.__cause__ is None else f" ({' '.join(str(error.__cause__).split())})"
            raise CommandError(f"{error.detail}{cause} What was done until now stays; run it again.") from error
        except (RetirementRefusedError, RenamingRefusedError) as error:
            raise CommandError(str(error)) from error
        finally:
            connection.close()
        if not done:
            raise SystemExit(1)

    def show(self, options: Options) -> bool:
        """Of all, or of those that `--account` names."""
        states = account_states(settings.UPLOAD.accounts, known_accounts(DEFAULT_DB_ALIAS))
        if options["account"]:
            states = [state for state in states if state.known.name in options["account"]]
        self._tell(options, as_json(states), as_lines(states))
        return True

    def retry(self, options: Options) -> bool:
        account = self._account(options["retry"])
        released, hastened = retry(DEFAULT_DB_ALIAS, account)
        self._tell(
            options,
            {"account": account.name, "released": released, "erasing": hastened},
            [f"{account.name}: {released} blocked replicas are pending again; {hastened} to be erased are tried now."],
        )
        return True

    def add(self, options: Options) -> bool:
        account = self._account(options["name"])
        was_retired = take_back(DEFAULT_DB_ALIAS, account.name)
        told: dict[str, Any] = {"account": account.name, "was_retired": was_retired}
        lines = [f"{account.name} is not retired any more."] if was_retired else []
        lines.append(_RESTART.format(name=account.name, variable=variable(account.name)))
        if not options["backfill"]:
            self._tell(options, told, lines)
            return True
        show = self._progress(options)
        done = backfill(DEFAULT_DB_ALIAS, account, lambda at: show(f"{at.files} files, {at.added} added"))
        show(f"{done.files} files, {done.added} added\n")
        self._tell(options, told | asdict(done) | {"whole": done.is_whole}, [*lines, *_backfilled(account.name, done)])
        return done.is_whole

    def retire(self, options: Options) -> bool:
        name, keeps = options["name"], options["keep"]
        if name not in self._configured:
            self._check_known(name)
            if not keeps:
                raise CommandError(f"{variable(name)} is not set: nothing can be removed from {name} without it")
        show = self._progress(options)
        done = retire(
            DEFAULT_DB_ALIAS,
            name,
            keeps=keeps,
            configured=list(self._configured),
            ack=settings.UPLOAD.ack,
            told=lambda at: show(f"{at.given_up} given up, {at.leaving} to be removed, {at.only_there} only there"),
        )
        show(f"{done.given_up} given up, {done.leaving} to be removed, {done.only_there} only there\n")
        told = {"account": name, "keeps": keeps, **asdict(done), "done": done.is_done}
        self._tell(options, told, _retired(name, done, keeps=keeps, is_missing=name not in self._configured))
        return done.is_done

    def rename(self, options: Options) -> bool:
        old, new = options["name"], self._account(options["new_name"])
        if old in self._configured:
            raise CommandError(f"{variable(old)} is still set: rename it to {variable(new.name)} first")
        show = self._progress(options)
        renamed = rename(DEFAULT_DB_ALIAS, old, new, lambda count: show(f"{count} replicas"))
        show(f"{renamed} replicas\n")
        self._tell(
            options,
            {"account": old, "new_name": new.name, "renamed": renamed},
            [f"{old} is {new.name} now: {renamed} replicas. Start the services with {variable(new.name)}."],
        )
        return True

    def _account(self, name: str) -> Account:
        if name not in self._configured:
            known = ", ".join(self._configured) or "none"
            raise CommandError(f"{variable(name)} is not set; the accounts in the environment are: {known}")
        return self._configured[name]

    def _check_known(self, name: str) -> None:
        with reading():
            if not is_known(DEFAULT_DB_ALIAS, name):
                raise CommandError(f"there is no account {name}, neither in the environment nor in the ledger")

    def _open(self) -> None:
        try:
            copy = open_ledger()
        except LedgerRefusedError as error:
            raise CommandError(str(error)) from error
        if copy is not None:
            self._err.write(f"The ledger was migrated; as it was before, it is in {copy}", style_func=str)

    def _tell(self, options: Options, told: dict[str, Any], lines: Any) -> None:
        self._out.write(json.dumps(told, ensure_ascii=False) if options["json"] else "\n".join(lines))

    def _progress(self, options: Options) -> Callable[[str], None]:
        """On a terminal only, and beside the result."""

        def show(text: str) -> None:
            self._err.write(f"\r{text}", style_func=str, ending="")

        return show if sys.stderr.isatty() and not options["json"] else lambda _: None


def _backfilled(name: str, done: Backfilled) -> Iterator[str]:
    yield f"{done.added} of {done.files} files will be brought to {name}: manage.py accounts says how many are pending."
    if done.leaving:
        yield f"{done.leaving} files are still being removed from {name}: run it again when they are."
    if done.under_way:
        yield f"{done.under_way} files are being received that do not go to {name}: run it again when they are there."


def _retired(name: str, done: Retirement, *, keeps: bool, is_missing: bool) -> Iterator[str]:
    yield f"{name} is retired: no new files go there. {done.given_up} replicas that it lacked are given up."
    if not keeps:
        yield f"{done.leaving} files are removed from {name} from now on."
    if done.only_there:
        yield (f"{done.only_there} files are only there: they are drained once another account has them; run it again.")
    if done.replaced:
        yield f"In place of {done.replaced} files something else lies there: see manage.py verify --replace."
    if done.unfinished and is_missing:
        yield f"{done.unfinished} replicas wait until {variable(name)} is set, to make sure that nothing is left there."
    elif done.unfinished:
        yield f"{done.unfinished} replicas are not done: the running service goes on with them; run it again."
    if done.under_way:
        yield f"{done.under_way} files are being received for {name} at this moment: run it again."
    if done.is_done:
        yield f"{name} keeps what it has." if keeps else f"{name} is drained; {variable(name)} may be removed."
