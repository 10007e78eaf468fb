"""What a command writes for a person or a program: tables, progress, JSON, refusals and exit codes.

Promises: with `--json`, standard output has one JSON object and nothing else. A table is drawn by rich on a terminal;
elsewhere it is plain text, without colours and of any width, so that `grep` works. Progress goes to standard error, and
moves on a terminal only. A refusal is one line and exit code 1. rich is imported where it draws, so that commands
without a terminal, `runserver` among them, do not load it.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from file.checks import TAGS_WITHOUT_SETTINGS
from file.ledger.database.opening import LedgerRefusedError, open_ledger

OK, NOT_DONE = 0, 1
INTERRUPTED = 130  # as a shell reports a process that Ctrl-C ended

_GAP = "  "
_WIDEST = 10_000
_MOVING_SECONDS, _LINE_SECONDS = 0.1, 10.0  # between two signs of progress, on a terminal and elsewhere
_STYLES = {"✓": "green", "✗": "bold red", "!": "yellow"}

Options = dict[str, Any]
# Shows progress: the argument makes a text, and the part that is done, from 0 to 1, if that is known. It is called only
# when something is to be shown.
Show = Callable[[Callable[[], tuple[str, float | None]]], None]


@dataclass(frozen=True, slots=True)
class Table:
    """Titles and rows. Columns whose titles are in `numbers` are aligned to the right."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[str] = ()

    def lines(self) -> Iterator[str]:
        """As plain text, one line per row."""
        rows = [self.titles, *self.rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = zip(self.titles, row, widths, strict=True)
            padded = (cell.rjust(w) if title in self.numbers else cell.ljust(w) for title, cell, w in cells)
            yield _GAP.join(padded).rstrip()

    def draw(self, *, no_color: bool) -> None:
        """On standard output, which is a terminal."""
        from rich import box
        from rich.console import Console
        from rich.table import Table as Drawn
        from rich.text import Text

        drawn = Drawn(box=box.SIMPLE_HEAD)
        for title in self.titles:
            drawn.add_column(Text(title), justify="right" if title in self.numbers else "left", no_wrap=True)
        for row in self.rows:
            drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        console = Console(file=sys.stdout, no_color=no_color or None)  # None: as NO_COLOR says
        if Console(width=_WIDEST).measure(drawn).maximum > console.width:  # the terminal breaks lines, rich cuts cells
            console.print(*self.lines(), sep="\n", soft_wrap=True, markup=False, highlight=False, emoji=False)
        else:
            console.print(drawn)


class OperatorCommand(BaseCommand):
    """A command for operators: it works on the ledger or the accounts, and reports as text or as JSON."""

    # The command reports faults of the settings itself, where it needs the settings.
    requires_system_checks = TAGS_WITHOUT_SETTINGS

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs = {"formatter_class": argparse.RawDescriptionHelpFormatter} | kwargs
        return super().create_parser(prog_name, subcommand, **kwargs)

    def run_from_argv(self, argv: list[str]) -> None:
        code: object = OK
        try:
            super().run_from_argv(argv)
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt:
            code = INTERRUPTED
        exit_now(code if isinstance(code, int) else OK if code is None else NOT_DONE)

    def refuse_faults(self) -> None:
        """Stop at a fault in the settings: an account with a fault is left out, and would seem to be empty."""
        if settings.UPLOAD_FAULTS:
            raise CommandError("\n".join(settings.UPLOAD_FAULTS))

    def open_ledger(self, *, dry_run: bool = False) -> None:
        opened_ledger(lambda line: self.stderr.write(line, style_func=str), dry_run=dry_run)

    def report(self, options: Options, result: dict[str, Any], *parts: Table | Iterable[str]) -> None:
        """`result` with `--json`, otherwise the tables and lines of `parts`."""
        if options["json"]:
            self.stdout.write(json.dumps(result, ensure_ascii=False))
            return
        for part in parts:
            if isinstance(part, Table) and self.stdout.isatty():
                self.stdout.flush()
                part.draw(no_color=options["no_color"])
            else:
                for line in part.lines() if isinstance(part, Table) else part:
                    self.stdout.write(line)

    @contextmanager
    def progress(self, options: Options, *, with_lines: bool = False) -> Iterator[Show]:
        """On standard error. Without a terminal it shows nothing, or, `with_lines`, a line every ten seconds."""
        if options["json"] or not (with_lines or sys.stderr.isatty()):
            yield lambda progress: None
        elif sys.stderr.isatty():
            with _moving_progress() as show:
                yield show
        else:

            def write(text: str, share: float | None) -> None:
                self.stderr.write(text if share is None else f"{share:4.0%}  {text}", style_func=str)

            yield _at_most_every(_LINE_SECONDS, write, first=_LINE_SECONDS)


def add_json(parser: CommandParser, *, default: Any = False) -> None:
    parser.add_argument("--json", action="store_true", default=default, help="write the result as one JSON object")


def add_subcommand(subcommands: Any, name: str, help: str, description: str, run: Callable[[Options], Any]) -> Any:
    """The parser of a subcommand, with `--json`. The options then have `run`."""
    formatter = argparse.RawDescriptionHelpFormatter
    made = subcommands.add_parser(name, help=help, description=description, formatter_class=formatter)
    add_json(made, default=argparse.SUPPRESS)  # a default would undo a --json before the subcommand
    made.set_defaults(run=run)
    return made


def opened_ledger(write: Callable[[str], Any], *, dry_run: bool = False) -> None:
    """Open the ledger, and migrate it unless `dry_run`. Raises `CommandError` if it cannot be used."""
    try:
        copy = open_ledger(dry_run=dry_run)
    except LedgerRefusedError as error:
        raise CommandError(str(error)) from error
    if copy is not None:
        write(f"The ledger was migrated. A copy from before the migration is in {copy}")


def ledger_is_missing() -> bool:
    """Whether the ledger is an SQLite file that does not exist yet."""
    return connection.vendor == "sqlite" and not Path(connection.settings_dict["NAME"]).exists()


def exit_now(code: int) -> NoReturn:
    """End the process with this exit code. Nothing after it is run, and no `finally` around it.

    Threads of the HTTP client and of the server, which are written in Rust, outlive the event loop. Some of them abort
    the process when the interpreter ends (5 of 50 stops), and the exit code would be that of a crash.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the reader has gone
            stream.flush()
    os._exit(code)


@contextmanager
def _moving_progress() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=20), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=None)

        def show(text: str, share: float | None) -> None:
            progress.update(task, description=text, total=None if share is None else 1.0, completed=share or 0.0)

        yield _at_most_every(_MOVING_SECONDS, show, first=0.0)


def _at_most_every(seconds: float, show: Callable[[str, float | None], None], *, first: float) -> Show:
    due = time.monotonic() + first

    def show_when_due(progress: Callable[[], tuple[str, float | None]]) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + seconds
            show(*progress())

    return show_when_due
