"""What `manage.py verify` reports: the findings as one object, or as a table and lines."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from file.audit.findings import AccountFindings, Finding, Findings
from file.ledger.installations import NO_INSTALLATION
from file.management.terminal import Table

_COLUMNS = (
    "account",
    "asked",
    "good",
    "missing",
    "differs",
    "not answered",
    "unknown objects",
    "left behind",
    "not in ledger",
    "open uploads",
)
_BECAME = {
    "pending": "catch-up copies it",
    "blocked": "an operator has to decide",
    "kept": "unchanged",
    "removed": "removed",
    "left": "not changed",
    "not_verified": "nothing was changed",
    "not_looked_at": "nothing was changed",
}
_WOULD = {
    "pending": "catch-up would copy it",
    "blocked": "an operator would have to decide",
    "removed": "would be removed",
}


def as_json(findings: Findings) -> dict[str, Any]:
    """All unknown objects and problems are counted; the first ones are listed."""
    return {
        "right": findings.is_right,
        "ledger_is_behind": findings.is_behind,
        "accounts": {name: _account(account) for name, account in sorted(findings.accounts.items())},
        "problems": {"count": findings.problem_count, "first": [_problem(problem) for problem in findings.problems]},
        "strangers": {"count": findings.unknown_count, "first": [asdict(found) for found in findings.unknown]},
    }


def as_table(findings: Findings) -> Table:
    """One row per account."""
    rows = [_row(name, account) for name, account in sorted(findings.accounts.items())]
    return Table(_COLUMNS, rows, numbers=_COLUMNS[1:])


def as_lines(findings: Findings, *, dry_run: bool) -> Iterator[str]:
    """One line per problem and unknown object; accounts that did not answer last, where they are seen."""
    for problem in sorted(findings.problems, key=lambda problem: (problem.account, problem.key)):
        yield _line(problem, dry_run=dry_run)
    if findings.problem_count > len(findings.problems):
        yield f"And {findings.problem_count - len(findings.problems)} more."
    for found in findings.unknown:
        what = "an object" if found.upload_id is None else f"an open upload, {found.upload_id},"
        whose = "another owner" if found.installation is None else f"the installation {found.installation}"
        yield f"{found.account}: {found.object_key!r}: {what} of {whose}; not changed."
    if findings.is_behind:
        yield (
            "The ledger is older than the objects in the accounts. None of these objects was changed. "
            "Stop the service, and run: python manage.py ledger rebuild --older-copy"
        )
    if findings.has_unclaimed:
        yield (
            "Objects that name no installation are from an earlier release or from another service. "
            f"If they are yours, run: python manage.py ledger rebuild --adopt {NO_INSTALLATION}"
        )
    for name, account in sorted(findings.accounts.items()):
        if account.error is not None:
            yield f"Not verified completely: {name} ({account.error.code}): {account.error.detail}"
    yield "No problems were found." if findings.is_right else "Problems were found."


def as_progress(findings: Findings) -> tuple[str, float]:
    """A text of bounded length, and the part that is done."""
    accounts = findings.accounts.values()
    asked = sum(account.asked for account in accounts)
    listed = sum(account.objects for account in accounts)
    text = f"{asked} replicas checked, {findings.problem_count} problems, {listed} objects listed"
    return text, sum(account.reached for account in accounts) / max(len(accounts), 1)


def _line(problem: Finding, *, dry_run: bool) -> str:
    became = (_WOULD if dry_run else {}).get(problem.became) or _BECAME[problem.became]
    if problem.good_copies == 0:
        became += "; the file has no other good copy"
    elif problem.good_copies == 1:
        became += "; the file has only one other good copy"
    return f"{problem.account}: {problem.key!r} ({problem.code}): {problem.detail}: {became}."


def _row(name: str, account: AccountFindings) -> tuple[str, ...]:
    replicas = account.asked, account.good, account.missing, account.differs, account.unanswered
    listed = account.unknown, account.left_behind, account.not_in_ledger, account.open_uploads
    return (name, *map(str, replicas), *(str(figure) if account.is_listed else "-" for figure in listed))


def _problem(problem: Finding) -> dict[str, Any]:
    members = asdict(problem)
    return {"account": members.pop("account"), "object_key": members.pop("key"), **members}


def _account(account: AccountFindings) -> dict[str, Any]:
    error = account.error
    listed = {
        "objects": account.objects,
        "strangers": account.unknown,
        "left_behind": account.left_behind,
        "not_in_ledger": account.not_in_ledger,
        "open_uploads": account.open_uploads,
        "uploads_left_open": account.uploads_left_open,
    }
    return {
        "asked": account.asked,
        "good": account.good,
        "missing": account.missing,
        "differs": account.differs,
        "not_answered": account.unanswered,
        **(listed if account.is_listed else dict.fromkeys(listed)),
        "error": None if error is None else {"code": error.code, "detail": error.detail},
    }
