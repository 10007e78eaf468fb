"""The test runner's command line: what Django's options and labels become when pytest is asked."""

import os
from pathlib import Path

import pytest
from django.core.management.base import CommandError

from tests.runner import MAX_PROCESSES, PytestRunner, pytest_argument

HERE = Path(__file__).resolve()


@pytest.mark.parametrize("label", ["tests/unit/project/test_runner.py", "tests.unit.project.test_runner", str(HERE)])
def test_one_process_is_enough_when_one_file_is_named(label: str) -> None:
    arguments = PytestRunner().arguments([label])
    assert "-n" not in arguments
    assert Path(arguments[-1]).resolve() == HERE


def test_one_process_more_than_cores_runs_when_a_folder_is_named() -> None:
    arguments = PytestRunner().arguments(["tests/unit/project"])
    assert int(arguments[arguments.index("-n") + 1]) == min((os.cpu_count() or 1) + 1, MAX_PROCESSES)


def test_the_whole_suite_runs_when_nothing_is_named() -> None:
    assert PytestRunner().arguments([])[-1] == str(HERE.parents[2])


def test_a_single_test_is_found_when_it_is_named_as_django_has_it() -> None:
    assert pytest_argument("tests.unit.project.test_runner.Tests.test_one") == f"{HERE}::Tests::test_one"


def test_a_label_is_refused_when_nothing_is_there() -> None:
    with pytest.raises(CommandError, match=r"there is no test 'nothing\.there'"):
        pytest_argument("nothing.there")


def test_options_reach_pytest_when_they_are_given() -> None:
    runner = PytestRunner(verbosity=3, failfast=True, keepdb=True, parallel=2, test_name_patterns=["a", "b"], other=1)
    arguments = runner.arguments(["tests"])
    assert {"-vv", "--exitfirst"} <= set(arguments)
    assert arguments[arguments.index("-k") + 1] == "a or b"
    assert arguments[arguments.index("-n") + 1] == "2"
