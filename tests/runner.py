"""Django's test runner of this project: `python manage.py test` runs pytest.

Promises: labels and the usual options mean what they mean to Django's own runner, and the exit code is 0 only if at
least one test ran and none failed. Everything pytest can do is one command away (`python -m pytest`), with the same
configuration. Leaves to each test what it needs: no database is made here, and no server started.
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
    """What `settings.TEST_RUNNER` names."""

    def __init__(
        self,
        *,
        verbosity: int = 1,
        failfast: bool = False,
        keepdb: bool = False,
        parallel: int | None = None,
        test_name_patterns: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        """`keepdb` and the rest of Django's options are taken and need nothing: there is no shared database."""
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
        """Pytest's exit code; 0 is success. Pytest counts "no test ran" (5) as none, and so does this."""
        # Compiled modules are kept: several processes collect all tests, and many services start.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return int(pytest.main(self.arguments(test_labels)))

    def arguments(self, labels: Sequence[str]) -> list[str]:
        """Pytest's command line for Django's."""
        given = [pytest_argument(label) for label in labels]
        arguments = [f"--rootdir={ROOT}", *([f"-{'v' * (self._verbosity - 1)}"] if self._verbosity > 1 else [])]
        if self._verbosity == 0:
            arguments.append("-q")
        if self._failfast:
            arguments.append("--exitfirst")
        if self._patterns:
            arguments += ["-k", " or ".join(self._patterns)]
        processes = self._processes
        if processes is None:
            # Many tests wait (for a lease, for a process that is killed): one more keeps the cores busy meanwhile.
            processes = 0 if _is_one_file(given) else min((os.cpu_count() or 1) + 1, MAX_PROCESSES)
        if processes > 1:
            # Handing over the rest of the work keeps a module's tests, and its servers, in one process for longest.
            arguments += ["-n", str(processes), "--dist", "worksteal"]
        return [*arguments, *(given or [str(ROOT / "tests")])]


def pytest_argument(label: str) -> str:
    """`tests/a/test_b.py::test_c` as it is; `tests.a.test_b.test_c`, as Django has it, as the former."""
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
