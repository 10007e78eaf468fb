"""The terminal shows how many cases of the matrix were run, and how many are excluded."""

import pytest

from tests.faults.matrix import excluded

_CASES = "tests/faults/test_matrix.py::"
_RUN = ("passed", "failed", "xfailed", "xpassed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for how in _RUN for report in terminalreporter.stats.get(how, ())]
    run = sum(_CASES in report.nodeid for report in reports)
    if not run:
        return
    terminalreporter.section("faults")
    terminalreporter.line(f"faults: {run} cases run, {excluded().total()} excluded")
    for reason, count in excluded().most_common():
        terminalreporter.line(f"  {count:4} excluded: {reason}")
