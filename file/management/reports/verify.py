"""What `manage.py verify` tells: the findings as one object, or as a table and lines for a person."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from file.audit.findings import AccountFindings, Findings, Problem
from file.ledger.installations import NO_INSTALLATION

_COLUMNS = (
    "account",
    "asked",
    "good",
    "missing",
    "differs",
    "not answered",
    "strangers",
    "left behind",
    "not in ledger",
    "open uploads",
)
_BAR = 20  # characters
_BECAME = {
    "pending": "catch-up brings it",
    "blocked": "it waits for a person",
    "kept": "left as it is",
    "removed": "removed",
    "left": "not touched",
    "not_verified": "nothing was changed",
    "not_looked_at": "nothing was changed",
}
_WOULD = {
    "pending": "catch-up would bring it",
    "blocked": "it would wait for a person",
    "removed": "would be removed",
}


def as_json(findings: Findings) -> dict[str, Any]:
    """Strangers and problems are counted all, and listed up to a limit."""
    return {
        "right": findings.is_right,
        "ledger_is_behind": findings.is_behind,
        "accounts": {name: _account(account) for name, account in sorted(findings.accounts.items())},
        "problems": {"count": findings.problem_count, "first": [asdict(problem) for problem in findings.problems]},
        "strangers": {
            "count": sum(account.strangers or 0 for account in findings.accounts.values()),
            "first": [asdict(stranger) for stranger in findings.strangers],
        },
    }


def as_lines(findings: Findings, *, dry_run: bool) -> Iterator[str]:
    """The table first, then what is wrong, an object a line; accounts that did not answer last, where they are seen."""
    rows = [_COLUMNS, *(_row(name, account) for name, account in sorted(findings.accounts.items()))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
    for problem in sorted(findings.problems, key=lambda problem: (problem.account, problem.object_key)):
        yield _line(problem, dry_run=dry_run)
    if findings.problem_count > len(findings.problems):
        yield f"And {findings.problem_count - len(findings.problems)} more."
    for stranger in findings.strangers:
        what = "an object" if stranger.upload_id is None else f"an open upload, {stranger.upload_id},"
        whose = "somebody else" if stranger.installation is None else f"the installation {stranger.installation}"
        yield f"{stranger.account}: {stranger.object_key!r}: {what} of {whose}; not touched."
    if findings.is_behind:
        yield (
            "The ledger is older than what lies in the accounts. Nothing of that was changed. "
            "Stop the service, and run: python manage.py ledger rebuild --older-copy"
        )
    if findings.has_unclaimed:
        yield (
            "Objects without an installation's id are of an earlier release, or of another service. "
            f"If they are yours, run: python manage.py ledger rebuild --adopt {NO_INSTALLATION}"
        )
    for name, account in sorted(findings.accounts.items()):
        if account.error is not None:
            yield f"Not verified to its end: {name} ({account.error.code}): {account.error.detail}"
    yield "Everything is as it should be." if findings.is_right else "Not everything is as it should be."


def as_progress(findings: Findings) -> str:
    """One line of bounded length, however many accounts there are."""
    accounts = findings.accounts.values()
    reached = sum(account.reached for account in accounts) / max(len(accounts), 1)
    asked = sum(account.asked for account in accounts)
    listed = sum(account.objects or 0 for account in accounts)
    bar = "#" * round(_BAR * reached)
    return f"[{bar:<{_BAR}}] {asked} replicas asked for, {findings.problem_count} problems, {listed} objects listed"


def _line(problem: Problem, *, dry_run: bool) -> str:
    became = (_WOULD if dry_run else {}).get(problem.became) or _BECAME[problem.became]
    if problem.good_copies == 0:
        became += "; no good copy of this file is left"
    elif problem.good_copies == 1:
        became += "; only one good copy of this file is left"
    return f"{problem.account}: {problem.object_key!r} ({problem.code}): {problem.detail}: {became}."


def _row(name: str, account: AccountFindings) -> tuple[str, ...]:
    figures = (
        account.asked,
        account.good,
        account.missing,
        account.differs,
        account.unanswered,
        account.strangers,
        account.left,
        account.unknown,
        account.uploads,
    )
    return (name, *("-" if figure is None else str(figure) for figure in figures))


def _account(account: AccountFindings) -> dict[str, Any]:
    error = account.error
    return {
        "asked": account.asked,
        "good": account.good,
        "missing": account.missing,
        "differs": account.differs,
        "not_answered": account.unanswered,
        "objects": account.objects,
        "strangers": account.strangers,
        "left_behind": account.left,
        "not_in_ledger": account.unknown,
        "open_uploads": account.uploads,
        "uploads_left_open": account.uploads_left,
        "error": None if error is None else {"code": error.code, "detail": error.detail},
    }
