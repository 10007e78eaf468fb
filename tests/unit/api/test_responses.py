"""Every error has a status and stands in docs/errors.md, and the page promises nothing that is not there."""

import inspect
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

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
NEVER_RAISED = {errors.UploadError, errors.RequestError, errors.AccountError}


def below(root: type[errors.UploadError]) -> Iterator[type[errors.UploadError]]:
    for child in root.__subclasses__():
        yield child
        yield from below(child)


def raised(root: type[errors.UploadError]) -> set[type[errors.UploadError]]:
    """Of this module only: other tests may have made errors of their own."""
    return {kind for kind in (root, *below(root)) if kind.__module__ == errors.__name__} - NEVER_RAISED


REQUESTS = raised(errors.UploadError) - raised(errors.AccountError)
ACCOUNTS = raised(errors.AccountError)


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


@pytest.mark.parametrize("kind", sorted(REQUESTS | ACCOUNTS, key=repr))
def test_the_tree_shows_the_error_when_it_exists(kind: type[errors.UploadError]) -> None:
    assert kind.__name__ in (inspect.getdoc(errors) or "")
