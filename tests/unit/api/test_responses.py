"""Every error is in the one tree; every error that becomes an answer has a status and a row in docs/errors.md."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

import file
from file.api.responses import STATUSES
from file.logic import errors

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "errors.md").read_text()
ROW = re.compile(r"^\| `([a-z0-9_]+)` \| ([^|]+) \|", re.MULTILINE)
# These have no class: they are answers to what never reaches the job.
WITHOUT_CLASS = {
    "no_such_resource": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "accounts_failed": HTTPStatus.BAD_GATEWAY,
}
NEVER_RAISED = {errors.UploadError, errors.RequestError, errors.AccountError, errors.CommandRefusedError}


def below(root: type[errors.UploadError]) -> Iterator[type[errors.UploadError]]:
    for child in root.__subclasses__():
        yield child
        yield from below(child)


def raised(root: type[errors.UploadError]) -> set[type[errors.UploadError]]:
    """Of the module of the errors only: the others never become an answer."""
    return {kind for kind in (root, *below(root)) if kind.__module__ == errors.__name__} - NEVER_RAISED


REQUESTS = raised(errors.UploadError) - raised(errors.AccountError)
ACCOUNTS = raised(errors.AccountError)


def public_exceptions() -> Iterator[type[Exception]]:
    """Of every module of the service; faults of settings are `ImproperlyConfigured`, and become no answer."""
    for found in pkgutil.walk_packages(file.__path__, "file."):
        if ".migrations" in found.name:
            continue
        module = importlib.import_module(found.name)
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Exception) and kind.__module__ == found.name and not name.startswith("_"):
                yield kind


PUBLIC = sorted(public_exceptions(), key=repr)


def rows_of(title: str) -> dict[str, str]:
    """Code to second column, of the table under this title."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    return {code: column.strip() for code, column in ROW.findall(section)}


def test_each_error_has_a_status_when_it_can_become_an_answer() -> None:
    assert set(STATUSES) == REQUESTS
    assert all(status >= HTTPStatus.BAD_REQUEST for status in STATUSES.values())


def test_each_code_is_its_own_when_errors_are_of_one_kind() -> None:
    for kinds in (REQUESTS, ACCOUNTS):
        assert len({kind.code for kind in kinds}) == len(kinds)


def test_each_error_says_something_when_it_is_raised_without_words() -> None:
    for kind in REQUESTS:
        assert kind().detail == kind.message
        assert re.fullmatch(r"[A-Z].*[.]", kind.message), kind
    for account_kind in ACCOUNTS:
        assert issubclass(account_kind, errors.AccountError)
        assert account_kind("A", "put").detail == f"Account A {account_kind.message}."


def test_the_page_has_the_codes_and_statuses_of_requests_when_it_is_current() -> None:
    expected = {kind.code: STATUSES[kind] for kind in REQUESTS} | WITHOUT_CLASS
    assert rows_of("Answers") == {code: str(status.value) for code, status in expected.items()}


def test_the_page_has_the_codes_of_accounts_when_it_is_current() -> None:
    yes_or_no = {kind.code: "yes" if kind.retryable else "no" for kind in ACCOUNTS}
    assert rows_of("Accounts") == yes_or_no


@pytest.mark.parametrize("kind", PUBLIC)
def test_an_error_is_in_the_one_tree_when_it_is_public(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.UploadError)
    assert re.search(rf"\b{kind.__name__}\b", inspect.getdoc(errors) or "")


def test_the_tree_has_no_error_when_it_does_not_exist() -> None:
    assert set(re.findall(r"\b[A-Z]\w+Error\b", inspect.getdoc(errors) or "")) == {kind.__name__ for kind in PUBLIC}
