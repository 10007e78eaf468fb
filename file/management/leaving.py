"""How a command ends that has spoken to the accounts: at once, once everything is told and closed.

Rust threads of the HTTP client outlive the event loop, and some abort the process when the interpreter is taken down
under them: the exit code would be that of a crash. Leaves to others: closing what needs to be closed, before.
"""

import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn

from django.core.management.base import BaseCommand


class Leaving(BaseCommand):
    """A command that leaves so when it is run from the command line."""

    def run_from_argv(self, argv: list[str]) -> None:
        code: object = 0
        try:
            super().run_from_argv(argv)
        except SystemExit as end:
            code = end.code
        leave(code if isinstance(code, int) else 0 if code is None else 1)


def leave(code: int) -> NoReturn:
    """End the process with this exit code; nothing after it is run, and no `finally` around it."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
