"""Django's test runner of this project: `python manage.py test` runs pytest.

Labels and the usual options work as in Django's own runner. The exit code is 0 only if at least one test ran and none
failed. The runner makes no database and starts no server: the tests' fixtures do.
"""

import os
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError

ROOT = Path(__file__).resolve().parent.parent
MAX_PROCESSES = 4  # each that needs an S3 server starts its own


class PytestRunner:
    """`settings.TEST_RUNNER`."""

    def __init__(
        self,
        *,
        verbosity: int = 1,
        failfast: bool = False,
        parallel: int | None = None,
        test_name_patterns: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        """Other options of Django, such as `keepdb`, have no effect: there is no shared database."""
        self._verbosity = verbosity
        self._failfast = failfast
        self._processes = parallel
        self._patterns = tuple(test_name_patterns or ())

    @classmethod
    def add_arguments(cls, parser: ArgumentParser) -> None:
        parser.add_argument("--failfast", action="store_true", help="Stop at the first test that fails.")
        parser.add_argument("--keepdb", action="store_true", help="Accepted; every test makes its own database.")
        parser.add_argument(
            "--parallel",
            type=int,
            metavar="N",
            help="Processes; 0 for none. Default: a core each and one more, 0 for a file.",
        )
        parser.add_argument(
            "-k", action="append", dest="test_name_patterns", help="Only tests whose names have this in them."
        )

    def run_tests(self, test_labels: Sequence[str], **options: Any) -> int:
        """Pytest's exit code: 0 is success, 5 means that no test ran."""
        # Compiled modules are kept: several processes collect all tests, and many services start.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return int(pytest.main(self.arguments(test_labels)))

    def arguments(self, labels: Sequence[str]) -> list[str]:
        """Pytest's command line for Django's."""
        given = [pytest_argument(label) for label in labels]
        verbosity = "-q" if self._verbosity == 0 else f"-{'v' * (self._verbosity - 1)}"
        arguments = [f"--rootdir={ROOT}", *([verbosity] if self._verbosity != 1 else [])]
        if self._failfast:
            arguments.append("--exitfirst")
        if self._patterns:
            arguments += ["-k", " or ".join(self._patterns)]
        processes = self._processes
        if processes is None:
            # Many tests wait (for a lease, for a killed process): one more process keeps the cores busy.
            processes = 0 if _is_one_file(given) else min((os.cpu_count() or 1) + 1, MAX_PROCESSES)
        if processes > 1:
            # With worksteal, most tests of a module, and its servers, stay in one process.
            arguments += ["-n", str(processes), "--dist", "worksteal"]
        return [*arguments, *(given or [str(ROOT / "tests")])]


def pytest_argument(label: str) -> str:
    """A path such as `tests/a/test_b.py::test_c` is kept; Django's `tests.a.test_b.test_c` becomes such a path."""
    if Path(label.split("::")[0]).exists():
        return label
    names = label.split(".")
    for end in range(len(names), 0, -1):
        path = ROOT.joinpath(*names[:end])
        for found in (path, path.with_suffix(".py")):
            if found.exists():
                return "::".join([str(found), *names[end:]])
    raise CommandError(f"there is no test {label!r}: name a file, a folder, or as in tests.unit.s3.test_sigv4")


def _is_one_file(arguments: Sequence[str]) -> bool:
    return len(arguments) == 1 and arguments[0].split("::")[0].endswith(".py")
